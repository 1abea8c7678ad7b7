"""What enrolment over HTTP refuses."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.settings import Settings
from tests.serving.talk import assert_error, enrol, form


def test_a_class_that_exists_is_not_overwritten(client, encode, name):
    enrol(client, name, "x", encode())
    assert_error(enrol(client, name, "x", encode(seed=1)), 409, "class_exists")
    assert client.get(f"/v1/sets/{name}/classes/x").json()["n"] == 1


def test_a_stale_version_is_refused(client, encode, name):
    stale = enrol(client, name, "x", encode()).headers["etag"]
    path = f"/v1/sets/{name}/classes/x"
    fresh = client.post(f"{path}/examples", files=form(encode(seed=1)), headers={"If-Match": stale}).headers["etag"]
    assert fresh != stale
    for method, url in (("POST", f"{path}/examples"), ("DELETE", path)):
        files = form(encode()) if method == "POST" else None
        assert_error(client.request(method, url, files=files, headers={"If-Match": stale}), 412, "stale_version")
    assert_error(client.delete(path, headers={"If-Match": "W/x"}), 422, "invalid_parameter")
    assert client.delete(path, headers={"If-Match": fresh}).status_code == 204


def test_a_retry_with_its_key_gets_the_first_answer(client, encode, name):
    def put(image, key):
        headers = {"Idempotency-Key": key}
        return client.put(f"/v1/sets/{name}/classes/x", files=form(image), headers=headers)

    first, again = put(encode(), "k1"), put(encode(), "k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert_error(put(encode(seed=1), "k1"), 422, "key_reused")
    path = f"/v1/sets/{name}/classes/x/examples"
    for _ in range(2):
        added = client.post(path, files=form(encode(seed=1)), headers={"Idempotency-Key": "k2"}).json()
        assert added["n"] == 2


def test_one_bad_image_enrols_nothing(client, encode, name):
    message = assert_error(enrol(client, name, "x", encode(), b"text", encode()), 415, "unsupported_media_type")
    assert "image 2 of 3" in message
    assert_error(client.get(f"/v1/sets/{name}"), 404, "unknown_set")


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"embeddings": [], "more": 1},
        {"embeddings": []},
        {"embeddings": [[]]},
        {"embeddings": [[0.0] * 8]},
        {"embeddings": [["1"] * 8]},
        {"embeddings": [[True] * 8]},
        {"embeddings": [[1.0] * 7]},
        {"embeddings": [1.0] * 8},
        {"embeddings": [[1e400] + [0.0] * 7]},
    ],
)
def test_bad_embeddings_are_refused(client, body, name):
    content = json.dumps(body)
    headers = {"Content-Type": "application/json"}
    response = client.put(f"/v1/sets/{name}/classes/x", content=content, headers=headers)
    assert response.status_code in (400, 422), response.text
    assert_error(response, response.status_code)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 10**5, b'{"embeddings": [[NaN,1,1,1,1,1,1,1]]}'])
def test_malformed_json_is_refused(client, content, name):
    headers = {"Content-Type": "application/json"}
    response = client.put(f"/v1/sets/{name}/classes/x", content=content, headers=headers)
    assert_error(response, response.status_code)
    assert response.status_code in (400, 422)


@pytest.mark.parametrize(
    ("headers", "at_fault"),
    [
        ({"Content-Type": "text/plain"}, "Content-Type 'text/plain' is not taken; send application/json"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "send the body without Content-Encoding"),
    ],
)
def test_a_header_is_refused_by_its_name(client, headers, at_fault, name):
    response = client.post(f"/v1/sets/{name}/classes/a/rename", content=b'{"to": "z"}', headers=headers)
    assert assert_error(response, 415, "unsupported_media_type") == at_fault


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/sets/default/classes/x"),
        ("DELETE", "/v1/sets/default"),
        ("DELETE", "/v1/sets/default/classes/cat"),
        ("GET", "/v1/sets/default/classes/cat"),
        ("POST", "/v1/sets/default/classes/cat/examples"),
    ],
)
def test_the_model_s_own_set_is_read_only(client, encode, method, path):
    files = form(encode()) if method in ("PUT", "POST") else None
    assert_error(client.request(method, path, files=files), 409, "read_only")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/sets/none", 404),
        ("DELETE", "/v1/sets/none", 404),
        ("GET", "/v1/sets/none/prototypes", 404),
        ("GET", "/v1/sets/none/classes/x", 404),
        ("GET", "/v1/sets/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/sets/%2e%2e", 404),
        ("PUT", "/v1/sets/UPPER/classes/x", 422),
        ("PUT", "/v1/sets/fine/classes/%20x", 422),
        ("PUT", "/v1/sets/fine/classes/%00", 422),
        ("GET", "/v1/sets/none?x=1", 422),
        ("GET", "/v1/sets/default/prototypes?format=pickle", 422),
        ("POST", "/v1/sets", 405),
        ("PATCH", "/v1/sets/none/classes/x", 405),
        ("DELETE", "/v1/sets/none/classes/x/examples/abc", 404),
    ],
)
def test_unknown_and_impossible_names_are_client_errors(client, encode, method, path, status):
    files = form(encode()) if method == "PUT" else None
    assert_error(client.request(method, path, files=files), status)


def test_an_unknown_set_is_told_before_the_body_is_read(client, name):
    def body():
        raise AssertionError("the body was read")
        yield b""

    response = client.post(f"/v1/classify?set={name}", content=body(), headers={"Content-Type": "image/jpeg"})
    assert_error(response, 404, "unknown_set")


@pytest.mark.parametrize("verb", [{"rename": "to"}, {"merge": "into"}])
def test_the_name_of_a_class_is_no_long_body(client, encode, name, verb):
    ((step, field),) = verb.items()
    enrol(client, name, "x", encode())
    path = f"/v1/sets/{name}/classes/x/{step}"
    message = assert_error(client.post(path, json={field: "y" * 5000}), 413, "body_too_large")
    assert "a name takes less" in message
    headers = {"Content-Type": "application/json"}
    chunks = iter([b" " * 1000] * 6)  # without a Content-Length
    assert_error(client.post(path, content=chunks, headers=headers), 413, "body_too_large")
    longest = json.dumps({field: "\U0001f43a" * 128})
    answer = client.post(path, content=longest, headers=headers)
    assert answer.status_code == (200 if step == "rename" else 404), answer.text


def test_whatever_takes_memory_needs_a_permit(bundle, encode, tmp_path):
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite", max_requests=1)
    with TestClient(create_app(lambda: settings)) as client:
        enrol(client, "mine", "x", encode())
        requests = [
            ("GET", "/v1/sets/mine", {}),
            ("GET", "/v1/sets/mine/prototypes", {}),
            ("GET", "/v1/sets/default/prototypes?format=npy", {}),
            ("POST", "/v1/sets/mine/classes/x/rename", {"json": {"to": "x2"}}),
            ("POST", "/v1/sets/mine/classes/x2/merge", {"json": {"into": "y"}}),
            ("POST", "/v1/classify?set=mine&threshold=0", {"files": form(encode())}),
            ("POST", "/v1/classify?set=none", {"files": form(encode())}),
        ]
        with client.app.state.api.permit():
            for method, path, sent in requests:
                assert_error(client.request(method, path, **sent), 503, "busy")
        statuses = [client.request(method, path, **sent).status_code for method, path, sent in requests]
        assert statuses == [200, 200, 200, 200, 404, 200, 404], "the permits came back"
