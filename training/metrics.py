r"""How far embeddings and prototypes have collapsed, by definitions that hold at the collapse itself.

At exact neural collapse with K classes: every class is one point, the class means are a simplex, and the prototypes
are the means. :class:`NeuralCollapse` says next to each figure what it then is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_RELATIVE_ZERO = 1e-12


@dataclass(frozen=True)
class NeuralCollapse:
    r"""Collapse metrics of one set of embeddings; in brackets the value at exact collapse.

    Attributes:
        intra_erank: mean over classes of the effective rank of the class's covariance [0]; scale-free, so read it
            beside ``trace_ratio``.
        inter_erank: effective rank of the covariance of the class means [K - 1].
        weight_erank: effective rank of the covariance of the prototypes [K - 1].
        weight_alignment: mean over classes of :math:`\|\hat w_c - \hat\mu_c\|^2` [0].
        instance_alignment: mean of :math:`\|u_i - u_j\|^2` over all pairs of one class [0].
        mir: matrix mutual information ratio of the Gram matrices of prototypes and centred means
            [1/(K-1) + (K-2) log(K-2) / ((K-1) log(K-1)), which is 0.952 at K = 10; not 1].
        hdr: matrix entropy difference ratio of the same [0].
        trace_ratio: tr(S_W) / tr(S_B), within-class over between-class scatter [0].
        etf_cosine_error: largest deviation of a cosine between two class means from -1/(K-1) [0].

    Source: Table 3 and section 5 of "Neural Collapse by Design" (arXiv 2605.20302); effective rank: Roy & Vetterli
    2007; MIR and HDR: Song et al. 2024, with the plain and not the normalised global mean.
    """

    intra_erank: float
    inter_erank: float
    weight_erank: float
    weight_alignment: float
    instance_alignment: float
    mir: float
    hdr: float
    trace_ratio: float
    etf_cosine_error: float


def collapse_optimum(num_classes: int) -> NeuralCollapse:
    """What each metric is at exact neural collapse of K >= 3 classes.

    Source: Song et al. 2024 for MIR, whose value at a simplex is below 1.
    """
    k = num_classes
    mir = 1 / (k - 1) + (k - 2) * math.log(k - 2) / ((k - 1) * math.log(k - 1)) if k > 2 else 0.0
    return NeuralCollapse(
        intra_erank=0.0,
        inter_erank=k - 1.0,
        weight_erank=k - 1.0,
        weight_alignment=0.0,
        instance_alignment=0.0,
        mir=mir,
        hdr=0.0,
        trace_ratio=0.0,
        etf_cosine_error=0.0,
    )


def _entropy(spectrum: Tensor) -> float:
    """Shannon entropy (nats) of non-negative numbers scaled to sum 1."""
    spectrum = spectrum.clamp_min(0)
    # What rounding leaves of a zero eigenvalue would make the ratios of two vanishing entropies (K = 2) arbitrary.
    spectrum = spectrum.where(spectrum > _RELATIVE_ZERO * spectrum.sum(), 0)
    return float(torch.special.entr(spectrum / spectrum.sum()).sum())


def effective_rank(covariance: Tensor, *, scale: float = 1.0) -> float:
    """exp(entropy of the spectrum) of a covariance (d, d); 0 where its trace is nothing beside ``scale``.

    Source: Roy & Vetterli 2007.
    """
    spectrum = torch.linalg.eigvalsh(covariance)
    if float(spectrum.sum()) <= _RELATIVE_ZERO * scale:
        return 0.0
    return math.exp(_entropy(spectrum))


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.T @ centred / len(rows)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


def neural_collapse(features: Tensor, labels: Tensor, prototypes: Tensor) -> NeuralCollapse:
    """Measure the collapse of one set of features.

    Args:
        features: (N, d); embeddings of unit norm where the metrics are to be compared with the paper's.
        labels: (N,) int64 in [0, K).
        prototypes: (K, d), of any norm: only directions count.

    Returns:
        The metrics, in float64. Classes without a sample are left out; ``intra_erank`` and ``instance_alignment`` take
        classes of at least two.

    Raises:
        ValueError: shapes that do not fit, a label out of range, or fewer than two classes present.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or prototypes.shape[1:] != features.shape[1:]:
        raise ValueError(
            "features must be (N, d), labels (N,) and prototypes (K, d), not "
            f"{tuple(features.shape)}, {tuple(labels.shape)} and {tuple(prototypes.shape)}"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(prototypes):
        raise ValueError(f"labels must lie in [0, {len(prototypes)}); drop the samples that have none")
    present = labels.unique()
    if len(present) < 2:
        raise ValueError(f"collapse is a relation between classes: 2 are needed, {len(present)} are present")
    features = features.detach().double()
    weights = _unit(prototypes.detach().double())[present]
    groups = [features[labels == label] for label in present]
    means = torch.stack([group.mean(0) for group in groups])
    centred = means - means.mean(0)

    within = torch.stack([((group - mean) ** 2).sum() for group, mean in zip(groups, means, strict=True)])
    counts = torch.tensor([len(group) for group in groups], dtype=torch.float64, device=features.device)
    total_mean = features.mean(0)
    between = (counts * ((means - total_mean) ** 2).sum(1)).sum()
    pairs = counts * (counts - 1)
    scale = float((features**2).sum(1).mean())

    gram_weights, gram_means = _gram(weights), _gram(_unit(centred))
    entropy_weights, entropy_means = _matrix_entropy(gram_weights), _matrix_entropy(gram_means)
    mutual = entropy_weights + entropy_means - _matrix_entropy(gram_weights * gram_means)
    cosines = _unit(means) @ _unit(means).T
    off_diagonal = ~torch.eye(len(present), dtype=torch.bool, device=features.device)
    return NeuralCollapse(
        intra_erank=_mean([effective_rank(_covariance(group), scale=scale) for group in groups if len(group) > 1]),
        inter_erank=effective_rank(_covariance(means), scale=scale),
        weight_erank=effective_rank(_covariance(weights)),
        weight_alignment=float(((weights - _unit(means)) ** 2).sum(1).mean()),
        # The squared distances of all ordered pairs of a class sum to 2 n times its scatter.
        instance_alignment=_ratio(float((2 * counts * within).sum()), float(pairs.sum())),
        mir=_ratio(mutual if abs(mutual) > _RELATIVE_ZERO else 0.0, min(entropy_weights, entropy_means)),
        hdr=_ratio(abs(entropy_weights - entropy_means), max(entropy_weights, entropy_means)),
        trace_ratio=_ratio(float(within.sum()), float(between)),
        etf_cosine_error=float((cosines + 1 / (len(present) - 1))[off_diagonal].abs().max()),
    )


def _gram(unit_rows: Tensor) -> Tensor:
    return unit_rows @ unit_rows.T


def _matrix_entropy(gram: Tensor) -> float:
    return _entropy(torch.linalg.eigvalsh(gram))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _ratio(numerator: float, denominator: float) -> float:
    """0/0 is 0: both sides of these ratios vanish together where nothing varies."""
    if denominator:
        return numerator / denominator
    return 0.0 if numerator == 0 else math.inf
