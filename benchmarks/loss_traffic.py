"""Bytes that a step of a loss exchanges between two ranks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import backward

from benchmarks.loss_measures import fresh_processes
from benchmarks.loss_steps import TEMPERATURE, Inputs, Size, draw
from training import losses
from zoo.models.heads import unit

RANKS = 2
SIZES = [Size(256, 100, 64), Size(1024, 100, 64), Size(256, 100, 256), Size(256, 1000, 64)]
COLLECTIVES = ("all_reduce", "all_gather")  # all that training.losses uses

LOSSES: dict[str, Callable[[Inputs, dist.ProcessGroup], Tensor]] = {
    "ntce": lambda inputs, group: losses.ntce(inputs.head(inputs.features), inputs.labels, group=group),
    "nonl": lambda inputs, group: losses.nonl(inputs.head(inputs.features), inputs.labels, group=group),
    "scl": lambda inputs, group: losses.scl(unit(inputs.features), inputs.labels, temperature=TEMPERATURE, group=group),
}


def traffic() -> dict[str, dict[Size, int]]:
    """Of each loss and size, with M samples on each of two ranks: bytes that collectives leave on a rank a step.

    Forward and backward pass of the loss; the averaging of gradients by DistributedDataParallel, which is the same for
    every loss, is not part of it.
    """
    with tempfile.TemporaryDirectory() as folder, fresh_processes(RANKS) as processes:
        ranks = [processes.submit(_rank, rank, Path(folder)) for rank in range(RANKS)]
        results = [rank.result() for rank in ranks]
    return results[0]


def _rank(rank: int, folder: Path) -> dict[str, dict[Size, int]]:
    torch.set_num_threads(1)
    # A rank that fails must not leave the other waiting for half an hour.
    patience = timedelta(seconds=60)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=RANKS, timeout=patience
    )
    counted = {name: {size: _bytes(name, size) for size in SIZES} for name in LOSSES}
    dist.destroy_process_group()
    return counted


def _bytes(name: str, size: Size) -> int:
    inputs, group = draw(size, torch.device("cpu")), dist.group.WORLD
    assert group is not None
    sizes: list[int] = []
    wrapped: dict[str, Any] = {each: partial(_counted, getattr(dist, each), sizes) for each in COLLECTIVES}
    with mock.patch.multiple(dist, **wrapped):
        backward(LOSSES[name](inputs, group))
    return sum(sizes)


def _counted(collective: Callable[..., Any], sizes: list[int], result: Tensor | list[Tensor], *rest: Any) -> Any:
    """Both collectives take first what they write to: a tensor, or one for each rank."""
    sizes.append(sum(part.nbytes for part in ([result] if isinstance(result, Tensor) else result)))
    return collective(result, *rest)
