"""One rank of test_ranks.py: runs every case, and saves values and gradients for the test to compare."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from training import losses
from zoo.geometry import simplex_etf

WORLDS = (2, 4)
CLASSES, DIM, TEMPERATURE = 5, 6, 0.1
PROTOTYPES = simplex_etf(CLASSES, DIM, generator=torch.Generator().manual_seed(0)).double()

# How many of a batch's samples each of four ranks holds, and what becomes of the labels.
CASES: dict[str, tuple[list[int], str]] = {
    "even": ([4, 4, 4, 4], "random"),
    "uneven": ([5, 1, 7, 3], "random"),
    "a rank of one class": ([5, 4, 3, 4], "first rank constant"),
    "a class on each rank": ([3, 4, 5, 2], "rank"),
    "an empty rank": ([6, 0, 5, 3], "random"),
    "ignored": ([5, 4, 3, 4], "ignored"),
    "a rank without labels": ([5, 4, 3, 4], "second rank ignored"),
    "one class": ([3, 2, 4, 1], "one class"),
    "no labels": ([3, 2, 4, 1], "none"),
}


def batch(case: str, world: int) -> tuple[list[Tensor], list[Tensor]]:
    """Unit embeddings and labels of each rank."""
    sizes, kind = CASES[case]
    sizes = sizes[:world]
    generator = torch.Generator().manual_seed(len(case))
    rows = F.normalize(torch.randn(sum(sizes), DIM, generator=generator, dtype=torch.float64), dim=1)
    labels = torch.randint(0, CLASSES, (sum(sizes),), generator=generator)
    ranks = torch.arange(world).repeat_interleave(torch.tensor(sizes))
    if kind == "first rank constant":
        labels[ranks == 0] = 3
    elif kind == "rank":
        labels = ranks
    elif kind == "ignored":
        labels[::3] = -100
    elif kind == "second rank ignored":
        labels[ranks == 1] = -1
    elif kind == "one class":
        labels[:] = 2
    elif kind == "none":
        labels[:] = -1
    return list(rows.split(sizes)), list(labels.split(sizes))


def logits_of(embeddings: Tensor) -> Tensor:
    return embeddings @ PROTOTYPES.T / TEMPERATURE


def accumulated(objective: Any) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """Every rank sees its batch in two parts."""

    def loss(embeddings: Tensor, labels: Tensor, group: Any) -> Tensor:
        whole = losses.AccumulatedLoss(objective, group=group)
        parts = list(zip(embeddings.tensor_split(2), labels.tensor_split(2), strict=True))
        for rows, own in parts:
            whole.observe(logits_of(rows), own)
        return torch.stack([whole.loss(logits_of(rows), own) for rows, own in parts]).sum()

    return loss


def columns_of_present_classes(embeddings: Tensor, labels: Tensor, group: Any) -> Tensor:
    classes, positions = losses.present_classes(labels, group=group)
    return losses.nonl(embeddings @ PROTOTYPES[classes].T / TEMPERATURE, positions, group=group)


Loss = Callable[[Tensor, Tensor, Any], Tensor]
GLOBAL: dict[str, Loss] = {
    "ntce": lambda a, y, group: losses.ntce(logits_of(a), y, group=group),
    "nonl": lambda a, y, group: losses.nonl(logits_of(a), y, group=group),
    "present classes": columns_of_present_classes,
    "scl": lambda a, y, group: losses.scl(a, y, temperature=TEMPERATURE, group=group),
    "scl zero": lambda a, y, group: losses.scl(a, y, temperature=TEMPERATURE, group=group, no_positive="zero"),
    "scl with prototypes": lambda a, y, group: losses.scl_with_prototypes(
        a, y, PROTOTYPES, temperature=TEMPERATURE, copies=2, group=group
    ),
}
# Values of these are shares of a rank: they sum, and are not the same on every rank.
SHARES: dict[str, Loss] = {"ntce in parts": accumulated("ntce"), "nonl in parts": accumulated("nonl")}
LOCAL: dict[str, Loss] = {
    "ntce": lambda a, y, group: losses.ntce(logits_of(a), y, group=group, negatives="local"),
    "nonl": lambda a, y, group: losses.nonl(logits_of(a), y, group=group, negatives="local"),
}


def value_and_gradient(loss: Loss, embeddings: Tensor, labels: Tensor, group: Any) -> tuple[Tensor, Tensor]:
    leaf = embeddings.clone().requires_grad_()
    value = loss(leaf, labels, group)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(DIM, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double()


def parameter_gradients(rank: int, world: int, group: Any) -> dict[str, list[Tensor]]:
    """Of a model under DistributedDataParallel: one step of NONL, and the same in micro-batches."""
    rows, labels = batch("uneven", world)
    whole, parts = (DistributedDataParallel(model(), process_group=group) for _ in range(2))
    losses.nonl(whole(rows[rank]), labels[rank], group=group).backward()
    micro = list(zip(rows[rank].tensor_split(3), labels[rank].tensor_split(3), strict=True))
    losses.accumulate(parts, micro, "nonl", group=group)
    return {name: [p.grad for p in m.parameters()] for name, m in (("whole", whole), ("parts", parts))}


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    # A rank that fails must not leave the others waiting for half an hour.
    patience = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=max(WORLDS), timeout=patience)
    results: dict[Any, Any] = {}
    for world in WORLDS:
        group = dist.new_group(list(range(world)))
        if rank >= world:
            continue
        for case in CASES:
            rows, labels = batch(case, world)
            for kind, table in (("global", GLOBAL), ("share", SHARES), ("local", LOCAL)):
                for name, loss in table.items():
                    key = (world, case, kind, name)
                    results[key] = value_and_gradient(loss, rows[rank], labels[rank], group)
        results[world, "ddp"] = parameter_gradients(rank, world, group)
    torch.save(results, folder / f"rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
