"""Prototypes that a request brings along, and two images compared."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest

from serving.errors import ServingError
from serving.given import given_prototypes
from serving.sets.embeddings import unit_rows
from tests.serving.talk import assert_error, form, post


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.fixture
def rows():
    return np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def parts(rows=None, names=None):
    given = [] if rows is None else [("prototypes", ("p.npy", rows))]
    return given + ([] if names is None else [("names", ("names.json", names))])


# ---- over HTTP


def test_the_request_s_own_prototypes_compete(client, encode, rows):
    embedding = np.float32(client.post("/v1/embed", files=form(encode())).json()["embeddings"][0])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    names = ["eins", "zwei", "drei"]
    files = form(encode(), encode(seed=1)) + parts(npy(5 * rows), json.dumps(names))
    response = client.post("/v1/classify?k=3", files=files).json()
    assert response["set"] == "request"
    assert len(response["results"]) == 2
    cosines = {p["label"]: p["cosine"] for p in response["results"][0]["predictions"]}
    assert cosines == {
        name: pytest.approx(float(row @ embedding), abs=1e-6) for name, row in zip(names, unit, strict=True)
    }


def test_names_may_be_a_text_field_and_may_be_left_out(client, encode, rows):
    files = form(encode()) + parts(npy(rows))
    named = client.post("/v1/classify", files=files, data={"names": '["a", "b", "c"]'}).json()["results"][0]
    unnamed = client.post("/v1/classify", files=files).json()["results"][0]
    assert named["label"] == "abc"[int(unnamed["label"])]


def test_labels_and_k_are_those_of_the_request_s_set(client, encode, rows):
    files = form(encode()) + parts(npy(rows), '["a,b", "c", "d"]')
    result = client.post("/v1/classify?labels=a,b&labels=d&k=2", files=files).json()["results"][0]
    assert {p["label"] for p in result["predictions"]} == {"a,b", "d"}
    assert_error(client.post("/v1/classify?k=4", files=files), 422, "invalid_parameter")
    assert_error(client.post("/v1/classify?labels=cat", files=files), 422, "invalid_parameter")
    many = np.eye(8)[np.arange(20) % 8]
    assert client.post("/v1/classify?k=20", files=form(encode()) + parts(npy(many))).status_code == 200


def test_labels_with_blanks_around_them_compete(client, encode, rows):
    files = form(encode()) + parts(npy(rows), '[" a", "b ", "c, d"]')
    for query, found in (
        ("labels=%20a&labels=b%20", {" a", "b "}),
        ("labels=%20a,b%20", {" a", "b "}),
        ("labels=c, d", {"c, d"}),
        ("labels=b ,%20a", {" a", "b "}),
    ):
        result = client.post(f"/v1/classify?{query}", files=files).json()["results"][0]
        assert {p["label"] for p in result["predictions"]} == found
    result = client.post("/v1/classify?labels=cat ,%20dog", files=form(encode())).json()["results"][0]
    assert {p["label"] for p in result["predictions"]} == {"cat", "dog"}


def test_a_set_of_the_service_and_one_of_the_request_exclude_each_other(client, encode, rows):
    assert_error(client.post("/v1/classify?set=default", files=form(encode()) + parts(npy(rows))), 422, "invalid_form")


def test_the_part_is_refused_where_it_means_nothing(client, encode, rows):
    assert_error(client.post("/v1/embed", files=form(encode()) + parts(npy(rows))), 422, "invalid_form")
    twice = form(encode()) + parts(npy(rows)) * 2
    assert "more than once" in assert_error(client.post("/v1/classify", files=twice), 422, "invalid_form")


def test_bad_prototypes_are_the_client_s_mistake(client, encode):
    pickled = npy(np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert_error(client.post("/v1/classify", files=form(encode()) + parts(pickled)), 422, "invalid_prototypes")


# ---- what is refused


def header(text):
    """A .npy file whose header says something else than what follows."""
    data = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no npy",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 8), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8), }"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1, 8), }") + b"cos\nsystem\n.",
        header("__import__('os').getcwd()"),
        b"\x93NUMPY\x09\x00" + b"x" * 50,
        npy(np.ones((2, 8)))[:-1],
        npy(np.ones((2, 8))) + b"x",
        npy(np.ones((2, 8), np.int64)),
        npy(np.ones((2, 8), np.complex64)),
        npy(np.ones(8)),
        npy(np.ones((1, 2, 8))),
        npy(np.ones((2, 7))),
        npy(np.ones((0, 8))),
        npy(np.ones((6, 8))),
        npy(np.vstack([np.ones(8), np.zeros(8)])),
        npy(np.full((1, 8), np.nan)),
        npy(np.full((1, 8), np.inf)),
    ],
)
def test_what_is_no_matrix_of_directions_is_refused(data):
    with pytest.raises(ServingError) as caught:
        given_prototypes({"prototypes": data}, dim=8, max_classes=5)
    assert caught.value.code == "invalid_prototypes"


@pytest.mark.parametrize(
    "names",
    [
        b"",
        b"a,b",
        b'["a"]',
        b'["a", 1]',
        b'{"a": 1}',
        b'["a", ""]',
        json.dumps(["a", "b" * 129]).encode(),
        b"[" * 10**5,
    ],
)
def test_names_that_do_not_fit_are_refused(names):
    with pytest.raises(ServingError, match="names"):
        given_prototypes({"prototypes": npy(np.eye(8)[:2]), "names": names}, dim=8, max_classes=5)


def test_names_without_prototypes_are_refused():
    with pytest.raises(ServingError, match="no `prototypes`"):
        given_prototypes({"names": b'["a"]'}, dim=8, max_classes=5)


@pytest.mark.parametrize("length", [1e-300, 1e-13, 1.0, 1e200])
def test_what_can_be_enrolled_can_be_brought_along(length):
    row = np.array([[3.0, 4.0, 0, 0, 0, 0, 0, 0]]) * length
    given = given_prototypes({"prototypes": npy(row)}, dim=8, max_classes=5)
    assert given.rows.tobytes() == unit_rows(row, 8).tobytes()
    np.testing.assert_allclose(given.rows[0, :2], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_layout_of_floats_is_read(dtype, order, rows):
    given = given_prototypes({"prototypes": npy(np.asarray(rows, dtype, order=order))}, dim=8, max_classes=5)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(given.rows, unit, atol=2e-3 if dtype == "<f2" else 1e-6)
    assert given.rows.dtype == np.float32


# ---- two images


def test_verify_compares_two_images(client, encode):
    first, second = encode(seed=1), encode(seed=2)
    a, b = np.float64(client.post("/v1/embed", files=form(first, second)).json()["embeddings"])
    response = client.post("/v1/verify?threshold=0.5", files=form(first, second)).json()
    assert response["cosine"] == pytest.approx(float(a @ b), abs=1e-6)
    assert response["angle_deg"] == pytest.approx(math.degrees(math.acos(a @ b)), abs=1e-3)
    assert (response["same"], response["threshold"]) == (bool(a @ b >= 0.5), 0.5)
    same = client.post("/v1/verify?fpr=0.01", files=form(first, first)).json()
    assert same["same"]
    assert same["cosine"] == pytest.approx(1, abs=1e-6)
    assert client.post("/v1/verify", files=form(first, second)).json()["same"] is None


def test_verify_takes_two_good_images(client, encode):
    for files in (form(encode()), form(encode(), encode(), encode())):
        assert_error(client.post("/v1/verify", files=files), 422, "invalid_form")
    assert_error(post(client, encode(), "/v1/verify"), 422, "invalid_form")
    assert_error(client.post("/v1/verify", files=form(encode(), b"text")), 415, "unsupported_media_type")
    assert_error(client.post("/v1/verify?k=1", files=form(encode(), encode())), 422, "invalid_parameter")


def test_fpr_is_refused_with_prototypes_that_nobody_calibrated(client, encode, rows):
    response = client.post("/v1/classify?fpr=0.05", files=form(encode()) + parts(npy(rows)))
    assert "no calibrated thresholds" in assert_error(response, 422, "invalid_parameter")
