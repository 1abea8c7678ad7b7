"""The column form of NTCE and NONL: what each class's denominator is made of."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Objective = Literal["ntce", "nonl"]


def check_objective(objective: str) -> None:
    """Raise ValueError unless ``objective`` has column denominators."""
    if objective not in ("ntce", "nonl"):
        raise ValueError(
            f'objective must be "ntce" or "nonl", not {objective!r}: the others have no column denominators'
        )


class _Columns(torch.autograd.Function):
    # By itself autograd would hold the masked copy, its exponentials and two M x K gradients; here it is one of each.
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        own = labels.clamp_min(0)[:, None]
        scores = logits.clone()
        if objective == "nonl":
            scores.scatter_(1, own, -torch.inf)
        if bool((labels < 0).any()):
            scores.masked_fill_(labels.lt(0)[:, None], -torch.inf)
        largest = scores.amax(0) if len(scores) else scores.new_full(scores.shape[1:], -torch.inf)
        # In a column without a sample, -inf - (-inf) would be NaN.
        shift = largest.where(~largest.isneginf(), 0)
        shares = scores.sub_(shift).exp_()
        sums = shares.sum(0)
        ctx.save_for_backward(shares, sums, own)
        return sums.log() + shift, logits.gather(1, own)[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sums: Tensor, of_own: Tensor) -> tuple[Tensor, None, None]:
        shares, sums, own = ctx.saved_tensors
        gradient = shares * (of_sums / sums).where(sums != 0, 0)
        return gradient.scatter_add_(1, own, of_own[:, None]), None, None


def columns(objective: Objective, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What a loss needs of the logits.

    Args:
        objective: "ntce" or "nonl".
        logits: (M, K), at least float32.
        labels: (M,) int64; negative ones are left out of the denominators.

    Returns:
        (K,) log-sum-exp of each class's column over the samples in its denominator, -inf where there is none; and (M,)
        logit of each sample for its own class, for a negative label that of class 0. Differentiable once.
    """
    log_sums, own = _Columns.apply(logits, labels, objective)
    return log_sums, own


def class_counts(labels: Tensor, logits: Tensor) -> Tensor:
    """(K,) number of samples of each class, in the type of the logits."""
    counts = logits.new_zeros(logits.shape[1])
    return counts.scatter_add_(0, labels.clamp_min(0), labels.ge(0).to(logits))


def counted(own: Tensor, labels: Tensor, usable: Tensor) -> Tensor:
    """(M,) the own logits, 0 for samples without a label and for those whose class is not ``usable`` (K,)."""
    return own.where(labels.ge(0) & usable[labels.clamp_min(0)], 0)
