"""Answers that nobody reads: they wait outside of memory, within the deadline and the limit of requests."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from serving.app import create_app
from serving.deadline import Deadline
from serving.sending import PIECE_BYTES, InPieces
from serving.sets.archive import Archive, pack_archive
from serving.sets.embeddings import unit_rows
from serving.settings import Settings
from tests.serving.talk import assert_error

SCOPE = {"type": "http", "method": "GET", "headers": [], "query_string": b"", "http_version": "1.1"}


async def receive():
    await asyncio.sleep(60)


def sent(app, scope):
    messages = []

    async def send(message):
        messages.append(message)

    asyncio.run(app(scope, receive, send))
    return messages


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 7])
def test_an_answer_in_pieces_is_the_same(size):
    answer = Response(np.random.default_rng(0).bytes(size), headers={"A": "b"})
    (start, *whole), (same_start, *pieces) = sent(answer, SCOPE), sent(InPieces(answer), SCOPE)
    assert same_start == start
    assert b"".join(piece["body"] for piece in pieces) == whole[0]["body"]
    assert max(len(piece["body"]) for piece in pieces) <= PIECE_BYTES
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]


def test_who_does_not_read_holds_a_permit_until_the_deadline(bundle, tmp_path):
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite", max_requests=1)
    with TestClient(create_app(lambda: settings)) as client:
        store = client.app.state.api.running().enrolled.store
        rows = np.random.default_rng(0).standard_normal((600, 8))
        labels = tuple(map(str, range(len(rows))))
        archive = Archive("mine", store.model, labels, np.ones(len(rows), np.int64), unit_rows(rows, 8), (None,) * 600)
        store.load(pack_archive(archive))
        path, taken = "/v1/sets/mine/prototypes", []

        async def unread():
            async def send(message):
                taken.append(len(message.get("body", b"")))
                if sum(taken):
                    await asyncio.sleep(60)

            await Deadline(client.app, timeout=1)(SCOPE | {"path": path, "raw_path": path.encode()}, receive, send)

        async def scenario():
            sending = asyncio.ensure_future(unread())
            while not sum(taken):
                await asyncio.sleep(0.01)
            return sending

        sending = client.portal.call(scenario)
        assert_error(client.get("/v1/sets"), 503, "busy")

        async def ended():
            with pytest.raises(asyncio.TimeoutError):
                await sending

        client.portal.call(ended)
        assert sum(taken) == PIECE_BYTES < len(client.get(path).content)
        assert client.get("/v1/sets").status_code == 200
