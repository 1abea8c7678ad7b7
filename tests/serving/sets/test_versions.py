"""Versions, conditional writes, and retries by idempotency key."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy

from serving.sets.connect import parse_url
from serving.sets.errors import (
    ClassExistsError,
    InvalidKeyError,
    KeyReusedError,
    StaleVersionError,
    UnknownClassError,
)
from tests.serving.sets.writers import units


def test_every_write_counts_once_and_what_changes_nothing_does_not(store):
    assert store.revision() == 0
    state = store.enrol("birds", "wren", units(0, 2))
    store.enrol("fish", "cod", units(1))
    versions = [
        state.version,
        store.add_examples("birds", "wren", units(2)).version,
        store.remove_examples("birds", "wren", state.example_ids[:1]).version,
        store.rename_class("birds", "wren", "owl").version,
        store.enrol("birds", "jay", units(3)).version,
        store.merge_classes("birds", "jay", "owl").version,
    ]
    assert versions == [1, 3, 4, 5, 6, 7]
    assert (store.get_set("birds").version, store.get_set("fish").version, store.revision()) == (7, 2, 7)
    with pytest.raises(ClassExistsError):
        store.enrol("birds", "owl", units(0))
    store.snapshot("birds")
    assert store.revision() == 7
    store.delete_class("birds", "owl")
    assert (store.get_set("birds").version, store.revision()) == (8, 8)
    store.delete_set("fish")
    assert store.revision() == 9


def test_a_conditional_write_needs_the_latest_version(store):
    state = store.enrol("birds", "wren", units(0, 2))
    store.enrol("birds", "owl", units(1))
    latest = store.add_examples("birds", "wren", units(2), if_match=state.version)
    stale = [
        lambda: store.add_examples("birds", "wren", units(3), if_match=state.version),
        lambda: store.remove_examples("birds", "wren", state.example_ids[:1], if_match=state.version),
        lambda: store.rename_class("birds", "wren", "jay", if_match=state.version),
        lambda: store.merge_classes("birds", "wren", "owl", if_match=state.version),
        lambda: store.delete_class("birds", "wren", if_match=state.version),
        lambda: store.delete_set("birds", if_match=state.version),
    ]
    for operation in stale:
        with pytest.raises(StaleVersionError, match=r"version 3, not 1: read it again"):
            operation()
    assert store.get_class("birds", "wren").version == latest.version == 3
    latest = store.remove_examples("birds", "wren", state.example_ids[:1], if_match=latest.version)
    latest = store.rename_class("birds", "wren", "jay", if_match=latest.version)
    store.merge_classes("birds", "jay", "owl", if_match=latest.version)
    store.delete_set("birds", if_match=store.get_set("birds").version)


def test_a_version_never_comes_back(store):
    seen = {store.enrol("birds", "wren", units(0)).version}
    store.delete_class("birds", "wren")
    seen.add(store.enrol("birds", "wren", units(0)).version)
    store.delete_set("birds")
    seen.add(store.enrol("birds", "wren", units(0)).version)
    store.enrol("birds", "owl", units(0))
    store.delete_class("birds", "wren")
    seen.add(store.rename_class("birds", "owl", "wren").version)
    assert len(seen) == 4


def same(one, other):
    fields = ("label", "n", "version", "set_version", "spread", "example_ids")
    return [getattr(one, field) for field in fields] == [getattr(other, field) for field in fields]


def test_a_retry_gets_the_first_answer_and_changes_nothing(store, open_store):
    first = store.enrol("birds", "wren", units(0, 2), key="k1")
    added = store.add_examples("birds", "wren", units(1), if_match=first.version, key="k2", images=[b"a"])
    revision = store.revision()
    again = open_store()
    assert same(again.add_examples("birds", "wren", units(1), if_match=first.version, key="k2", images=[b"a"]), added)
    assert same(again.enrol("birds", "wren", units(0, 2), key="k1"), first)
    assert store.revision() == revision
    assert store.get_class("birds", "wren").n == 3


def test_a_key_with_another_request_is_refused(store):
    store.enrol("birds", "wren", units(0, 2), key="k")
    others = [
        lambda: store.enrol("birds", "wren", units(1, 2), key="k"),
        lambda: store.enrol("birds", "wren", units(0, 2), images=[b"a", b"b"], key="k"),
        lambda: store.enrol("birds", "owl", units(0, 2), key="k"),
        lambda: store.enrol("fish", "wren", units(0, 2), key="k"),
        lambda: store.add_examples("birds", "wren", units(0, 2), key="k"),
    ]
    for operation in others:
        with pytest.raises(KeyReusedError, match="new key"):
            operation()
    assert store.revision() == 1


def test_what_the_client_sent_tells_a_retry_where_its_embeddings_differ_by_rounding(store):
    embeddings = units(0, 2)
    nearly = np.nextafter(embeddings, np.float32(2))
    first = store.enrol("birds", "wren", embeddings, key="k", content=b"two files")
    assert same(store.enrol("birds", "wren", nearly, key="k", content=b"two files"), first)
    with pytest.raises(KeyReusedError):
        store.enrol("birds", "wren", embeddings, key="k", content=b"other files")
    with pytest.raises(KeyReusedError):
        store.enrol("birds", "wren", embeddings, key="k", content=b"two files", images=[b"a", b"b"])


def test_a_failed_request_leaves_its_key_free(store):
    store.enrol("birds", "wren", units(0))
    with pytest.raises(ClassExistsError):
        store.enrol("birds", "wren", units(1), key="k")
    assert store.enrol("birds", "owl", units(1), key="k").n == 1


def test_a_retry_does_not_bring_back_what_was_deleted_since(store):
    store.enrol("birds", "wren", units(0), key="k")
    store.delete_class("birds", "wren")
    with pytest.raises(UnknownClassError, match="deleted or merged since"):
        store.enrol("birds", "wren", units(0), key="k")


def test_a_key_is_forgotten_after_a_day(store, database_url):
    store.enrol("birds", "wren", units(0), key="old")
    engine = sqlalchemy.create_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE protozoo_answers SET created = created - 86390")
    assert store.enrol("birds", "wren", units(0), key="old").n == 1
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE protozoo_answers SET created = created - 20")
    with pytest.raises(ClassExistsError):
        store.enrol("birds", "wren", units(0), key="old")
    store.enrol("birds", "owl", units(0), key="new")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT key FROM protozoo_answers").all() == [("new",)]
    engine.dispose()
    assert store.enrol("birds", "jay", units(0), key="old").n == 1


def test_a_key_is_printable_text(store):
    for key in ("", "x" * 201, "a\nb", "\0", "\ud800"):
        with pytest.raises(InvalidKeyError, match="1 to 200 printable"):
            store.enrol("birds", "wren", units(0), key=key)
    assert store.enrol("birds", "wren", units(0), key="ü" * 200).n == 1
