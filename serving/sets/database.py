"""Transactions on SQLite and PostgreSQL: opening, the schema, one writer at a time, and what a failure is called.

A write takes the lock of the one row that counts revisions before it looks at anything, and counts up in the same
transaction. So writers of all processes and hosts come one after another, on PostgreSQL as on SQLite: limits and
versions cannot be raced, writers cannot deadlock, and whoever reads a revision finds every write up to it. A write
lasts milliseconds, and enrolments are few.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, insert, inspect, select, update
from sqlalchemy import exc as sql

from serving.sets.connect import BUSY_TIMEOUT, WAIT_SECONDS, location, make_engine, patiently, reading_engine
from serving.sets.errors import DatabaseAwayError
from serving.sets.tables import SCHEMA_VERSION, metadata, state
from zoo.bundle import ProtozooError

T = TypeVar("T")

_PAUSES = (0.05, 0.2, 0.5)
_PASSING = {"40001", "40P01"}  # PostgreSQL's serialization_failure and deadlock_detected
_CREATION = 0x70726F746F  # PostgreSQL's advisory lock of whoever creates the tables
_AWAY = "the database of prototype sets cannot be reached; send the request again later"
_BROKEN = (
    "the database of prototype sets lacks a table or a row, or is damaged; send the request again later, and have the "
    "operator restore it if that does not help"
)
_BUSY = "the database of prototype sets is busy; send the request again later"


class Write:
    """A write under way.

    Attributes:
        connection: on which it happens.
        revision: the number that it will have, if it changes anything.
        now: seconds since 1970.
    """

    def __init__(self, connection: Connection, revision: int) -> None:
        self.connection = connection
        self.revision = revision
        self.now = time.time()

    def count(self) -> None:
        """Have this write counted: it has changed something."""
        self.connection.execute(update(state).values(revision=self.revision))


class Database:
    """An open database; safe to share between threads.

    Args:
        url: as :func:`serving.sets.connect.parse_url` gives it.

    Raises:
        ProtozooError: the driver is missing, the file is no database, or a newer version has written it.
        DatabaseAwayError: it cannot be reached.
    """

    def __init__(self, url: URL) -> None:
        self.location = location(url)
        self._engine = make_engine(url)
        self._reading = reading_engine(self._engine)
        self._writing = threading.Lock()
        self._remembers = False  # what was deleted: its bytes are still in SQLite's log
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on the database as it is at one moment.

        Raises:
            DatabaseAwayError: it cannot be reached.
        """
        with self._told(), self._reading.connect() as connection, connection.begin():
            return work(connection)

    def write(self, work: Callable[[Write], T]) -> T:
        """Run ``work`` alone and commit: when this returns, the write is on the disk.

        Args:
            work: may run more than once, where the database asks for it.

        Raises:
            DatabaseAwayError: it cannot be reached, or writers before this one took too long.
        """

        def locked(connection: Connection) -> T:
            last = connection.execute(select(state.c.revision).with_for_update()).scalar_one()
            return work(Write(connection, last + 1))

        return self._alone(locked)

    def forget(self) -> None:
        """Empty SQLite's log, in which what was deleted would still stand; :meth:`forget_rest` where readers hinder."""
        self._forget(patience_ms=500)

    def forget_rest(self) -> None:
        """Empty the log if readers under way have kept :meth:`forget` from it, and do not now."""
        if self._remembers:
            self._forget(patience_ms=0)  # while it waits, nobody can write

    def _forget(self, patience_ms: int) -> None:
        if self._is_postgresql:
            return
        with self._told(), self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute(f"PRAGMA busy_timeout = {patience_ms}")
            try:
                busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                driver.execute(BUSY_TIMEOUT)
            self._remembers = bool(busy)

    @property
    def _is_postgresql(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    def _alone(self, work: Callable[[Connection], T]) -> T:
        # Threads wait here, and not each with a connection of the few that readers need too.
        if not self._writing.acquire(timeout=WAIT_SECONDS):
            raise DatabaseAwayError(_BUSY)
        try:
            with self._told():
                return self._retried(work)
        finally:
            self._writing.release()

    def _retried(self, work: Callable[[Connection], T]) -> T:
        for pause in _PAUSES:
            try:
                return self._once(work)
            except sql.OperationalError as error:
                if getattr(error.orig, "sqlstate", None) not in _PASSING:
                    raise
            time.sleep(pause * random.uniform(0.5, 1))
        return self._once(work)

    def _once(self, work: Callable[[Connection], T]) -> T:
        with self._engine.connect() as connection, connection.begin():
            if self._is_postgresql:
                # The second one frees the others of a writer whose host has died in the middle.
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
                connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '30s'")
            return work(connection)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sql.IntegrityError, sql.DataError):
            raise  # what was asked of the database is wrong, and not the database
        except (sql.OperationalError, sql.InterfaceError, sql.InternalError, sql.TimeoutError) as error:
            raise DatabaseAwayError(_BUSY if _is_busy(error) else _AWAY) from error
        except (sql.DBAPIError, sql.NoResultFound) as error:  # while it is restored from a backup, say
            raise DatabaseAwayError(_BROKEN) from error

    def _prepare(self) -> None:
        try:
            if not self._is_postgresql:
                with self._engine.connect() as connection:
                    patiently(connection, "PRAGMA journal_mode = WAL")
            self._retried(self._create)
        except (sql.DBAPIError, sql.TimeoutError) as error:
            reason = (str(getattr(error, "orig", error)).splitlines() or [""])[0]
            message = f"the database of prototype sets, {self.location}, cannot be opened: {reason}"
            if isinstance(error, sql.OperationalError):
                raise DatabaseAwayError(message) from error
            raise ProtozooError(message) from error

    def _create(self, connection: Connection) -> None:
        if self._is_postgresql:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
            if encoding != "UTF8":
                raise ProtozooError(f"{self.location} has the encoding {encoding}; names of classes need UTF8")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATION})")
        if not inspect(connection).has_table(state.name):
            metadata.create_all(connection, checkfirst=False)
            connection.execute(insert(state).values(schema_version=SCHEMA_VERSION, revision=0))
        found = connection.execute(select(state.c.schema_version)).scalar_one()
        if found != SCHEMA_VERSION:
            raise ProtozooError(
                f"{self.location} holds prototype sets of schema {found}, and this version of protozoo knows schema "
                f"{SCHEMA_VERSION}: install the version that wrote it, or name another database"
            )


def _is_busy(error: sql.SQLAlchemyError) -> bool:
    cause = getattr(error, "orig", None)
    locked = getattr(cause, "sqlstate", None) == "55P03" or "database is locked" in str(cause)
    return locked or isinstance(error, sql.TimeoutError)
