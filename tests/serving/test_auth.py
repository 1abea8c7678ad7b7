"""Tokens, on a running app; enrolment's routes have their own tests."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.auth import authorise
from serving.errors import ServingError
from serving.settings import Settings
from tests.serving.talk import assert_error, post

BUNDLE = "b"


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def allowed(settings, access, headers):
    """Whether a request passes, or the code of its refusal."""
    try:
        authorise(headers, settings, access)
    except ServingError as error:
        return error.code
    return "passes"


@pytest.mark.parametrize(
    ("read_token", "write_token", "access", "given", "answer"),
    [
        ("", "", "read", None, "passes"),
        ("", "", "write", None, "passes"),
        ("", "w", "read", None, "passes"),
        ("", "w", "write", None, "unauthorized"),
        ("", "w", "write", "w", "passes"),
        ("r", "w", "read", None, "unauthorized"),
        ("r", "w", "read", "x", "unauthorized"),
        ("r", "w", "read", "r", "passes"),
        ("r", "w", "read", "w", "passes"),
        ("r", "w", "write", "r", "forbidden"),
        ("r", "w", "write", "w", "passes"),
        ("r", "", "write", "r", "forbidden"),
        ("r", "", "write", None, "unauthorized"),
        ("r", "", "write", "", "unauthorized"),
        ("ü", "", "read", "ü", "passes"),
    ],
)
def test_who_may_do_what(read_token, write_token, access, given, answer):
    settings = Settings(BUNDLE, read_token=read_token, write_token=write_token)
    assert allowed(settings, access, {} if given is None else bearer(given)) == answer


@pytest.mark.parametrize("header", ["r", "Basic r", "Bearer", "Bearer r r", "bearer  r"])
def test_only_the_bearer_scheme_is_taken(header):
    settings = Settings(BUNDLE, read_token="r")
    expected = "passes" if header == "bearer  r" else "unauthorized"
    assert allowed(settings, "read", {"authorization": header}) == expected


def test_a_token_is_in_no_text_of_the_settings():
    assert "secret" not in repr(Settings(BUNDLE, read_token="secret-r", write_token="secret-w"))


@pytest.fixture(scope="module")
def guarded(bundle):
    settings = Settings(str(bundle.path), read_token="r", write_token="w")
    with TestClient(create_app(lambda: settings), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embed", "/v1/verify"])
def test_without_a_token_nothing_is_answered_nor_is_the_body_read(guarded, path):
    def body():
        raise AssertionError("the body was read")
        yield b""

    response = guarded.post(path, content=body(), headers={"Content-Type": "image/jpeg"})
    assert_error(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


def test_with_a_token_it_answers(guarded, encode):
    guarded.headers.update(bearer("r"))
    assert post(guarded, encode()).status_code == 200
    assert guarded.get("/v1/model").status_code == 200
    del guarded.headers["authorization"]
    assert_error(guarded.get("/v1/model"), 401)


def test_health_and_metrics_need_no_token(guarded):
    text = guarded.get("/metrics")
    assert text.status_code == 200
    assert "protozoo_requests" in text.text


def test_refusals_are_counted_by_their_status(guarded):
    guarded.get("/v1/model")
    assert 'protozoo_requests_total{route="/v1/model",status="401"}' in guarded.get("/metrics").text
