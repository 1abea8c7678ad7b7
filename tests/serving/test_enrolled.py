"""Enrolled sets in memory: never older than what this process wrote, and read again only where somebody wrote."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from serving import enrolled as module
from serving.enrolled import EnrolledSets
from serving.sets import ModelKey, SetStore
from serving.sets.errors import DatabaseAwayError


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store whose reads of snapshots are kept in ``store.reads``, as the versions that they were beside."""
    found = SetStore.open(f"sqlite:///{tmp_path}/sets.sqlite", ModelKey("a" * 64, 4))
    reads, snapshot = [], found.snapshot

    def read(name, earlier=None):
        reads.append(earlier and earlier.version)
        return snapshot(name, earlier)

    monkeypatch.setattr(found, "snapshot", read)
    found.reads = reads
    yield found
    found.close()


def row(seed):
    return np.random.default_rng(seed).standard_normal((1, 4))


def run(store, work):
    async def inside():
        enrolled = EnrolledSets(store)  # without the task that looks for others' writes
        enrolled._revision = store.revision()
        return await work(enrolled)

    return asyncio.run(inside())


def test_a_set_is_read_once_and_then_only_what_was_written(store):
    store.enrol("birds", "wren", row(0))
    store.enrol("birds", "owl", row(1))

    async def work(enrolled):
        first = await enrolled.get("birds")
        assert await enrolled.get("birds") is first
        _ = first.smallest_angle
        store.add_examples("birds", "owl", row(2))
        enrolled.forget("birds")
        second = await enrolled.get("birds")
        assert second.origin is not None
        assert (second.origin[0], second.origin[1].tolist()) == (first.closest, [0, -1])
        assert second.rows[0].tobytes() == first.rows[0].tobytes()
        assert second.rows[1].tobytes() != first.rows[1].tobytes()

    run(store, work)
    assert store.reads == [None, 2]


def test_versions_that_were_read_before_an_own_write_do_not_bring_the_old_set_back(store):
    store.enrol("birds", "wren", row(0))

    async def work(enrolled):
        await enrolled.get("birds")
        infos, revision = store.list_sets(), store.revision()
        store.enrol("birds", "owl", row(1))
        enrolled.forget("birds")
        enrolled._drop_changed(infos, revision)
        assert (await enrolled.get("birds")).labels == ("wren", "owl")

    run(store, work)


def test_a_read_during_which_something_was_written_is_not_kept_as_the_newest(store):
    store.enrol("birds", "wren", row(0))

    async def work(enrolled):
        reading = asyncio.create_task(enrolled.get("birds"))
        await asyncio.sleep(0)  # it has begun
        enrolled.forget("birds")
        await reading
        await enrolled.get("birds")

    run(store, work)
    assert store.reads == [None, 1]


def test_a_read_that_took_long_does_not_bring_a_deleted_class_back(store, monkeypatch):
    store.enrol("birds", "wren", row(0))
    store.enrol("birds", "owl", row(1))
    has_read, go_on, snapshot = threading.Event(), threading.Event(), store.snapshot

    def slow(name, earlier=None):
        found = snapshot(name, earlier)
        if not has_read.is_set():
            has_read.set()
            assert go_on.wait(20)
        return found

    monkeypatch.setattr(store, "snapshot", slow)

    async def work(enrolled):
        reading = asyncio.create_task(enrolled.get("birds"))
        assert await asyncio.to_thread(has_read.wait, 20)
        store.delete_class("birds", "wren")
        enrolled.forget("birds")
        assert (await enrolled.get("birds")).labels == ("owl",)
        go_on.set()
        assert (await reading).labels == ("wren", "owl")
        assert (await enrolled.get("birds")).labels == ("owl",)

    run(store, work)


def test_a_set_that_others_deleted_is_forgotten_with_what_was_known_of_it(store):
    store.enrol("birds", "wren", row(0))

    async def work(enrolled):
        await enrolled.get("birds")
        store.delete_set("birds")
        enrolled._drop_changed(store.list_sets(), store.revision())
        store.enrol("birds", "owl", row(1))
        assert (await enrolled.get("birds")).labels == ("owl",)

    run(store, work)
    assert store.reads == [None, None]


@pytest.mark.parametrize("reading", [False, True])
def test_a_database_that_was_put_back_is_read_anew(store, tmp_path, reading):
    """Versions come again then, and mean something else."""
    file = tmp_path / "sets.sqlite"

    def copy(source, target):
        with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
            one.backup(other)

    store.enrol("birds", "wren", row(0))
    copy(file, tmp_path / "backup")
    store.enrol("birds", "owl", row(1))
    store.enrol("birds", "rook", row(2))

    async def work(enrolled):
        if reading:  # of the other time, and not over when it is put back
            begun = asyncio.create_task(enrolled.get("birds"))
            await asyncio.sleep(0)
            while not store.reads:
                time.sleep(0.01)
            time.sleep(0.1)
        else:
            await enrolled.get("birds")
        copy(tmp_path / "backup", file)
        enrolled._drop_changed(store.list_sets(), store.revision())
        if reading:
            assert (await begun).labels == ("wren", "owl", "rook")
        for number, label in enumerate(("emu", "kiwi", "rhea")):
            store.enrol("birds", label, row(3 + number))
        enrolled._drop_changed(store.list_sets(), store.revision())
        found = await enrolled.get("birds")
        assert found.labels == ("wren", "emu", "kiwi", "rhea")
        np.testing.assert_array_equal(found.rows, store.snapshot("birds").rows)

    run(store, work)


def test_what_was_deleted_under_a_reader_is_forgotten_in_time(store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)

    def held():
        return any(b"Ada" in path.read_bytes() for path in tmp_path.iterdir())

    async def inside():
        async with EnrolledSets(store):
            with closing(sqlite3.connect(tmp_path / "sets.sqlite", isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM protozoo_sets").fetchall()
                store.delete_class("faces", "Ada")
                await asyncio.sleep(0.1)
                assert held()
            while held():
                await asyncio.sleep(0.01)

    store.enrol("faces", "Ada", row(0))
    asyncio.run(asyncio.wait_for(inside(), 20))


def test_whatever_fails_is_told_once_and_others_writes_are_seen_after_it(store, monkeypatch, caplog):
    store.enrol("birds", "wren", row(0))
    revision = store.revision
    failures = [RuntimeError("a bug"), RuntimeError("a bug"), DatabaseAwayError("away"), DatabaseAwayError("away")]
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)

    async def inside():
        async with EnrolledSets(store) as enrolled:
            await enrolled.get("birds")

            def failing():
                if failures:
                    raise failures.pop(0)
                return revision()

            monkeypatch.setattr(store, "revision", failing)
            store.enrol("birds", "owl", row(1))  # as another process would: nobody calls forget()
            while (await enrolled.get("birds")).labels == ("wren",):
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(inside(), 20))
    told = [record for record in caplog.records if record.name == "serving.enrolled"]
    assert [record.levelname for record in told] == ["ERROR", "WARNING", "WARNING"]
    assert "RuntimeError: a bug" in caplog.text
    assert [record.exc_info is not None for record in told] == [True, False, False]
    assert "answers again" in told[-1].message
