"""The column form of NTCE and NONL: what each class's denominator is made of."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Objective = Literal["ntce", "nonl"]


def check_objective(objective: str) -> None:
    """Raise ValueError unless ``objective`` has column denominators."""
    if objective not in ("ntce", "nonl"):
        raise ValueError(
            f'objective must be "ntce" or "nonl", not {objective!r}: the others have no column denominators'
        )


def left_out(objective: Objective, logits: Tensor, labels: Tensor) -> Tensor:
    """(M, K) bool, what a column's denominator leaves out.

    That is every sample without a label, and for NONL each sample in the column of its own class.
    """
    unlabelled = labels.lt(0)[:, None].expand_as(logits)
    if objective == "ntce":
        return unlabelled
    return unlabelled.scatter(1, labels.clamp_min(0)[:, None], True)


def denominators(objective: Objective, logits: Tensor, labels: Tensor) -> Tensor:
    """(K,) column-wise log-sum-exp over the samples in each class's denominator; -inf where there is none."""
    return logits.masked_fill(left_out(objective, logits, labels), -torch.inf).logsumexp(0)


def class_counts(labels: Tensor, logits: Tensor) -> Tensor:
    """(K,) number of samples of each class, in the type of the logits."""
    counts = logits.new_zeros(logits.shape[1])
    return counts.scatter_add_(0, labels.clamp_min(0), labels.ge(0).to(logits))


def own_logits(logits: Tensor, labels: Tensor, usable: Tensor) -> Tensor:
    """(M,) logit of each sample for its own class; 0 for samples without a label or whose class is not ``usable``."""
    own = labels.clamp_min(0)
    return logits.gather(1, own[:, None])[:, 0].where(labels.ge(0) & usable[own], 0)
