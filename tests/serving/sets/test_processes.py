"""Several processes at once, and processes that are killed: nothing answered is lost, nothing is half there."""

from __future__ import annotations

import json
import os
import random
import time

from serving.sets import SetStore
from tests.serving.sets.writers import MODEL, add_and_enrol, assert_whole, log_answers, processes, units

KILL_ROUNDS = int(os.environ.get("PROTOZOO_KILL_ROUNDS", "30"))
WRITERS, ROUNDS = "abcd", 8


def test_processes_that_write_at_once_lose_nothing(store, database_url):
    store.enrol("load", "shared", units(0))
    with processes.Pool(len(WRITERS)) as pool:
        told = pool.starmap(add_and_enrol, [(database_url, label, ROUNDS) for label in WRITERS], chunksize=1)
    for seen in told:
        versions = [version for version, _ in seen]
        assert versions == sorted(versions)
    versions = sorted(version for seen in told for version, _ in seen)
    assert versions == list(range(2, 2 + len(WRITERS) * ROUNDS * 3)), "no gap and no repeat"
    assert store.revision() == versions[-1]
    snapshot = store.snapshot("load")
    assert set(snapshot.labels) == {"shared", *(f"{label}-{number}" for label in WRITERS for number in range(ROUNDS))}
    ids = {one for seen in told for _, added in seen for one in added}
    shared = store.get_class("load", "shared")
    assert ids < set(shared.example_ids)
    assert shared.n == 1 + len(ids) == 1 + len(WRITERS) * ROUNDS * 2
    assert_whole(database_url)


def answered(log):
    """The last answer for each class; a line that the kill has cut was not yet given."""
    lines = [line for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return {label: rest for label, *rest in map(json.loads, lines)}


class Writer:
    """A process that writes until it is killed, and its log."""

    def __init__(self, url, log):
        self.log = log
        self.process = processes.Process(target=log_answers, args=(url, str(log), log.name), daemon=True)
        self.process.start()

    def kill(self, pause):
        """Kill it in the middle of something, after its first answer."""
        deadline = time.monotonic() + 60
        while not (self.log.exists() and self.log.stat().st_size):
            assert self.process.is_alive(), "a writer could not begin after the kills before"
            assert time.monotonic() < deadline, "no answer within a minute"
            time.sleep(0.002)
        time.sleep(pause)
        self.process.kill()
        self.process.join()
        assert self.process.exitcode == -9, "a writer ended by itself"


def test_what_was_answered_is_there_after_kill_9(database_url, tmp_path):
    chance = random.Random(7)
    logs = [tmp_path / f"log-{number}" for number in range(KILL_ROUNDS + 1)]
    writers = [Writer(database_url, log) for log in logs[:2]]
    for log in logs[2:]:
        writers.pop(0).kill(chance.uniform(0, 0.05))
        writers.append(Writer(database_url, log))  # while the others go on
    for writer in writers:
        writer.kill(0)
    assert_whole(database_url)
    store = SetStore.open(database_url, MODEL)
    snapshot = store.snapshot("load")
    found = dict(
        zip(snapshot.labels, zip(snapshot.versions.tolist(), snapshot.counts.tolist(), strict=True), strict=True)
    )
    unanswered = set(found)
    for log in logs:
        promised = answered(log)
        unanswered -= set(promised)
        for label, (version, n, ids) in promised.items():
            kept = store.get_class("load", label)
            done_after = {3: 5, 5: 4}.get(n)  # one further write may have been done and not answered
            assert (kept.version == version and kept.n == n) or (kept.version > version and kept.n == done_after)
            assert set(ids) <= set(kept.example_ids) or n == 5
    assert len(unanswered) <= len(logs), "each kill leaves at most one class unanswered"
    assert all(found[label][1] == 3 for label in unanswered), "half a class"
    assert store.enrol("load", "after", units(0)).n == 1
    store.close()
