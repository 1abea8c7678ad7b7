"""Class means of unit features as prototypes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

Absent = Literal["error", "zero"]

_CHUNK = 65_536
# A mean of unit vectors shorter than this has no direction: rounding of float32 features is of that order.
_SMALLEST_NORM = 1e-6


def class_means(features: Tensor, labels: Tensor, num_classes: int, *, absent: Absent = "error") -> Tensor:
    r"""Unit means of the unit features of every class: the prototypes of a nearest-class-mean classifier.

    .. math:: w_c = \frac{m_c}{\|m_c\|}, \qquad m_c = \frac{1}{n_c} \sum_{i:\,y_i = c} \frac{z_i}{\|z_i\|}

    One pass, with sums in float64. Without the outer scaling, tight classes would be favoured.

    Args:
        features: (N, d), of any norm; a zero row stays zero.
        labels: (N,) class indices; negative ones are left out.
        num_classes: K.
        absent: what becomes of a class without a sample: "error", or "zero" for a row of zeros.

    Returns:
        (K, d) float32 on the features' device, unit rows.

    Raises:
        ValueError: shapes that do not fit, a label of K or above, features that are not finite, a class without a
            sample, or one whose features cancel.

    Source: the classifier FP (fixed prototypes) of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    _check(features, labels, num_classes)
    means = ClassMeans(num_classes, features.shape[1])
    for some_features, some_labels in zip(features.split(_CHUNK), labels.split(_CHUNK), strict=True):
        means.update(some_features, some_labels)
    return means.compute(absent=absent).to(features.device)


class ClassMeans:
    """:func:`class_means` of features that come in batches, in any order and on several ranks.

    Attributes:
        sums: (K, d) float64, sums of the unit features of each class.
        counts: (K,) int64, samples of each class.
    """

    def __init__(self, num_classes: int, dim: int, *, device: torch.device | str | None = None) -> None:
        self.sums = torch.zeros(num_classes, dim, dtype=torch.float64, device=device)
        self.counts = torch.zeros(num_classes, dtype=torch.int64, device=device)

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add (M, d) features and (M,) labels, of which negative ones are left out."""
        num_classes, dim = self.sums.shape
        if features.shape[1:] != (dim,):
            raise ValueError(f"features must be (M, {dim}), not {tuple(features.shape)}")
        device = self.sums.device
        sums, counts = class_sums(features.to(device), labels.to(device), num_classes)
        self.sums += sums
        self.counts += counts

    def merge(self, other: ClassMeans) -> None:
        """Add what another accumulator of the same shape has seen."""
        if other.sums.shape != self.sums.shape:
            raise ValueError(
                f"only means of one shape merge, not {tuple(self.sums.shape)} and {tuple(other.sums.shape)}"
            )
        self.sums += other.sums.to(self.sums.device)
        self.counts += other.counts.to(self.counts.device)

    def all_reduce(self, group: dist.ProcessGroup | None = None) -> None:
        """Add what all ranks have seen: once, after the last update. Without torch.distributed there is one rank."""
        sum_over_ranks(self.sums, self.counts, group=group)

    def compute(self, *, absent: Absent = "error") -> Tensor:
        """(K, d) float32 unit rows, as :func:`class_means` has them."""
        return _unit_rows(_means(self.sums, self.counts), self.counts > 0, absent)


def ema_class_means(
    batches: Iterable[tuple[Tensor, Tensor]], num_classes: int, *, momentum: float = 0.99, absent: Absent = "error"
) -> Tensor:
    r"""Unit rows of an exponential moving average of batch means, which depends on the order of the batches.

    For each class c in a batch, with :math:`b_c` the mean of its unit features there,
    :math:`m_c \leftarrow \alpha m_c + (1-\alpha) b_c`; the first batch of a class sets :math:`m_c = b_c`. Prefer
    :func:`class_means`, the papers' definition; this is what the code of "Neural Collapse by Design" computes.

    Args:
        batches: pairs of (M, d) features and (M,) labels, of which negative ones are left out.
        num_classes: K.
        momentum: alpha, in [0, 1).
        absent: as for :func:`class_means`.

    Returns:
        (K, d) float32 on the features' device, unit rows.

    Raises:
        ValueError: as :func:`class_means`, no batch, or a momentum out of its range.
    """
    check_momentum(momentum)
    means: Tensor | None = None
    for features, labels in batches:
        sums, counts = class_sums(features, labels, num_classes)
        if means is None:
            means, seen = torch.zeros_like(sums), torch.zeros_like(counts, dtype=torch.bool)
        present = counts > 0
        share = present * (1 - momentum * seen.double())
        means = means.lerp(_means(sums, counts), share[:, None])
        seen = seen | present
    if means is None:
        raise ValueError("class means need at least one batch")
    return _unit_rows(means, seen, absent)


def class_sums(
    features: Tensor, labels: Tensor, num_classes: int, *, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Per class, the sum (K, d) of the unit features, in ``dtype``, and the count (K,); negative labels left out."""
    _check(features, labels, num_classes)
    kept = labels >= 0
    labels = labels[kept].long()
    unit = F.normalize(features.detach()[kept].to(dtype), dim=1)
    sums = torch.zeros(num_classes, features.shape[1], dtype=dtype, device=features.device)
    return sums.index_add_(0, labels, unit), torch.bincount(labels, minlength=num_classes)


def sum_over_ranks(*tensors: Tensor, group: dist.ProcessGroup | None) -> None:
    """All-reduce in place; nothing to do where torch.distributed has not been initialised."""
    if dist.is_available() and dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor, group=group)


def check_momentum(momentum: float) -> None:
    """Refuse a momentum that never moves, or moves away."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), not be {momentum}")


def _check(features: Tensor, labels: Tensor, num_classes: int) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"features must be (N, d) and labels (N,), not {tuple(features.shape)} and {tuple(labels.shape)}"
        )
    if labels.is_floating_point():
        raise ValueError(f"labels must be class indices of an integer type, not {labels.dtype}")
    if len(labels) and int(labels.max()) >= num_classes:
        raise ValueError(f"labels must be below num_classes={num_classes}, not {int(labels.max())}")


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    return sums / counts.clamp_min(1)[:, None]


def _unit_rows(means: Tensor, seen: Tensor, absent: Absent) -> Tensor:
    if absent not in get_args(Absent):
        raise ValueError(f"absent must be one of {', '.join(get_args(Absent))}, not {absent!r}")
    if absent == "error" and not bool(seen.all()):
        raise ValueError(f'classes {_indices(~seen)} have no sample: add some, or pass absent="zero"')
    norms = means.norm(dim=1)
    if not bool(norms.isfinite().all()):
        raise ValueError(f"features of classes {_indices(~norms.isfinite())} are not finite")
    cancelled = seen & (norms < _SMALLEST_NORM)
    if bool(cancelled.any()):
        raise ValueError(f"features of classes {_indices(cancelled)} cancel: a mean of zero norm has no direction")
    rows: Tensor = means / norms.clamp_min(_SMALLEST_NORM)[:, None]
    return rows.float()


def _indices(mask: Tensor) -> list[int]:
    return [int(index) for index in mask.nonzero()[:, 0]]
