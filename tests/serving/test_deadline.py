from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.deadline import Deadline
from serving.logs import Logged

HOME = Path(__file__).resolve().parents[2]


async def receive():
    await asyncio.sleep(60)


def ask(app, *, seconds: float):
    """What the app sends, and every timer that was set on the way."""
    sent, timers = [], []

    async def main():
        loop = asyncio.get_running_loop()
        call_at = loop.call_at
        loop.call_at = lambda *args, **options: timers.append(call_at(*args, **options)) or timers[-1]

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": "/v1/classify", "method": "POST", "headers": [(b"x-request-id", b"mine")]}
        await Deadline(app, timeout=seconds)(scope, receive, send)

    asyncio.run(main())
    return sent, timers


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a_timer_ends_with_its_request():
    sent, timers = ask(answer, seconds=120)
    assert [message.get("status") for message in sent] == [204, None]
    assert timers
    assert all(timer.cancelled() for timer in timers)


def test_a_request_without_an_answer_in_time_is_cancelled_and_told_so():
    cancelled = []

    async def hang(scope, receive, send):
        try:
            await receive()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    sent, _ = ask(hang, seconds=0.05)
    assert cancelled == [True]
    assert sent[0]["status"] == 504
    assert json.loads(sent[1]["body"])["error"]["code"] == "timeout"


def test_the_refusal_has_the_request_s_id():
    async def hang(scope, receive, send):
        await receive()

    sent, _ = ask(Logged(hang), seconds=0.05)
    assert (b"x-request-id", b"mine") in sent[0]["headers"]


def test_an_answer_that_has_begun_is_broken_off_and_not_followed_by_another():
    sent = []

    async def drip(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sent.append(True)
        await receive()

    with pytest.raises(asyncio.TimeoutError):
        ask(drip, seconds=0.05)
    assert sent == [True]


def test_what_is_no_request_has_no_deadline():
    scopes = []

    async def lifespan(scope, receive, send):
        await asyncio.sleep(0.1)
        scopes.append(scope["type"])

    asyncio.run(Deadline(lifespan, timeout=0.01)({"type": "lifespan"}, receive, None))
    assert scopes == ["lifespan"]


def test_a_worker_s_app_has_it_for_bentoml_s_own(bundle):
    """In a process of its own, as a worker's: what BentoML calls it and where it looks for it is its own affair."""
    code = """
import bentoml
bentoml.server_context.worker_index = 1
from serving.service import Protozoo
from _bentoml_impl.server.app import ServiceAppFactory
Protozoo.inject_config()
app = ServiceAppFactory(Protozoo, is_main=True)
print(*(f"{one.cls.__module__}.{one.cls.__name__} {one.kwargs.get('timeout')}" for one in app.middlewares), sep="\\n")
"""
    environment = {**os.environ, "PROTOZOO_BUNDLE": str(bundle.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=HOME, env=environment, capture_output=True, text=True, check=True)
    assert "serving.deadline.Deadline 120" in done.stdout
    assert "TimeoutMiddleware" not in done.stdout
