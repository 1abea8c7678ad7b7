"""The client where a request or its answer goes wrong: retries, tokens, timeouts, answers of others."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from serving.client import AsyncClient, Client, ServiceError
from tests.serving.through import URL, Through


class Flaky(httpx.BaseTransport):
    """Does what ``script`` says, one entry a request; None passes the request on."""

    def __init__(self, script, transport=None):
        self.script, self.transport, self.requests = list(script), transport, []

    def handle_request(self, request):
        self.requests.append(request)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if step == "answer lost":
            self.transport.handle_request(request)
            raise httpx.ReadError("lost")
        return step or self.transport.handle_request(request)


def busy(status=503, after="0", code="busy"):
    body = {"error": {"code": code, "message": "later"}}
    return httpx.Response(status, json=body, headers={"Retry-After": after})


def flaky(client, *script, **options):
    transport = Flaky(script, Through(client))
    return Client(URL, transport=transport, **options), transport


def test_a_busy_service_is_asked_again(client, encode):
    for first in (busy(), busy(429), httpx.ConnectError("refused"), httpx.ReadError("lost")):
        service, transport = flaky(client, first)
        assert service.classify(encode()).known
        assert len(transport.requests) == 2


def test_attempts_end(client, encode):
    service, transport = flaky(client, *[busy() for _ in range(9)], attempts=3)
    with pytest.raises(ServiceError) as caught:
        service.classify(encode())
    assert (caught.value.code, caught.value.status, len(transport.requests)) == ("busy", 503, 3)
    service, transport = flaky(client, *[httpx.ConnectError("refused")] * 9, attempts=2)
    with pytest.raises(ServiceError, match="no answer") as caught:
        service.model()
    assert (caught.value.code, caught.value.status, len(transport.requests)) == ("unreachable", 0, 2)


def test_a_mistake_is_not_sent_again(client):
    service, transport = flaky(client)
    with pytest.raises(ServiceError):
        service.classify(b"text")
    assert len(transport.requests) == 1


def test_what_was_enrolled_though_the_answer_was_lost_is_not_enrolled_twice(client, encode, name):
    service, transport = flaky(client, "answer lost", None, "answer lost")
    assert service.enrol(name, "x", encode()).n == 1
    assert service.add_examples(name, "x", encode(seed=1)).n == 2
    keys = [request.headers["idempotency-key"] for request in transport.requests]
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert service.enrol(name, "y", encode(), key="mine").n == 1
    assert transport.requests[-1].headers["idempotency-key"] == "mine"


def test_what_deletes_is_sent_again_only_where_nothing_was_done(client, encode, name):
    service, transport = flaky(client)
    service.enrol(name, "x", encode())
    transport.script = [busy(), httpx.ConnectError("refused"), None]
    service.rename_class(name, "x", "y")
    transport.script = ["answer lost"]
    before = len(transport.requests)
    with pytest.raises(ServiceError, match="no answer"):
        service.delete_class(name, "y")
    assert len(transport.requests) == before + 1
    transport.script = [busy(code="database_away")]
    with pytest.raises(ServiceError) as caught:
        service.delete_set(name)
    assert caught.value.code == "database_away"


def test_the_service_s_wish_to_wait_is_kept(client, monkeypatch, encode):
    slept = []
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    service, _ = flaky(client, busy(after="7"), busy(after="9999"), busy(after="soon"))
    service.classify(encode())
    assert slept[:2] == [7, 30]
    assert slept[2] <= 5


def test_async_retries_too(client, encode):
    class AsyncFlaky(httpx.AsyncBaseTransport):
        calls = 0

        async def handle_async_request(self, request):
            self.calls += 1
            if self.calls == 1:
                raise httpx.ConnectError("refused")
            return busy() if self.calls == 2 else httpx.Response(200, json={"sets": []})

    async def scenario():
        async with AsyncClient(URL, transport=AsyncFlaky()) as service:
            return await service.sets()

    assert asyncio.run(scenario()) == []


def test_an_answer_that_is_not_the_service_s_is_told(client):
    proxy = httpx.Response(502, text="<html>bad gateway</html>")
    service, _ = flaky(client, proxy)
    with pytest.raises(ServiceError, match="502") as caught:
        service.model()
    assert caught.value.code == "http_error"


def test_the_token_is_sent(client):
    service, transport = flaky(client, token="secret")
    service.model()
    assert transport.requests[0].headers["authorization"] == "Bearer secret"


def test_blanks_around_a_token_are_not_sent(client):
    """As they stand in a file that it was read from."""
    service, transport = flaky(client, token=" secret\r\n")
    service.model()
    assert transport.requests[0].headers["authorization"] == "Bearer secret"
    service, transport = flaky(client, token="\n")
    service.model()
    assert "authorization" not in transport.requests[0].headers


@pytest.mark.parametrize("secret", ["hush\nhush", "hüsh", "hush\0"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(client, encode, name, secret):
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="token: only printable") as caught:
            kind(URL, token=secret)
        assert "sh" not in str(caught.value)
    service, transport = flaky(client)
    with pytest.raises(ValueError, match="key: only printable") as caught:
        service.enrol(name, "x", encode(), key=secret)
    assert "sh" not in str(caught.value)
    assert not transport.requests


@pytest.mark.parametrize("error", [httpx.LocalProtocolError("mine"), httpx.UnsupportedProtocol("mine")])
def test_a_request_that_cannot_be_sent_is_not_tried_again(client, error):
    service, transport = flaky(client, error)
    with pytest.raises(ServiceError, match="mine"):
        service.model()
    assert len(transport.requests) == 1


@pytest.mark.parametrize(
    "content", [b"", b"<html>welcome</html>", b"{}", b"[]", b"\xff", b'{"sets": [{}]}', b'{"sets": 1}']
)
def test_a_good_answer_that_is_not_the_service_s_is_told(client, content):
    service, _ = flaky(client, *[httpx.Response(200, content=content)] * 2)
    for ask in (service.sets, service.prototypes):
        with pytest.raises(ServiceError, match="not an answer of protozoo's") as caught:
            ask()
        assert (caught.value.code, caught.value.status) == ("http_error", 200)


class Drip(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A byte now and then, of an answer without end."""

    def __iter__(self):
        while True:
            time.sleep(0.05)
            yield b" "

    async def __aiter__(self):
        while True:
            await asyncio.sleep(0.05)
            yield b" "


def test_an_answer_that_drips_ends_at_the_timeout(client):
    began = time.monotonic()
    service, transport = flaky(client, *(httpx.Response(200, stream=Drip()) for _ in range(2)), timeout=0.3, attempts=2)
    with pytest.raises(ServiceError, match="not arrive in time") as caught:
        service.model()
    assert (caught.value.code, len(transport.requests)) == ("unreachable", 2)

    async def scenario():
        drips = httpx.MockTransport(lambda request: httpx.Response(200, stream=Drip()))
        async with AsyncClient(URL, transport=drips, timeout=0.3, attempts=1) as service:
            with pytest.raises(ServiceError, match="not arrive in time"):
                await service.model()

    asyncio.run(scenario())
    assert time.monotonic() - began < 5


def test_an_answer_in_a_broken_encoding_is_told(client):
    broken = httpx.Response(200, stream=httpx.ByteStream(b"x"), headers={"Content-Encoding": "gzip"})
    service, _ = flaky(client, broken)
    with pytest.raises(ServiceError, match="not an answer of protozoo's"):
        service.model()


def test_an_answer_with_new_fields_is_read(client, encode):
    answer = client.post("/v1/classify", files=[("image", ("x", encode()))]).json()
    answer["results"][0] |= {"novelty": 1}
    answer["results"][0]["predictions"][0] |= {"novelty": 1}
    service, _ = flaky(client, httpx.Response(200, content=json.dumps(answer)))
    assert service.classify(encode()).known
