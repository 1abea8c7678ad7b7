"""What other processes do in the tests, and how the database is looked through afterwards."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import psycopg
import sqlalchemy
import sqlalchemy.dialects.postgresql.psycopg

from serving.sets import ModelKey, SetStore
from serving.sets.connect import parse_url
from serving.sets.embeddings import exact_sum

MODEL = ModelKey("a" * 64, 8)

# Children of a process that has imported everything once: they start in milliseconds, and share no connection.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__, psycopg.__name__])


def units(seed, count=1, dim=MODEL.dim):
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def log_answers(url, log, label):
    """Enrol, add and remove until killed; every answered write is a line of the log."""
    store = SetStore.open(url, MODEL)
    with Path(log).open("ab", buffering=0) as answered:

        def note(state):
            answered.write(json.dumps([state.label, state.version, state.n, state.example_ids]).encode() + b"\n")

        for number in range(100_000):
            name = f"{label}-{number}"
            note(store.enrol("load", name, units(number, 3)))
            added = store.add_examples("load", name, units(number + 1, 2))
            note(added)
            note(store.remove_examples("load", name, added.example_ids[:1]))


def add_and_enrol(url, label, rounds):
    """Add to a class that all share, and enrol and rename classes of its own; gives versions and ids in order."""
    store = SetStore.open(url, MODEL)
    seen = []
    for number in range(rounds):
        shared = store.add_examples("load", "shared", units((ord(label), number), 2))
        seen.append((shared.version, shared.example_ids[-2:]))
        seen.append((store.enrol("load", f"{label}{number}", units(number)).version, ()))
        seen.append((store.rename_class("load", f"{label}{number}", f"{label}-{number}").version, ()))
    store.close()
    return seen


def open_only(url):
    store = SetStore.open(url, MODEL)
    revision = store.revision()
    store.close()
    return revision


def enrol_one(url, label):
    store = SetStore.open(url, MODEL)
    store.enrol("load", label, units(1))
    store.close()


def assert_whole(url):
    """Counts and sums of every class are those of its examples, bit for bit, and every set's are its classes'."""
    engine = sqlalchemy.create_engine(parse_url(url))
    with engine.connect() as connection:
        rows = lambda query: connection.exec_driver_sql(query).all()  # noqa: E731
        cells = {}
        for class_id, embedding in rows("SELECT class_id, embedding FROM protozoo_examples"):
            cells.setdefault(class_id, []).append(np.frombuffer(embedding, np.float32))
        classes = rows("SELECT id, n, sum FROM protozoo_classes")
        assert {row.id for row in classes} == set(cells)
        for row in classes:
            assert row.n == len(cells[row.id])
            assert bytes(row.sum) == exact_sum(np.array(cells[row.id])).tobytes()
        counted = rows(
            "SELECT s.id, count(DISTINCT c.id), count(e.id), coalesce(sum(e.image_bytes), 0) FROM protozoo_sets s "
            "LEFT JOIN protozoo_classes c ON c.set_id = s.id LEFT JOIN protozoo_examples e ON e.class_id = c.id "
            "GROUP BY s.id ORDER BY s.id"
        )
        kept = rows("SELECT id, classes, examples, image_bytes FROM protozoo_sets ORDER BY id")
        assert [tuple(map(int, row)) for row in counted] == [tuple(row) for row in kept]
        if engine.dialect.name == "sqlite":
            assert rows("PRAGMA integrity_check") == [("ok",)]
            assert rows("PRAGMA foreign_key_check") == []
    engine.dispose()
