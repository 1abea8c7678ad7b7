"""What the objectives exchange between the ranks of a process group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Group = dist.ProcessGroup


def world_size(group: Group | None) -> int:
    """Ranks in ``group``; one without a group."""
    return 1 if group is None else dist.get_world_size(group)


def sum_over_ranks(values: Tensor, group: Group | None) -> Tensor:
    """The sum of a tensor over the ranks, without a gradient."""
    values = values.detach().clone()
    if group is not None:
        dist.all_reduce(values, dist.ReduceOp.SUM, group)
    return values


class _LogSumExpOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, group: Group) -> Tensor:
        largest = local.detach().clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group)
        # Where no rank has anything, -inf - (-inf) would be NaN.
        shift = largest.where(~largest.isneginf(), 0)
        sums = (local - shift).exp()
        dist.all_reduce(sums, dist.ReduceOp.SUM, group)
        total = sums.log() + shift
        ctx.save_for_backward(local, total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        local, total = ctx.saved_tensors
        share = (local - total.where(~total.isneginf(), 0)).exp()
        return gradient * share, None


def logsumexp_over_ranks(local: Tensor, group: Group | None) -> Tensor:
    """Log of the sum over the ranks of exp(local), elementwise, without overflow; -inf where every rank has -inf.

    Its gradient reaches the own rank's ``local`` only, so that the backward pass needs no exchange.
    """
    if group is None:
        return local
    result: Tensor = _LogSumExpOverRanks.apply(local, group)
    return result


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], group: Group) -> Tensor:
        ctx.counts, ctx.group = counts, group
        # Collectives want the same shape on every rank.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        summed = gradient.contiguous().clone()
        dist.all_reduce(summed, dist.ReduceOp.SUM, ctx.group)
        return summed.split(ctx.counts)[dist.get_rank(ctx.group)], None, None


def gather(tensors: Sequence[Tensor], group: Group) -> tuple[list[Tensor], int]:
    """The rows of all ranks, in their order, and where the own ones start; the ranks may hold different numbers.

    Its backward pass sums over the ranks, so that a row's gradient holds what every rank's loss asks of it.

    Args:
        tensors: of equal length on one rank, such as embeddings and their labels.
        group: the ranks.
    """
    rank = dist.get_rank(group)
    sizes = torch.zeros(dist.get_world_size(group), dtype=torch.int64, device=tensors[0].device)
    sizes[rank] = len(tensors[0])
    dist.all_reduce(sizes, dist.ReduceOp.SUM, group)
    counts = sizes.tolist()
    return [_Gather.apply(rows, counts, group) for rows in tensors], sum(counts[:rank])


def global_mean(local_sum: Tensor, count: Tensor, group: Group | None, *, share: Tensor | None = None) -> Tensor:
    """Mean over the samples of all ranks, as a loss whose gradient is right after DDP's averaging.

    Args:
        local_sum: the own samples' terms, summed; a scalar.
        count: number of the own samples, a scalar.
        group: the ranks.
        share: what to differentiate in place of ``local_sum``: all that the own logits add to the sum over all ranks,
            where other ranks' terms depend on them too.

    Returns:
        The global mean, on every rank the same; its gradient is that of the share times the number of ranks, by which
        DistributedDataParallel divides. 0 where no rank has a sample.
    """
    if group is None:
        return local_sum / count.clamp_min(1)
    total, samples = sum_over_ranks(torch.stack([local_sum.detach(), count.to(local_sum)]), group)
    own = (local_sum if share is None else share) / samples.clamp_min(1)
    mean: Tensor = total / samples.clamp_min(1) + world_size(group) * (own - own.detach())
    return mean
