"""Time and peak memory of the steps of benchmarks/loss_steps.py."""

from __future__ import annotations

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.loss_steps import Size, draw, step

VISIT = 0.02  # seconds: a shorter step is repeated, as the clock and the scheduler are coarse
ROUNDS = (5, 15)  # at least, at most
_RESET = Path("/proc/self/clear_refs")


class Ratio(NamedTuple):
    """Median, least and largest of the ratios of all rounds."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g}..{self.most:.3g})"


def ratio(seconds: list[float], base: list[float]) -> Ratio:
    """Of two steps that were timed in the same rounds."""
    each = [one / other for one, other in zip(seconds, base, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def timed(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds of one of ``repeats`` runs."""
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / repeats


def in_rounds(steps: Mapping[str, Callable[[], object]], device: torch.device, budget: float) -> dict[str, list[float]]:
    """Seconds of every step in every round A B C A B C ..., so that whatever else the machine does hits all alike.

    Args:
        steps: what to time.
        device: where the steps run.
        budget: seconds that the rounds may take, unless the least number of them takes longer.
    """
    repeats = {}
    round_seconds = 0.0
    for name, run in steps.items():
        timed(run, 1, device)
        warm = timed(run, 1, device)
        repeats[name] = max(1, round(VISIT / warm))
        round_seconds += warm * repeats[name]
    least, most = ROUNDS
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(min(most, max(least, int(budget / round_seconds)))):
        for name, run in steps.items():
            seconds[name].append(timed(run, repeats[name], device))
    return seconds


def product_speed(device: torch.device) -> float:
    """Multiplications and additions a second of a matrix product."""
    rows = torch.rand(1024, 1024, device=device)
    out = torch.empty_like(rows)

    def product() -> Tensor:
        return torch.mm(rows, rows, out=out)

    timed(product, 1, device)
    return 2 * 1024**3 / timed(product, 10, device)


def fresh_processes(count: int) -> ProcessPoolExecutor:
    """Processes in which torch is imported and nothing has run.

    They are forked from a server that only imports: a fork of this process would take over its memory, and OpenMP's
    threads would be missing in it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.loss_steps", "benchmarks.loss_traffic"])
    return ProcessPoolExecutor(count, mp_context=context)


def extra_peak(name: str, size: Size, device: torch.device, threads: int) -> int | None:
    """Bytes that one step takes at its peak, over the state with its inputs allocated; None where not measurable.

    On CUDA of torch's allocator; on the CPU of resident memory, each step in a process of its own (Linux only).
    """
    if device.type == "cuda":
        return _cuda_peak(name, size, device)
    if not _RESET.exists():
        return None
    with fresh_processes(1) as processes:
        return processes.submit(_resident_peak, name, size, threads).result()


def _cuda_peak(name: str, size: Size, device: torch.device) -> int:
    inputs = draw(size, device)
    # The first step allocates cuBLAS's workspace, which stays.
    step(name, inputs)()
    inputs.features.grad = None
    inputs.head.zero_grad()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step(name, inputs)()
    return torch.cuda.max_memory_allocated(device) - before


def _resident_peak(name: str, size: Size, threads: int) -> int:
    torch.set_num_threads(threads)
    cpu = torch.device("cpu")
    # Libraries and threads that the first step brings in are not the step's.
    step(name, draw(Size(32, 3, 8), cpu))()
    run = step(name, draw(size, cpu))
    # Memory that malloc keeps from drawing the inputs would hide as much of the step's.
    ctypes.CDLL(None).malloc_trim(0)
    _RESET.write_text("5")
    before = _peak()
    run()
    return _peak() - before


def _peak() -> int:
    """Bytes of the largest resident set since the last reset."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
