"""Servers as processes: when they are ready, and what they and all that come from them use. Linux only."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Of loopback; nothing keeps it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path, seconds: float = 120) -> None:
    """Return when ``url`` answers with 200.

    Raises:
        AssertionError: the process has ended, or the time is over; with the end of its log.
    """
    deadline = time.monotonic() + seconds
    # One client: to make one takes tens of milliseconds of a core that the service is starting on.
    with httpx.Client(timeout=2) as client:
        while time.monotonic() < deadline:
            assert process.poll() is None, f"the service has ended:\n{log.read_text()[-2000:]}"
            try:
                if client.get(url).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
    raise AssertionError(f"not ready within {seconds} s:\n{log.read_text()[-2000:]}")


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a process, and whatever it has left, at the end of the block."""
    try:
        yield process
    finally:
        pids = family(process.pid)
        process.terminate()
        try:
            process.wait(40)
        finally:
            for pid in pids:
                if Path(f"/proc/{pid}/stat").exists():
                    os.kill(pid, 9)


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    found = [pid]
    for one in found:  # grows as it goes
        try:
            tasks = [task.read_text() for task in Path(f"/proc/{one}/task").glob("*/children")]
        except OSError:
            continue  # it has ended meanwhile
        found += [int(child) for text in tasks for child in text.split()]
    return found


def memory_mb(pid: int) -> float:
    """Resident memory of a family in 10^6 bytes; what several share counts once."""
    total = 0
    for one in family(pid):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """What a family has computed so far, on all cores together."""
    ticks = 0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS
