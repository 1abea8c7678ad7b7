"""What waits for the database keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.errors import ServingError
from serving.settings import Settings
from serving.threads import Threads
from tests.serving.talk import JPEG, assert_error, enrol, in_process


def test_more_than_may_wait_are_refused_and_places_come_back():
    threads, go, ran = Threads("test", 1, most=2, waiting="works wait"), threading.Event(), []

    async def scenario():
        first, second = (asyncio.ensure_future(threads.run(lambda n=n: go.wait(20) and ran.append(n))) for n in (1, 2))
        await asyncio.sleep(0.01)
        with pytest.raises(ServingError, match="2 works wait") as caught:
            await threads.run(print)
        assert (caught.value.code, caught.value.headers) == ("busy", {"Retry-After": "1"})
        second.cancel()  # what nobody awaits is not begun
        first.cancel()  # and what was begun keeps its place
        await asyncio.sleep(0.01)
        third = asyncio.ensure_future(threads.run(ran.append, 3))
        await asyncio.sleep(0.01)
        with pytest.raises(ServingError):
            await threads.run(print)
        go.set()
        await third
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)
        assert await threads.run(max, 1, 2) == 2

    asyncio.run(scenario())
    threads.close()
    assert ran == [1, 3]


def test_a_locked_database_keeps_nobody_but_writers_waiting(bundle, encode, tmp_path, monkeypatch):
    for module in ("connect", "database"):
        monkeypatch.setattr(f"serving.sets.{module}.WAIT_SECONDS", 3)
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite")
    with TestClient(create_app(lambda: settings)) as client:
        enrol(client, "mine", "x", encode())

        async def scenario(other):
            with closing(sqlite3.connect(tmp_path / "sets.sqlite", isolation_level=None)) as locking:
                locking.execute("BEGIN IMMEDIATE")
                writes = [asyncio.ensure_future(other.delete("/v1/sets/none")) for _ in range(60)]
                await asyncio.sleep(0.5)
                began = time.perf_counter()
                for path in ("/metrics", "/docs.json", "/v1/sets", "/v1/sets/mine", "/v1/model"):
                    assert (await other.get(path)).status_code == 200
                assert (await other.post("/v1/classify?set=mine", content=encode(), headers=JPEG)).status_code == 200
                assert time.perf_counter() - began < 2
                refused = [write.result() for write in writes if write.done()]
                locking.execute("ROLLBACK")
                return refused, await asyncio.gather(*writes)

        refused, answers = in_process(client, scenario)
        assert len(refused) == 60 - 32
        for answer in refused:
            assert "writes wait for the database" in assert_error(answer, 503, "busy")
        assert {answer.status_code for answer in answers if answer not in refused} == {404}


def test_a_write_needs_a_permit(bundle, encode, tmp_path):
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite", max_requests=1)
    with TestClient(create_app(lambda: settings)) as client:
        enrol(client, "mine", "x", encode())
        with client.app.state.api.permit():
            for path in ("/v1/sets/mine", "/v1/sets/mine/classes/x", "/v1/sets/mine/classes/x/examples/1"):
                assert_error(client.delete(path), 503, "busy")
        assert client.delete("/v1/sets/mine").status_code == 204
