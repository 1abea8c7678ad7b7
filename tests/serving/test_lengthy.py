"""Long JSON keeps nobody waiting, and says the same as short."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import numpy as np
import pytest
from starlette.responses import JSONResponse

from serving.errors import ServingError
from serving.lengthy import LengthyResponse, parse, respond
from serving.prototypes import PrototypeSet
from serving.query import MOST_CANDIDATES, Question
from serving.sent import sent_embeddings
from tests.serving.talk import assert_error

CONTENT = {"name": "Größe", "rows": [[1, -2.5, 1e-300, 0.1], []], "none": None, "yes": True, "deep": {"a": ["\u2028"]}}


def longest_pause(make):
    """Which part of the time that ``make()``, awaited, takes the event loop stands still at once."""

    async def inside():
        task, began = asyncio.ensure_future(make()), time.perf_counter()
        pauses, last = [], began
        while not task.done():
            await asyncio.sleep(0.001)
            pauses.append(time.perf_counter() - last)
            last = time.perf_counter()
        await task
        return max(pauses) / (last - began)

    return asyncio.run(inside())


def test_a_long_answer_has_the_bytes_of_a_short_one():
    assert LengthyResponse(CONTENT).body == JSONResponse(CONTENT).body
    with pytest.raises(ValueError, match="JSON compliant"):
        LengthyResponse([float("nan")])


@pytest.mark.parametrize("quick", [True, False])
def test_an_answer_that_is_not_quick_is_made_elsewhere(quick):
    made_in = []
    made = asyncio.run(
        respond(lambda: made_in.append(threading.get_ident()) or CONTENT, quick=quick, headers={"A": "b"})
    )
    assert (made_in[0] == threading.get_ident()) == quick
    assert (made.body, made.headers["a"]) == (JSONResponse(CONTENT).body, "b")


@pytest.mark.parametrize("padding", [0, 40_000])
def test_a_long_body_is_parsed_elsewhere(padding):
    read_in = []
    text = b"[]" + b" " * padding
    assert asyncio.run(parse(text, lambda data: read_in.append(threading.get_ident()) or data)) == text
    assert (read_in[0] == threading.get_ident()) == (not padding)


def test_the_event_loop_goes_on_while_long_embeddings_are_parsed():
    body = b'{"embeddings": [' + b",".join([b"[" + b",".join([b"1"] * 64) + b"]"] * 20_000) + b"]}"
    assert longest_pause(lambda: parse(body, lambda data: sent_embeddings(data, 64, print))) < 0.5


def test_the_event_loop_goes_on_while_a_long_answer_is_rendered():
    rows = np.random.default_rng(0).standard_normal((4000, 64)).tolist()
    assert longest_pause(lambda: respond(lambda: rows, quick=False)) < 0.5


def test_a_long_body_enrols_what_a_short_one_does_and_is_checked_as_well(client, name):
    rows = np.random.default_rng(0).standard_normal((400, 8))
    body = json.dumps({"embeddings": rows.tolist()})
    assert len(body) > 40_000
    headers = {"Content-Type": "application/json"}
    assert client.put(f"/v1/sets/{name}/classes/x", content=body, headers=headers).json()["n"] == 400
    mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
    (prototype,) = client.get(f"/v1/sets/{name}/prototypes").json()["prototypes"]
    np.testing.assert_allclose(prototype, mean / np.linalg.norm(mean), atol=1e-6)
    for bad in ([True] * 8, ["1"] * 8, [1.0] * 7, [10**400] * 8, 1.0):
        body = json.dumps({"embeddings": [*rows.tolist(), bad]})
        answer = client.put(f"/v1/sets/{name}/classes/y", content=body, headers=headers)
        assert_error(answer, 422, "invalid_examples")


def test_a_set_whose_angles_are_not_known_yet_is_not_quick():
    rows = np.eye(40, dtype=np.float32)
    prototypes = PrototypeSet.whole(rows, [str(number) for number in range(40)], name="mine")
    question = Question(prototypes, k=5, threshold=None, exemplars=0)
    assert not question.is_quick(1)
    _ = prototypes.smallest_angle
    assert question.is_quick(1)
    assert Question(prototypes.subset(["1", "2"]), k=1, threshold=None, exemplars=0).is_quick(1)


def test_several_images_list_no_more_candidates_than_an_answer_holds():
    prototypes = PrototypeSet.whole(np.eye(8, dtype=np.float32), list("abcdefgh"))
    question = Question(prototypes, k=MOST_CANDIDATES // 2, threshold=None, exemplars=0)
    question.check_images(2)
    with pytest.raises(ServingError, match="ask for fewer, or send fewer images"):
        question.check_images(3)
    Question(prototypes, k=MOST_CANDIDATES + 1, threshold=None, exemplars=0).check_images(1)
