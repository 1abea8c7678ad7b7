"""What every objective does to its arguments before it computes."""

from __future__ import annotations

import torch
from torch import Tensor


def in_float32(values: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def checked(scores: Tensor, labels: Tensor, *, what: str = "logits", columns: str = "K") -> tuple[Tensor, Tensor]:
    """``scores`` (M, columns) in at least float32 and ``labels`` (M,) as int64.

    Raises:
        ValueError: shapes that do not fit each other, or labels that are no integers.
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"{what} must be (M, {columns}) and labels (M,), not {tuple(scores.shape)} and {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be class indices of an integer type, not {labels.dtype}")
    return in_float32(scores), labels.long()


def valid(scores: Tensor, labels: Tensor, *, what: str, columns: str) -> tuple[Tensor, Tensor]:
    """:func:`checked`, and the samples with a negative label dropped."""
    scores, labels = checked(scores, labels, what=what, columns=columns)
    kept = labels >= 0
    # Indexing copies, and its backward pass costs more than the loss: most batches have nothing to drop.
    return (scores, labels) if bool(kept.all()) else (scores[kept], labels[kept])


def check_temperature(temperature: float) -> None:
    """Raise ValueError where cosines cannot be divided by it."""
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, not {temperature}")
