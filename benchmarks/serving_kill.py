"""Killing a real server under load: is every answered write there, and is the service ready again by itself?

    python -m benchmarks.serving_kill --database sqlite --rounds 200

Starts ``python -m serving`` on a free port of loopback, with a tiny bundle and a database of its own (for
``--database postgresql`` the server that the tests start, too). Client threads enrol classes and add examples without a
pause, and send again, with the same idempotency key, what the service could not answer. A round ends with ``kill -9``
at a random moment: of the worker, which BentoML starts again, and in the next round of all of the service's processes,
after which this script runs the same command again. When the service is ready and what was under way has been answered,
the database is compared with the answers: every answered example is there and no other, and of every class the number
of examples and the sum are those of its examples, bit for bit. Ends with 1 where anything is not so. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sqlalchemy

from benchmarks.processes import family, free_port, wait_until_ready
from serving.client import Client
from serving.sets.connect import parse_url
from tests.serving.sets.postgresql import INSTALL, Cluster, binaries
from tests.serving.sets.writers import assert_whole
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import Bundle

HOME = Path(__file__).resolve().parent.parent
SET = "killed"
START_SECONDS = 120
EXAMPLES = (3, 2, 1)
"""Of a class: how many it is enrolled with, and how many are added to it in each write after that."""


class Service:
    """``python -m serving`` with its processes.

    Args:
        bundle: what to serve.
        database: URL.
        folder: of logs.
        workers: processes that answer.
    """

    def __init__(self, bundle: Bundle, database: str, folder: Path, workers: int = 1) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"log-{port}"
        self._command = [sys.executable, "-m", "serving", str(bundle.path), "--port", str(port)]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(HOME),
            "BENTOML_HOME": str(folder / "bentoml"),
            "BENTOML_CONFIG_OPTIONS": f"services.protozoo.workers={workers}",
            "PROTOZOO_DATABASE": database,
            "PROTOZOO_MAX_CLASSES": "1000000",
        }
        self._workers = workers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to start it, as who runs a service would after a crash."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        wait_until_ready(self._running(), f"{self.url}/readyz", self.log)

    def kill_worker(self) -> None:
        """``kill -9`` of one of the processes that answer, once all of them have begun."""
        deadline = time.monotonic() + START_SECONDS
        while len(workers := _workers(self._running().pid)) < self._workers:
            assert time.monotonic() < deadline, f"a worker is missing:\n{self.log.read_text()[-2000:]}"
            time.sleep(0.02)
        os.kill(workers[0], signal.SIGKILL)

    def kill(self) -> None:
        """``kill -9`` of all of its processes."""
        process = self._running()
        if process.poll() is not None:
            return
        os.kill(process.pid, signal.SIGSTOP)  # or it would start a worker between the next two lines
        pids = family(process.pid)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
        while any(Path(f"/proc/{pid}").exists() for pid in pids):  # their port must be free before the next start
            time.sleep(0.002)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


def _workers(pid: int) -> list[int]:
    return [one for one in family(pid)[1:] if b"--worker-id" in _cmdline(one)]


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Clients:
    """Threads that write until they are stopped.

    Attributes:
        answered: every class with the ids of its examples, as the last answer told them.
        writes: how many were answered.
    """

    def __init__(self, url: str, dim: int, threads: int) -> None:
        # Sent again until the service has come back.
        self._clients = [Client(url, timeout=10, attempts=10_000) for _ in range(threads)]
        self._dim = dim
        self.answered: dict[str, tuple[int, ...]] = {}
        self.writes = 0
        self._failures: list[str] = []
        self._lock = threading.Lock()
        self._running: list[threading.Thread] = []
        self._stop = threading.Event()

    def start(self, number: int) -> None:
        """Begin with the load of one round."""
        self._stop.clear()
        self._running = [
            threading.Thread(target=self._write, args=(client, f"{number}-{thread}"), daemon=True)
            for thread, client in enumerate(self._clients)
        ]
        for thread in self._running:
            thread.start()

    def wait_for(self, writes: int) -> None:
        """Return when so many have been answered, of all rounds."""
        while self.writes < writes and not self._failures:
            time.sleep(0.001)

    def finish(self) -> None:
        """Wait until what is under way has been answered."""
        self._stop.set()
        for thread in self._running:
            thread.join()
        assert not self._failures, self._failures

    def _write(self, client: Client, name: str) -> None:
        chance = np.random.default_rng()
        for number in range(1_000_000):
            for step, count in enumerate(EXAMPLES):
                if self._stop.is_set():
                    return
                write = client.add_examples if step else client.enrol
                try:
                    told = write(SET, f"{name}-{number}", embeddings=chance.standard_normal((count, self._dim)))
                except Exception as error:  # a thread's exception would be seen by nobody
                    self._failures.append(f"{name}-{number}, write {step + 1}: {error!r}")
                    return
                with self._lock:
                    self.answered[told.label] = told.examples
                    self.writes += 1


def compare(database: str, answered: dict[str, tuple[int, ...]]) -> tuple[int, int]:
    """Examples that were answered and are not there, and examples that are there and were not answered."""
    assert_whole(database)
    engine = sqlalchemy.create_engine(parse_url(database))
    query = "SELECT c.label, e.id FROM protozoo_classes c JOIN protozoo_examples e ON e.class_id = c.id"
    with engine.connect() as connection:
        found = {(row.label, row.id) for row in connection.exec_driver_sql(query)}
    engine.dispose()
    told = {(label, one) for label, ids in answered.items() for one in ids}
    return len(told - found), len(found - told)


@dataclass
class Report:
    """What has come out.

    Attributes:
        rounds: how many kills.
        writes: answered.
        lost: examples that were answered and are not there.
        unanswered: examples that are there without an answer: half a write, or one done twice.
        worker_seconds, service_seconds: from a kill until /readyz answered with 200 again, by what was killed.
    """

    rounds: int = 0
    writes: int = 0
    lost: int = 0
    unanswered: int = 0
    worker_seconds: list[float] = field(default_factory=list)
    service_seconds: list[float] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        yield f"rounds {self.rounds}, writes answered {self.writes}"
        yield f"answered examples lost: {self.lost}; examples there without an answer: {self.unanswered}"
        for what, seconds in (("the worker", self.worker_seconds), ("all processes", self.service_seconds)):
            if seconds:
                yield (
                    f"ready again after kill -9 of {what}: median {statistics.median(seconds):.2f} s, largest "
                    f"{max(seconds):.2f} s, {len(seconds)} times"
                )


def kill_rounds(
    service: Service, database: str, dim: int, *, rounds: int, seed: int, threads: int = 4, seconds: float = 1e9
) -> Report:
    """The rounds, on a service that is ready; no more begin after ``seconds``."""
    chance, report, began = random.Random(seed), Report(), time.monotonic()
    clients = Clients(service.url, dim, threads)
    for number in range(rounds):
        if time.monotonic() - began > seconds:
            break
        clients.start(number)
        clients.wait_for(clients.writes + chance.randrange(1, 100))
        time.sleep(chance.uniform(0, 0.02))
        killed = time.monotonic()
        if number % 2:
            service.kill()
            service.start()
        else:
            service.kill_worker()
        service.wait_until_ready()
        ready = time.monotonic() - killed
        (report.service_seconds if number % 2 else report.worker_seconds).append(ready)
        clients.finish()
        lost, unanswered = compare(database, clients.answered)
        report.rounds += 1
        report.writes, report.lost, report.unanswered = clients.writes, report.lost + lost, unanswered
        what = "all processes" if number % 2 else "the worker"
        told = f"{number + 1}: {what} killed, ready after {ready:.2f} s, {clients.writes} writes, {report.lost} lost"
        print(told, flush=True)
    return report


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/sets.sqlite"
        return
    if binaries() is None:
        raise SystemExit(INSTALL)
    with Cluster.started() as cluster:
        yield cluster.fresh_url()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1, help="processes that answer")
    parser.add_argument("--threads", type=int, default=4, help="clients, each with one request at a time")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no further round after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and end what was started
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(fresh_database(args.database, folder))
        bundle = make_tiny_bundle(folder / "bundle")
        service = Service(bundle, database, folder, args.workers)
        service.start()
        stack.callback(service.kill)
        service.wait_until_ready()
        report = kill_rounds(
            service,
            database,
            bundle.prototypes.shape[1],
            rounds=args.rounds,
            seed=args.seed,
            threads=args.threads,
            seconds=args.seconds,
        )
    print(f"{args.database}, {args.workers} worker{'s' * (args.workers > 1)}, {args.threads} clients")
    print("\n".join(report.lines()))
    if args.json:
        args.json.write_text(json.dumps(vars(report), indent=1))
    if report.lost or report.unanswered:
        sys.exit(1)


if __name__ == "__main__":
    main()
