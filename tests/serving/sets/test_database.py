"""Opening, configuration, failures of the database, and what deleting leaves behind."""

from __future__ import annotations

import secrets
import sqlite3
import stat
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from serving.sets import Limits, SetStore, connect, database, errors
from serving.sets.connect import default_path, parse_url
from serving.sets.errors import DatabaseAwayError, SetError, UnknownClassError
from tests.serving.sets.writers import MODEL, enrol_one, open_only, processes, units
from zoo.bundle import ProtozooError


def test_several_processes_create_the_tables_at_once(database_url):
    with processes.Pool(4) as pool:
        assert pool.map(open_only, [database_url] * 8, chunksize=1) == [0] * 8


def test_a_database_of_another_schema_is_refused_in_words(store, database_url):
    store.enrol("birds", "wren", units(0))
    engine = sqlalchemy.create_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE protozoo_state SET schema_version = 2")
    engine.dispose()
    with pytest.raises(ProtozooError, match="schema 2, and this version of protozoo knows schema 1"):
        SetStore.open(database_url, MODEL)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "cannot be read"),
        ("sets.db", "cannot be read"),
        ("postgresql://user:hunter2@host:port/x", "cannot be read"),
        ("mysql://user:hunter2@host/x", "cannot be kept in 'mysql'"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:////proc/nowhere/sets.db", "cannot be written to"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_words(url, says):
    with pytest.raises(ProtozooError, match=says) as caught:
        SetStore.open(url, MODEL)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes " * 100)
    with pytest.raises(ProtozooError, match=r"notes.txt, cannot be opened: file is not a database"):
        SetStore.open(f"sqlite:///{path}", MODEL)
    assert path.read_text().startswith("not a database")


def test_by_default_sets_are_kept_in_the_user_s_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    SetStore.open(None, MODEL).close()
    assert default_path() == tmp_path / "data" / "protozoo" / "sets.sqlite"
    assert stat.S_IMODE(default_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(default_path().parent.stat().st_mode) == 0o700


def test_sqlite_is_set_so_that_an_answered_write_survives_a_power_cut(tmp_path):
    store = SetStore.open(f"sqlite:///{tmp_path}/sets.sqlite", MODEL)
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")

    def values(connection):
        return [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one() for pragma in pragmas]

    assert store._database.read(values) == ["wal", 2, 1, 1]
    store.close()


def test_deleting_leaves_no_byte_in_sqlite_s_files(tmp_path):
    store = SetStore.open(f"sqlite:///{tmp_path}/sets.sqlite", MODEL)
    erased = {"face one " * 2000: "Ada", "face two " * 2000: "Bob", "face three " * 2000: "Cleo"}
    for number, (image, label) in enumerate(erased.items()):
        store.enrol("faces", label, units(number), images=[image.encode()], key=label.lower())
    extra = store.add_examples("faces", "Cleo", units(9), images=[b"stays " * 2000])

    def held():
        data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        return [word for word in (b"face one", b"face two", b"face three", b"Ada", b"Bob", b"stays") if word in data]

    assert len(held()) == 6
    store.delete_class("faces", "Ada")
    store.remove_examples("faces", "Cleo", extra.example_ids[:1])
    assert held() == [b"face two", b"Bob", b"stays"]
    store.delete_set("faces")
    assert held() == []
    store.close()


def test_what_was_deleted_under_a_reader_is_forgotten_when_that_has_ended(tmp_path):
    store = SetStore.open(f"sqlite:///{tmp_path}/sets.sqlite", MODEL)
    store.enrol("faces", "Ada", units(0), images=[b"face one " * 2000])
    store.enrol("faces", "Bob", units(1))

    def held():
        data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        return [word for word in (b"face one", b"Ada") if word in data]

    with closing(sqlite3.connect(tmp_path / "sets.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM protozoo_sets").fetchall()
        store.delete_class("faces", "Ada")
        store.forget_rest()
        assert held() == [b"face one", b"Ada"]
        began = time.monotonic()
        store.enrol("faces", "Cleo", units(2))
        assert time.monotonic() - began < 0.4, "no writer waits for the reader"
        reader.execute("COMMIT")
    store.forget_rest()
    assert held() == []
    store.close()


def test_a_name_that_was_given_up_is_in_no_byte_of_sqlite_s_files(tmp_path):
    store = SetStore.open(f"sqlite:///{tmp_path}/sets.sqlite", MODEL)
    for number, label in enumerate(("Ada", "Bob", "Cleo")):
        store.enrol("faces", label, units(number), key=label.lower())

    def held():
        data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        return [word for word in (b"Ada", b"Bob", b"Cleo", b"Dora") if word in data]

    store.rename_class("faces", "Ada", "Dora")
    assert held() == [b"Bob", b"Cleo", b"Dora"]
    store.merge_classes("faces", "Bob", "Cleo")
    assert held() == [b"Cleo", b"Dora"]
    store.close()


def test_no_password_is_in_a_message(postgresql):
    right = postgresql.fresh_url()
    store = SetStore.open(right, MODEL)
    assert postgresql.password not in repr(store)
    store.close()
    wrong = secrets.token_hex(8)
    urls = (
        right.replace(postgresql.password, wrong),
        f"postgresql://tester@127.0.0.1:{postgresql.port}/postgres?password={wrong}",
    )
    for url in urls:
        with pytest.raises(DatabaseAwayError, match="/postgres, cannot be opened") as caught:
            SetStore.open(url, MODEL)
        assert wrong not in "".join(traceback.format_exception(caught.value))


def test_a_postgresql_that_is_away_is_said_to_be_and_comes_back_by_itself(postgresql):
    store = SetStore.open(postgresql.fresh_url(), MODEL)
    store.enrol("birds", "wren", units(0))
    postgresql.stop("immediate")
    for operation in (store.revision, lambda: store.enrol("birds", "owl", units(1)), lambda: store.snapshot("birds")):
        with pytest.raises(DatabaseAwayError, match="cannot be reached") as caught:
            operation()
        assert str(postgresql.port) not in str(caught.value)
    postgresql.start()
    assert store.snapshot("birds").labels == ("wren",)
    assert store.enrol("birds", "owl", units(1)).n == 1
    store.close()


def test_a_postgresql_that_cannot_hold_every_name_is_refused(postgresql):
    engine = sqlalchemy.create_engine(parse_url(postgresql.url("")), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    engine.dispose()
    with pytest.raises(ProtozooError, match="encoding SQL_ASCII"):
        SetStore.open(postgresql.url("").replace("/postgres", "/ascii"), MODEL)


def test_postgresql_without_its_driver_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ProtozooError, match=r"pip install 'protozoo\[postgresql\]'"):
        SetStore.open("postgresql://127.0.0.1/x", MODEL)


def test_a_writer_that_holds_the_lock_too_long_makes_others_busy_but_no_reader(database_url, monkeypatch):
    monkeypatch.setattr(connect, "WAIT_SECONDS", 1)
    monkeypatch.setattr(database, "WAIT_SECONDS", 1)
    store = SetStore.open(database_url, MODEL)
    state = store.enrol("birds", "wren", units(0))
    blocker = SetStore.open(database_url, MODEL)

    def hold(write):
        with pytest.raises(DatabaseAwayError, match="is busy"):
            store.add_examples("birds", "wren", units(1))
        assert store.get_class("birds", "wren").version == state.version

    blocker._database.write(hold)
    assert store.add_examples("birds", "wren", units(1)).n == 2
    store.close()
    blocker.close()


@pytest.mark.parametrize("statement", ["DELETE FROM protozoo_state", "DROP TABLE protozoo_state"])
def test_a_database_without_what_it_should_hold_is_away(store, database_url, statement):
    """While it is restored from a backup, say."""
    engine = sqlalchemy.create_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
    for operation in (store.revision, lambda: store.enrol("birds", "owl", units(1))):
        with pytest.raises(DatabaseAwayError, match=r"lacks a table or a row|cannot be reached"):
            operation()


def test_what_the_database_asks_to_do_again_is_done_again(store, monkeypatch):
    failures = [2]
    real = store._database._once

    class PassingError(Exception):
        sqlstate = "40P01"

    def once(work):
        if failures[0]:
            failures[0] -= 1
            raise sqlalchemy.exc.OperationalError("", None, PassingError())
        return real(work)

    monkeypatch.setattr(store._database, "_once", once)
    assert store.enrol("birds", "wren", units(0)).version == 1
    failures[0] = 100
    with pytest.raises(DatabaseAwayError):
        store.enrol("birds", "owl", units(0))


def test_threads_share_a_store(store):
    store.enrol("birds", "wren", units(0))

    def work(number):
        added = store.add_examples("birds", "wren", units(number))
        store.snapshot("birds")
        return added.version

    with ThreadPoolExecutor(12) as threads:
        versions = list(threads.map(work, range(36)))
    assert sorted(versions) == list(range(2, 38))
    assert store.get_class("birds", "wren").n == 37


def test_another_process_s_write_shows_in_the_next_revision(store, database_url):
    seen = store.revision()
    for label in ("wren", "owl"):
        process = processes.Process(target=enrol_one, args=(database_url, label))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert store.revision() == seen + 1
        assert label in store.snapshot("load").labels
        seen = store.revision()


@pytest.mark.parametrize("limits", [{"sets": 0}, {"image_bytes": -1}, {"examples_per_class": 4097}])
def test_limits_out_of_range_are_refused(limits):
    with pytest.raises(ProtozooError):
        Limits(**limits)


def test_every_cause_has_a_code_and_a_status_of_its_own_class():
    causes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, SetError)]
    causes.remove(SetError)
    assert len({one.code for one in causes}) == len(causes) == 16
    assert {one.http_status for one in causes} == {404, 409, 412, 422, 503, 507}
    assert UnknownClassError("x").status == 2, "the command line's exit status"


def test_the_store_needs_no_torch():
    code = "import serving.sets, sys; assert not {'torch', 'timm', 'psycopg', 'starlette'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
