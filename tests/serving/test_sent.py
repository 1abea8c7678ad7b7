"""Lists in JSON are looked at before they are objects, which take many times their memory."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from serving.errors import ServingError
from serving.given import given_prototypes
from serving.items import ROW, TEXT, items
from serving.sent import sent_embeddings
from serving.sets.errors import SetFullError
from tests.serving.talk import assert_error
from tests.serving.test_given import npy


def check_count(count):
    if count > 1000:
        raise SetFullError("full")


def sent(text):
    return sent_embeddings(text.encode(), 2, check_count)


def most_memory(work):
    """The peak in bytes of a work that is refused."""
    tracemalloc.start()
    try:
        with pytest.raises((ServingError, SetFullError)):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        '{"embeddings":[[1,-2.5e-3],[3,4]]}',
        ' {\n"embeddings"\t: [ [ 1 , -2.5e-3 ] ,\r\n[3,4] ] } ',
        json.dumps({"embeddings": [[1, -2.5e-3], [3, 4]]}, indent=2),
    ],
)
def test_embeddings_are_read_as_json_is(text):
    assert sent(text).tolist() == json.loads(text)["embeddings"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "malformed_body"),
        ("{", "malformed_body"),
        ("[[1, 2]]", "malformed_body"),
        ('{"embeddings": [[1, 2]]', "malformed_body"),
        ('{"embeddings": [[1, 2]]} x', "malformed_body"),
        ('{"more": 1, "embeddings": [[1, 2]]}', "malformed_body"),
        ('{"embeddings": [[1, 2]], "more": 1}', "invalid_examples"),
        ('{"embeddings": [[1, 2]}', "invalid_examples"),
        ('{"embeddings": [[1, 2],]}', "invalid_examples"),
        ('{"embeddings": [[1, 2] [1, 2]]}', "invalid_examples"),
        ('{"embeddings": [[1, 2]]]}', "invalid_examples"),
        ('{"embeddings": []}', "invalid_examples"),
        ('{"embeddings": {}}', "invalid_examples"),
        ('{"embeddings": [[]]}', "invalid_examples"),
        ('{"embeddings": [[1, 2, 3]]}', "invalid_examples"),
        ('{"embeddings": [[1, 2], [1]]}', "invalid_examples"),
        ('{"embeddings": [[1, ]]}', "invalid_examples"),
        ('{"embeddings": [[1, true]]}', "invalid_examples"),
        ('{"embeddings": [[1, null]]}', "invalid_examples"),
        ('{"embeddings": [["1,2"]]}', "invalid_examples"),
        ('{"embeddings": [[1, {"a": 2}]]}', "invalid_examples"),
        ('{"embeddings": [[1, [2]]]}', "invalid_examples"),
        ('{"embeddings": [[1, 2], 3]}', "invalid_examples"),
        ('{"embeddings": [[1, 1' + "0" * 400 + "]]}", "invalid_examples"),
        ('{"embeddings": [[1, 1' + "0" * 9000 + "]]}", "invalid_examples"),
    ],
)
def test_what_is_no_list_of_embeddings_is_refused(text, code):
    with pytest.raises(ServingError) as caught:
        sent(text)
    assert caught.value.code == code


@pytest.mark.parametrize("item", ["[]", "[[]]", "[1,1,1]", "[{}]", "{}", "1", '""', "[1,1,1,1,1,1,1,1,1,1,1,1,1]"])
def test_refused_embeddings_take_no_memory(item):
    """Parsed at once, they would be objects and arrays of up to 146 times their size."""
    for count in (900, 100_000):
        text = '{"embeddings":[' + ",".join([item] * count) + "]}"
        data = text.encode()
        assert most_memory(lambda data=data: sent_embeddings(data, 2, check_count)) < 100_000
    row = b'{"embeddings":[[' + b",".join([item.encode()] * 100_000) + b"]]}"
    assert most_memory(lambda: sent_embeddings(row, 2, check_count)) < len(row) + 100_000  # itself, once more


def test_no_more_is_enrolled_than_a_class_may_hold(client, name):
    rows = np.eye(8)[np.arange(1001) % 2].tolist()
    response = client.put(f"/v1/sets/{name}/classes/x", json={"embeddings": rows})
    assert "would have 1001 examples" in assert_error(response, 507, "set_full")
    assert client.put(f"/v1/sets/{name}/classes/x", json={"embeddings": rows[:1000]}).json()["n"] == 1000


@pytest.mark.parametrize("item", ['""', '"a"', "[]", "1", '"\\n"', "{}"])
def test_refused_names_take_no_memory(item):
    data = ("[" + ",".join([item] * 100_000) + "]").encode()
    rows = npy(np.eye(8)[:2])
    assert most_memory(lambda: given_prototypes({"prototypes": rows, "names": data}, dim=8, max_classes=5)) < 200_000


def test_names_are_read_as_json_is():
    names = ["a", 'quoted "', "back\\slash", "comma, ]", "wolf \U0001f43a" * 16, "\U0001f43a" * 128]
    for text in (json.dumps(names), json.dumps(names, ensure_ascii=False, indent=1), f" {json.dumps(names)}\n"):
        parts = {"prototypes": npy(np.eye(8)[:6]), "names": text.encode()}
        assert list(given_prototypes(parts, dim=8, max_classes=9).labels) == names


@pytest.mark.parametrize(("text", "item"), [("[]", ROW), (" [ ] ", TEXT), ('["a"]', TEXT), ("[[1],[ 2]]", ROW)])
def test_items_are_as_they_are_written(text, item):
    assert [json.loads(one) for one in items(text.encode(), item)] == json.loads(text)


@pytest.mark.parametrize("text", ["", "[", "]", "[,]", '["a",]', '["a"', '["a"]]', '["a" "b"]', "[1]", '"a"', "[[]]"])
def test_what_is_no_list_of_texts_has_no_items(text):
    with pytest.raises(ValueError, match="not a list"):
        list(items(text.encode(), TEXT))
