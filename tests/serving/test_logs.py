"""What the log says of a request, and what it does not."""

from __future__ import annotations

import json
import logging

import pytest

from serving.logs import JsonFormatter, set_up
from tests.serving.talk import assert_error, form, post


@pytest.fixture
def lines(caplog):
    """lines() -> the records of requests so far, as JSON lines give them."""
    caplog.set_level(logging.INFO, "serving.requests")
    formatter = JsonFormatter()

    def read():
        return [json.loads(formatter.format(r)) for r in caplog.records if r.name == "serving.requests"]

    return read


def test_a_request_is_one_line_with_the_id_that_the_client_gets(client, encode, lines):
    response = client.post("/v1/classify", files=form(encode()))
    (line,) = lines()
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["method"], line["route"], line["status"], line["level"]) == ("POST", "/v1/classify", 200, "info")
    assert 0 < line["seconds"] < 60
    assert line["message"].startswith("POST /v1/classify 200")


def test_the_client_s_own_id_is_kept(client, lines):
    response = client.get("/v1/model", headers={"X-Request-ID": "abc-1.2_3"})
    assert response.headers["x-request-id"] == lines()[0]["request_id"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"}', "%0d%0a"])
def test_an_id_that_could_forge_a_line_is_replaced(client, lines, given):
    response = client.get("/v1/model", headers={"X-Request-ID": given})
    assert response.headers["x-request-id"] == lines()[0]["request_id"] != given


def test_names_in_a_path_stay_out_of_the_log(client, encode, caplog, lines):
    client.put("/v1/sets/people/classes/Grace Hopper", files=form(encode()))
    (line,) = lines()
    assert line["route"] == "/v1/sets/{set}/classes/{class}"
    assert "Grace" not in caplog.text
    assert "people" not in json.dumps(line)


def test_refusals_and_unknown_paths_have_their_line_too(client, lines):
    assert_error(post(client, b"text"), 415)
    assert_error(client.get("/v1/nothing"), 404)
    assert [(line["route"], line["status"]) for line in lines()] == [("/v1/classify", 415), ("/v1/*", 404)]


def test_health_and_metrics_write_nothing(client, lines):
    client.get("/metrics")
    assert lines() == []


def test_a_failure_is_an_error_with_its_traceback(client, encode, monkeypatch, caplog, lines):
    from serving.runtime import Runtime

    monkeypatch.setattr(Runtime, "classified", lambda *arguments: 1 / 0)
    answer = post(client, encode())
    assert lines()[-1]["level"] == "error"
    assert answer.headers.get_list("x-request-id") == [lines()[-1]["request_id"]]
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        record = logging.getLogger().makeRecord("x", logging.ERROR, "f", 1, "failed", (), __import__("sys").exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert "ZeroDivisionError" in line["exception"]


def test_set_up_writes_to_standard_error_once(capsys):
    own = logging.getLogger("serving")
    before = own.handlers, own.level, own.propagate
    try:
        for _ in range(2):
            set_up("json")
        logging.getLogger("serving.batcher").warning("careful")
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert json.loads(line)["message"] == "careful"
    finally:
        own.handlers, own.level, own.propagate = before
