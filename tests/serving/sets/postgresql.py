"""A PostgreSQL server for tests: Debian's package, a folder of its own, one port of 127.0.0.1."""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy

INSTALL = (
    "PostgreSQL is not installed, so NOTHING of the prototype sets is tested on it: "
    "apt-get install -y postgresql (Debian), or put initdb and pg_ctl on the PATH"
)


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: that on the PATH, else the newest of Debian's."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return debian[-1].parent if debian else None


@dataclass
class Cluster:
    """A running server.

    Attributes:
        folder: its data, log and socket.
        port: of 127.0.0.1.
        password: of its user "tester".
    """

    folder: Path
    port: int
    password: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Cluster]:
        # Not under pytest's folder: that is root's alone, and PostgreSQL refuses to run as root.
        folder = Path(tempfile.mkdtemp(prefix="protozoo-postgresql-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            cluster = cls(folder, probe.getsockname()[1], secrets.token_hex(8))
        try:
            cluster._create()
            cluster.start()
            yield cluster
        finally:
            cluster.stop("immediate")
            shutil.rmtree(folder)

    def fresh_url(self) -> str:
        """A URL whose tables are nobody else's: a schema of the one database, made in milliseconds."""
        name = f"test_{next(self._numbers)}"
        engine = sqlalchemy.create_engine(self.url("").replace("postgresql", "postgresql+psycopg", 1))
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        engine.dispose()
        return self.url(f"?options=-csearch_path%3D{name}")

    def url(self, query: str) -> str:
        return f"postgresql://tester:{self.password}@127.0.0.1:{self.port}/postgres{query}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "-D", self._data, "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str) -> None:
        """Stop as ``pg_ctl -m mode``: "immediate" is a crash."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _create(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if os.geteuid() == 0:
            user = _unprivileged()
            for path in (self.folder, secret):
                shutil.chown(path, user)
        options = ("-U", "tester", "-A", "scram-sha-256", "--pwfile", str(secret), "-E", "UTF8", "--locale", "C")
        self._run("initdb", "-D", self._data, "--no-sync", *options)

    def _run(self, program: str, *arguments: str) -> None:
        folder = binaries()
        assert folder is not None
        command: Sequence[str] = [str(folder / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", _unprivileged(), "--", *command]
        # The server inherits its output: a pipe would never end.
        with (self.folder / "output").open("a+") as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd=self.folder, check=False)
        assert done.returncode == 0, (self.folder / "output").read_text()


def _unprivileged() -> str:
    users = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in users else "nobody"
