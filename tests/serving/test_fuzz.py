"""Whatever bytes come: a picture is decoded or refused by the project's one error, and no request is a 5xx but 503.

``HYPOTHESIS_PROFILE=long`` sends 10,000 requests, at random, in place of the few hundred that are the same every time.
"""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from serving.app import create_app
from serving.decoder import Decoder
from serving.errors import STATUS, ServingError
from serving.settings import Settings
from tests.serving.talk import assert_error, form, post

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
DIM = 8
JSON = {"Content-Type": "application/json"}


def fuzz(examples, long):
    """Settings of one test: how many examples in the suite, and in the long profile."""
    return settings(
        max_examples=long if LONG else examples,
        derandomize=not LONG,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


# ---- what is sent


def picture(kind, size, mode, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6  # rotated
PICTURES = [
    picture("JPEG", (30, 40), "RGB", exif=EXIF),
    picture("JPEG", (9, 9), "L", progressive=True),
    picture("JPEG", (9, 9), "CMYK"),
    picture("PNG", (13, 7), "RGBA"),
    picture("PNG", (13, 7), "P"),
    picture("PNG", (13, 7), "1"),
    picture("WEBP", (20, 20), "RGB"),
    picture("WEBP", (20, 20), "RGBA", lossless=True),
]
SIGNATURES = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\x00\x00\x00WEBP"]


@st.composite
def mutated(draw, originals):
    """The bytes of one of these, cut off, changed here and there and in the header, or spliced with another."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["truncate", "flip", "header", "splice", "insert", "delete"]))
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        if kind == "truncate":
            del data[at:]
        elif kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "header" and data:
            data[at % min(len(data), 64)] = draw(st.integers(0, 255))
        elif kind == "splice":
            other = draw(st.sampled_from(originals))
            data[at:] = other[draw(st.integers(0, len(other))) :]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=40))
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


files = st.one_of(
    mutated(PICTURES),
    st.binary(max_size=200),
    st.builds(bytes.__add__, st.sampled_from(SIGNATURES), st.binary(max_size=200)),
)


def npy(array, version=(1, 0)):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


def npy_header(text):
    """A .npy file of this header, which NumPy reads as a Python literal, and the bytes of 16 numbers."""
    header = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(range(64))


ROWS = np.eye(2, DIM, dtype=np.float32)
MATRICES = [npy(ROWS), npy(ROWS.astype(">f8"), (2, 0)), npy(np.asfortranarray(ROWS)), npy(ROWS.astype(np.float16))]
literals = st.recursive(
    st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.none(), st.sampled_from(["descr", "<f4", "shape"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(
            st.one_of(st.integers(), st.sampled_from(["descr", "shape", "fortran_order"])), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
headers = st.one_of(
    st.builds(
        lambda descr, order, shape: repr({"descr": descr, "fortran_order": order, "shape": shape}),
        st.one_of(st.sampled_from(["<f4", ">f8", "<f2", "|O", "<U4", "<i4"]), literals),
        st.one_of(st.booleans(), literals),
        st.one_of(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), literals),
    ),
    st.builds(repr, literals),
    st.text(st.sampled_from("{}[]():,'\"-1adescr<f4 \\"), max_size=60),
)
matrices = st.one_of(mutated(MATRICES), st.builds(npy_header, headers.filter(lambda text: len(text) < 60_000)))

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=12,
)
numbers = st.one_of(
    st.floats(width=64), st.integers(-3, 3), st.sampled_from([10**400, -(10**400), 1e308, 5e-324, True, None, "1", []])
)
rows = st.lists(st.one_of(numbers, st.floats(-1, 1)), min_size=DIM - 1, max_size=DIM + 1)
bodies = st.one_of(
    st.builds(lambda value: json.dumps(value).encode(), json_values),
    st.builds(
        lambda value: json.dumps({"embeddings": value}).encode(), st.one_of(json_values, st.lists(rows, max_size=3))
    ),
    mutated([b'{"embeddings": [[1, 0, 0, 0.5, 0, 0, -1e3, 0]]}', b'{"to": "a"}', '{"into": "ä"}'.encode("utf-16")]),
    st.binary(max_size=60),
)
names = st.one_of(
    bodies,
    st.builds(
        lambda value: json.dumps(value).encode(), st.lists(st.text(st.characters(), max_size=3), min_size=2, max_size=2)
    ),
    st.just(b'["\\ud800", "b"]'),
)


def multipart(*parts):
    """A form of (header lines, bytes), with the boundary "b"."""
    return b"".join(b"--b\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts) + b"--b--\r\n"


IMAGE = b'Content-Disposition: form-data; name="image"; filename="a"'
FORMS = [
    multipart((IMAGE, PICTURES[3])),
    multipart((IMAGE, PICTURES[3]), (IMAGE, b"x"), (b'Content-Disposition: form-data; name="prototypes"', MATRICES[0])),
    multipart(
        (b"Content-Type: image/png\r\n" + IMAGE, PICTURES[3]), (b'Content-Disposition: form-data; name="names"', b"[]")
    ),
]
content_types = st.one_of(
    st.just("multipart/form-data; boundary=b"),
    st.builds(
        "multipart/form-data; boundary={}; charset={}".format,
        st.sampled_from(["b", '"b"', "", "c", "b" * 300]),
        st.sampled_from(["utf-8", "utf-7", "utf-16", "undefined", "idna", "punycode", "hex", "no-such", "'"]),
    ),
    st.builds("multipart/form-data{}".format, st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)),
)


# ---- the decoder, and the app


@pytest.fixture(scope="module")
def decoder(bundle):
    decoder = Decoder(bundle.preprocessing, max_pixels=1_000_000, threads=1, max_pending=1)
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def app(bundle, tmp_path_factory):
    """A client of an app of its own; an exception that no handler knows is raised here."""
    database = f"sqlite:///{tmp_path_factory.mktemp('sets')}/sets.sqlite"
    config = Settings(str(bundle.path), database=database, max_pixels=1_000_000, max_images=4)
    with TestClient(create_app(lambda: config)) as client:
        yield client


def assert_answered(response):
    """A good answer, or the project's error with the status of its code."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        error = response.json()["error"]
        assert set(error) == {"code", "message"}
        assert STATUS.get(error["code"], response.status_code) == response.status_code
        assert error["message"]


@fuzz(200, 3000)
@given(files)
def test_the_decoder_gives_pixels_or_the_one_error(decoder, bundle, data):
    size = bundle.preprocessing.size
    with suppress(ServingError):
        pixels = decoder.decode(data)
        assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)


@fuzz(100, 3000)
@given(files, st.sampled_from(["/v1/classify", "/v1/embed"]))
def test_raw_bodies(app, data, path):
    assert_answered(post(app, data, path))


@fuzz(50, 1000)
@given(st.lists(files, max_size=5), st.sampled_from(["/v1/classify", "/v1/embed", "/v1/verify"]))
def test_forms_of_damaged_images(app, data, path):
    assert_answered(app.post(path, files=form(*data)) if data else app.post(path))


@fuzz(100, 2000)
@given(mutated(FORMS), content_types)
@example(FORMS[0], "multipart/form-data; boundary=b; charset=undefined")
@example(
    multipart((b'Content-Disposition: form-data; name="names"', b"+2AA-")),
    "multipart/form-data; boundary=b; charset=utf-7",
)
def test_damaged_forms(app, data, content_type):
    assert_answered(post(app, data, content_type=content_type))


@fuzz(100, 2000)
@given(st.one_of(matrices, st.just(MATRICES[0])), st.one_of(st.none(), names))
@example(npy_header("{[]: 1}"), None)
@example(npy_header("{1: 2, 'a': 3}"), None)
@example(npy_header("-" * 9000 + "1"), None)
@example(npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 8)}"), None)
@example(MATRICES[0], b'["\\ud800", "b"]')
def test_prototypes_that_come_along(app, data, labels):
    parts = [("image", ("a", PICTURES[3])), ("prototypes", ("p", data))]
    assert_answered(app.post("/v1/classify", files=parts + ([("names", ("n", labels))] if labels is not None else [])))


@fuzz(100, 1500)
@given(
    bodies,
    st.sampled_from(["PUT classes/a", "POST classes/a/examples", "POST classes/a/rename", "POST classes/a/merge"]),
)
@example(json.dumps({"embeddings": [[10**400] + [0] * 7]}).encode(), "PUT classes/a")
def test_json_bodies(app, data, route):
    method, path = route.split()
    assert_answered(app.request(method, f"/v1/sets/fuzz/{path}", content=data, headers=JSON))


@fuzz(40, 500)
@given(
    st.sampled_from(["k", "threshold", "fpr", "labels", "set", "explain", "n", "x"]),
    st.one_of(st.text(max_size=20), st.builds(str, st.one_of(st.integers(), st.floats()))),
    st.text(max_size=20),
)
def test_parameters_and_names(app, parameter, value, name):
    assert_answered(post(app, PICTURES[3], **{parameter: value}))
    path = "".join(f"%{byte:02X}" for byte in name.encode())
    for method, url in (
        ("GET", f"/v1/sets/{path}"),
        ("GET", f"/v1/sets/fuzz/classes/{path}"),
        ("DELETE", f"/v1/{path}"),
    ):
        assert_answered(app.request(method, url))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/elsewhere", 404), ("DELETE", "/v1/%0Aa", 404), ("POST", "/metrics", 405), ("PUT", "/docs.json", 405)],
)
def test_what_no_route_takes_is_refused_in_the_same_shape(app, method, path, status):
    response = app.request(method, path)
    assert_error(response, status)
    assert (response.headers.get("Allow") is not None) == (status == 405)


@pytest.mark.parametrize("number", ["9" * 19, "9" * 5000, "-1", "1_0", "²"])
def test_the_id_of_an_example_may_be_any_text(app, number):
    assert app.delete(f"/v1/sets/fuzz/classes/a/examples/{number}").status_code == 404


def test_it_still_answers(app, bundle):
    assert post(app, PICTURES[3]).status_code == 200
    assert app.get("/v1/model").json()["name"] == bundle.name
