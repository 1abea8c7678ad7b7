"""From a URL to connections: SQLite and PostgreSQL, each set so that an answered write is never lost."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy import exc as sql

from zoo.bundle import ProtozooError

WAIT_SECONDS = 10
"""How long a write waits for the writer before it."""
_BEGIN = "protozoo_begin"
BUSY_TIMEOUT = f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}"
_SQLITE = (
    BUSY_TIMEOUT,
    "PRAGMA synchronous = FULL",  # in WAL mode anything less loses answered writes with the power
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",  # what is deleted is overwritten with zeros
)
# A host that is gone without a word is noticed in seconds, where TCP itself takes a quarter of an hour.
_POSTGRESQL = {
    "client_encoding": "utf8",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def default_path() -> Path:
    """Where the sets are kept unless told otherwise: data, and no cache that may be cleared."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "protozoo" / "sets.sqlite"


def parse_url(text: str | None) -> URL:
    """The database that a URL names; None means SQLite at :func:`default_path`.

    Raises:
        ProtozooError: it is no URL of SQLite or PostgreSQL; the message never holds a password.
    """
    if text is None:
        path = default_path()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return URL.create("sqlite", database=str(path))
    try:
        url = make_url(text)
    except (sql.ArgumentError, ValueError):
        raise ProtozooError(f"the URL of the database of prototype sets cannot be read; {_TAKEN}") from None
    backend = url.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ProtozooError(f"prototype sets cannot be kept in {backend!r}; {_TAKEN}")
    if url.database in (None, "", ":memory:"):
        raise ProtozooError(f"a database in memory would be lost with the process; {_TAKEN}")
    return url


_TAKEN = "give sqlite:///path/of/a/file or postgresql://user:password@host/database"


def location(url: URL) -> str:
    """For messages: without user and password, wherever in the URL they stand."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return f"postgresql://{url.host or ''}/{url.database or ''}"


def make_engine(url: URL) -> Engine:
    """Connections for a URL of :func:`parse_url`; none is made yet.

    Raises:
        ProtozooError: PostgreSQL's driver is missing, SQLite is too old, or its file cannot be written to.
    """
    # A message of an error must not show embeddings and images; a connection is tried before it is lent out.
    options: dict[str, Any] = {"hide_parameters": True, "pool_pre_ping": True, "pool_timeout": WAIT_SECONDS}
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url, options)
    given = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
    try:
        # Said once for all servers: a stricter default would refuse writers that have waited for the lock.
        return create_engine(url, connect_args=given, isolation_level="READ COMMITTED", **options)
    except ModuleNotFoundError:
        raise ProtozooError("PostgreSQL needs its driver: pip install 'protozoo[postgresql]'") from None


def _sqlite_engine(url: URL, options: dict[str, Any]) -> Engine:
    if sqlite3.sqlite_version_info < (3, 35):  # RETURNING
        raise ProtozooError(f"SQLite {sqlite3.sqlite_version} is too old for prototype sets: 3.35 or newer is needed")
    path = Path(str(url.database))
    try:
        path.touch(mode=0o600)  # faces may be in it
    except OSError as error:
        raise ProtozooError(f"{path} cannot be written to: {error.strerror}; name another database") from error
    engine = create_engine(url, **options)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # sqlite3 begins no transactions by itself
        for pragma in _SQLITE:
            connection.execute(pragma)

    # A write asks for the lock at the start: SQLite cannot wait for it once a transaction has read.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        patiently(connection, connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE"))

    return engine


def patiently(connection: Connection, statement: str) -> None:
    """Run a statement that takes SQLite's lock, asking for it every few milliseconds.

    SQLite's own waiting asks ten times a second only, so that one busy writer can keep others out for good, and at the
    switch to WAL it does not wait at all.

    Raises:
        OperationalError: another has held the lock for :data:`WAIT_SECONDS`.
    """
    driver: Any = connection.connection.driver_connection
    deadline = time.monotonic() + WAIT_SECONDS
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                driver.execute(statement).fetchall()
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise sql.OperationalError(statement, None, error) from error
            time.sleep(random.uniform(0.001, 0.005))
    finally:
        driver.execute(BUSY_TIMEOUT)


def reading_engine(engine: Engine) -> Engine:
    """The same connections for transactions that only read, and see the database as it is at one moment."""
    if engine.dialect.name == "postgresql":
        return engine.execution_options(isolation_level="REPEATABLE READ")
    return engine.execution_options(**{_BEGIN: "BEGIN"})
