"""What each of two processes measures; the parts that they see are uneven, or leave classes or all to the other."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, distributed

from tests.training.metrics.naive import collapsed, sample
from training.metrics import IntraPolicy, NeuralCollapseAccumulator

Case = tuple[tuple[Tensor, Tensor, Tensor], Tensor, IntraPolicy]


def cases() -> dict[str, Case]:
    """Name -> data, which samples the first rank sees, and the policy."""
    uneven, sparse, points = sample([3, 12, 5, 20]), sample([4, 1, 6, 0, 5]), collapsed(10, 32)
    return {
        "uneven": (uneven, torch.arange(40) < 7, "per_class"),
        "without scatter": (uneven, torch.arange(40) < 7, "none"),
        "classes of their own, one absent, one of one sample": (sparse, sparse[1] < 2, "per_class"),
        "one rank has nothing": (sparse, torch.zeros(16, dtype=torch.bool), "per_class"),
        "collapsed": (points, torch.arange(50) < 23, "per_class"),
    }


def measure(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    results = {}
    for name, ((features, labels, prototypes), first, intra) in cases().items():
        accumulator = NeuralCollapseAccumulator(*prototypes.shape, intra=intra)
        own = first if rank == 0 else ~first
        accumulator.update(features[own], labels[own])
        accumulator.all_reduce()
        results[name] = asdict(accumulator.compute(prototypes))
    (folder / f"{rank}.json").write_text(json.dumps(results, allow_nan=False))
    distributed.destroy_process_group()
