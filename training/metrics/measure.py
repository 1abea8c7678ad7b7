"""Two ways to the class statistics: from one set of features, and from a stream of batches over any number of ranks."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, distributed

from training.metrics.collapse import ClassStatistics, NeuralCollapse, collapse_metrics
from training.metrics.spectra import Convention, covariance_spectrum

IntraPolicy = Literal["per_class", "none"]


def neural_collapse(
    features: Tensor, labels: Tensor, prototypes: Tensor, *, convention: Convention = "corrected"
) -> NeuralCollapse:
    """Measure the collapse of one set of features.

    Args:
        features: (N, d); embeddings of unit norm where the metrics are to be compared with the paper's.
        labels: (N,) int64 in [0, K).
        prototypes: (K, d), of any norm: only directions count.
        convention: ``"corrected"``, the definitions that hold at the collapse itself; ``"reference"``, the numbers of
            the released code of "Neural Collapse by Design", for comparison with its tables: 1e-7 is added to every
            share of a spectrum, eigenvalues of Gram matrices are at least 1e-10, and MIR and HDR centre the normalised
            means at the normalised mean of all samples, so that they miss their optimum at exact collapse. The other
            metrics are the same.

    Returns:
        The metrics, in float64. Classes without a sample are left out; ``intra_erank`` and ``instance_alignment`` take
        classes of at least two.

    Raises:
        ValueError: shapes that do not fit, a label out of range, fewer than two classes present, or a convention of
            another name.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or prototypes.shape[1:] != features.shape[1:]:
        raise ValueError(
            "features must be (N, d), labels (N,) and prototypes (K, d), not "
            f"{tuple(features.shape)}, {tuple(labels.shape)} and {tuple(prototypes.shape)}"
        )
    accumulator = NeuralCollapseAccumulator(*prototypes.shape, intra="none", device=features.device)
    accumulator.update(features, labels)
    statistics = accumulator.statistics()
    spectra = torch.zeros_like(statistics.means)
    for label, rows in _by_class(features.detach().double(), labels):
        spectra[label] = covariance_spectrum(rows - statistics.means[label])
    return collapse_metrics(replace(statistics, spectra=spectra), prototypes, convention=convention)


class NeuralCollapseAccumulator:
    r"""Collapse metrics of a stream of batches, without keeping the features.

    It keeps for each class the count, the mean and the scatter about the mean, in float64. When a mean moves by
    :math:`\delta`, the scatter of its n samples grows by :math:`n \delta\delta^\top` (Steiner's theorem); nothing is
    ever subtracted, so that the scatter of a collapsed class is 0 up to rounding, however far from the origin it lies.

    Args:
        num_classes: K.
        dim: d.
        intra: ``"per_class"`` keeps a (d, d) scatter matrix a class, 8 K d^2 bytes, which ``intra_erank`` needs;
            ``"none"`` keeps its trace alone, 8 K (d + 2) bytes in all, and ``intra_erank`` is None. The other metrics
            are exact either way.
        device: where the statistics live; for NCCL that of the rank.
        max_bytes: the most that the scatter matrices may take.

    Raises:
        ValueError: scatter matrices over ``max_bytes``, or a policy of another name.

    Example:
        >>> import torch
        >>> accumulator = NeuralCollapseAccumulator(num_classes=2, dim=2)
        >>> for _ in range(3):
        ...     accumulator.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 1]))
        >>> accumulator.compute(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).trace_ratio
        0.0
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        intra: IntraPolicy = "per_class",
        device: torch.device | str = "cpu",
        max_bytes: int = 4 * 2**30,
    ) -> None:
        if intra not in get_args(IntraPolicy):
            raise ValueError(f"intra must be one of {', '.join(get_args(IntraPolicy))}, not {intra!r}")
        needed = 8 * num_classes * dim**2
        if intra == "per_class" and needed > max_bytes:
            raise ValueError(
                f"the scatter matrices of {num_classes} classes in {dim} dimensions take {needed / 2**30:.1f} GiB, "
                'more than max_bytes: raise it, or give up intra_erank (intra="none")'
            )
        self.intra = intra
        self.counts = torch.zeros(num_classes, dtype=torch.float64, device=device)
        self.means = torch.zeros(num_classes, dim, dtype=torch.float64, device=device)
        self.within = torch.zeros_like(self.counts)
        self.scatter = self.means.new_zeros(num_classes, dim, dim) if intra == "per_class" else None

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            features: (N, d).
            labels: (N,) int64 in [0, K).

        Raises:
            ValueError: shapes that do not fit, or a label out of range.
        """
        num_classes, dim = self.means.shape
        if features.ndim != 2 or features.shape[1] != dim or labels.shape != features.shape[:1]:
            raise ValueError(
                f"features must be (N, {dim}) and labels (N,), not {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise ValueError(f"labels must lie in [0, {num_classes}); drop the samples that have none")
        rows, labels = features.detach().to(self.means), labels.to(self.means.device)
        counts = self.counts + torch.bincount(labels, minlength=num_classes)
        sums = torch.zeros_like(self.means).index_add_(0, labels, rows - self.means[labels])
        self._move(self.means + sums / _column(counts))
        self._add(rows - self.means[labels], labels)
        self.counts = counts

    def merge(self, other: NeuralCollapseAccumulator) -> None:
        """Add all that ``other`` has seen; ``other`` stays as it is.

        Raises:
            ValueError: another number of classes or dimensions, or another policy ``intra``.
        """
        if self.means.shape != other.means.shape or self.intra != other.intra:
            raise ValueError(
                "accumulators that merge must have the same num_classes, dim and intra, not "
                f"{(*self.means.shape, self.intra)} and {(*other.means.shape, other.intra)}"
            )
        counts = self.counts + other.counts
        self._move((self.counts[:, None] * self.means + other.counts[:, None] * other.means) / _column(counts))
        self.within = self.within + other.within
        if self.scatter is not None and other.scatter is not None:
            self.scatter += other.scatter
        self._add(*other._shift(self.means))
        self.counts = counts

    def all_reduce(self, group: distributed.ProcessGroup | None = None) -> None:
        """Make this the accumulator of all ranks' samples, on every rank; to be called once, by all, after the updates.

        Every rank must have the same ``num_classes``, ``dim`` and ``intra``; it may have seen nothing. Without
        initialised torch.distributed there is one rank, and nothing to do.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        counts, sums = self.counts.clone(), self.counts[:, None] * self.means
        distributed.all_reduce(counts, group=group)
        distributed.all_reduce(sums, group=group)
        self._move(sums / _column(counts))
        distributed.all_reduce(self.within, group=group)
        if self.scatter is not None:
            distributed.all_reduce(self.scatter, group=group)
        self.counts = counts

    def statistics(self) -> ClassStatistics:
        """The statistics of all samples so far."""
        spectra = None
        if self.scatter is not None:
            # One matrix at a time: the workspace of a batched call is as large as all of them.
            eigenvalues = torch.stack([torch.linalg.eigvalsh(matrix) for matrix in self.scatter])
            spectra = eigenvalues / _column(self.counts)
        return ClassStatistics(self.counts, self.means, self.within, spectra)

    def compute(self, prototypes: Tensor, *, convention: Convention = "corrected") -> NeuralCollapse:
        """The metrics of all samples so far; arguments, result and errors as of :func:`neural_collapse`."""
        return collapse_metrics(self.statistics(), prototypes, convention=convention)

    def _shift(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """A row for each class whose mean differs, whose outer product is what its scatter about ``means`` has more."""
        rows = self.counts.sqrt()[:, None] * (self.means - means)
        labels = rows.any(1).nonzero().squeeze(1)
        return rows[labels], labels

    def _move(self, means: Tensor) -> None:
        self._add(*self._shift(means))
        self.means = means

    def _add(self, rows: Tensor, labels: Tensor) -> None:
        """Add the outer products of rows (n, d), deviations from the means of their classes, to the scatters."""
        self.within = self.within.index_add(0, labels, rows.square().sum(1))
        if self.scatter is not None:
            for label, members in _by_class(rows, labels):
                self.scatter[label].addmm_(members.T, members)


def _column(counts: Tensor) -> Tensor:
    return counts.clamp_min(1)[:, None]


def _by_class(rows: Tensor, labels: Tensor) -> list[tuple[int, Tensor]]:
    """The rows of each class that is present, with its label."""
    present, counts = labels.unique(return_counts=True)
    members = rows[labels.argsort(stable=True)].split(counts.tolist())
    return list(zip(present.tolist(), members, strict=True))
