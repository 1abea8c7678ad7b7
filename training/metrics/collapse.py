"""The collapse metrics, from counts, means and spectra of the classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from training.metrics.geometry import cdnv, etf_cosine_error, gram_distance
from training.metrics.spectra import (
    SQUARED_ROUNDING,
    Convention,
    check_convention,
    covariance_spectrum,
    effective_ranks,
    entropy_difference_ratio,
    mutual_information_ratio,
    ratio,
)


@dataclass(frozen=True)
class NeuralCollapse:
    r"""Collapse metrics of one set of embeddings; in brackets the value at exact collapse.

    Attributes:
        intra_erank: mean over classes of the effective rank of the class's covariance [0]; scale-free, so read it
            beside ``trace_ratio`` or ``cdnv``. None where it was not measured.
        inter_erank: effective rank of the covariance of the class means [K - 1].
        weight_erank: effective rank of the covariance of the prototypes [K - 1].
        weight_alignment: mean over classes of :math:`\|\hat w_c - \hat\mu_c\|^2` [0].
        weight_instance_alignment: mean over samples of :math:`\|\hat w_{y_i} - z_i\|^2` [0], z the rows as they are.
        instance_alignment: mean of :math:`\|z_i - z_j\|^2` over all pairs of one class [0].
        mir: matrix mutual information ratio of the Gram matrices of prototypes and centred means
            [1/(K-1) + (K-2) log(K-2) / ((K-1) log(K-1)), which is 0.952 at K = 10; not 1].
        hdr: matrix entropy difference ratio of the same [0].
        trace_ratio: tr(S_W) / tr(S_B), within-class over between-class scatter [0].
        cdnv: class-distance normalised variance, mean over pairs of classes [0].
        etf_cosine_error: largest deviation of a cosine between two class means from -1/(K-1) [0].
        etf_gram_distance: distance of the class means' Gram matrix from a simplex's, both of Frobenius norm 1 [0].

    Source: Table 3 and section 5 of "Neural Collapse by Design" (arXiv 2605.20302); effective rank: Roy & Vetterli
    2007; MIR and HDR: Song et al. 2024, with the plain and not the normalised global mean; CDNV: Galanti et al. 2021;
    Gram distance: arXiv 2310.00893.
    """

    intra_erank: float | None
    inter_erank: float
    weight_erank: float
    weight_alignment: float
    weight_instance_alignment: float
    instance_alignment: float
    mir: float
    hdr: float
    trace_ratio: float
    cdnv: float
    etf_cosine_error: float
    etf_gram_distance: float


def collapse_optimum(num_classes: int) -> NeuralCollapse:
    """What each metric is at exact neural collapse of K >= 2 classes, by the corrected convention.

    Source: Song et al. 2024 for MIR, whose value at a simplex is below 1.
    """
    k = num_classes
    mir = 1 / (k - 1) + (k - 2) * math.log(k - 2) / ((k - 1) * math.log(k - 1)) if k > 2 else 0.0
    return NeuralCollapse(
        intra_erank=0.0,
        inter_erank=k - 1.0,
        weight_erank=k - 1.0,
        weight_alignment=0.0,
        weight_instance_alignment=0.0,
        instance_alignment=0.0,
        mir=mir,
        hdr=0.0,
        trace_ratio=0.0,
        cdnv=0.0,
        etf_cosine_error=0.0,
        etf_gram_distance=0.0,
    )


@dataclass(frozen=True)
class ClassStatistics:
    r"""All that the metrics need to know of a set of features z with K classes, in float64.

    Attributes:
        counts: (K,) number :math:`n_c` of samples.
        means: (K, d) mean :math:`\mu_c`; of a class without a sample, anything.
        within: (K,) :math:`\sum_{i \in c} \|z_i - \mu_c\|^2`.
        spectra: (K, d) eigenvalues of the covariance of each class, divided by :math:`n_c`; None: not measured.
    """

    counts: Tensor
    means: Tensor
    within: Tensor
    spectra: Tensor | None


def collapse_metrics(
    statistics: ClassStatistics, prototypes: Tensor, *, convention: Convention = "corrected"
) -> NeuralCollapse:
    """The metrics of features that are known by their statistics; see :func:`training.metrics.neural_collapse`."""
    check_convention(convention)
    if prototypes.shape != statistics.means.shape:
        raise ValueError(
            f"prototypes must be (K, d) = {tuple(statistics.means.shape)} as the features are, not "
            f"{tuple(prototypes.shape)}"
        )
    present = statistics.counts > 0
    if int(present.sum()) < 2:
        raise ValueError(f"collapse is a relation between classes: 2 are needed, {int(present.sum())} are present")
    counts, means, within = statistics.counts[present], statistics.means[present], statistics.within[present]
    weights = F.normalize(prototypes.detach().to(means), dim=1)[present]
    total = counts.sum()
    global_mean = counts @ means / total
    scale = (within.sum() + counts @ means.square().sum(1)) / total
    between = counts @ (means - global_mean).square().sum(1)
    grams = _gram(weights), _gram(_centred_directions(means, global_mean, convention))
    return NeuralCollapse(
        intra_erank=_intra_erank(statistics, scale, convention),
        inter_erank=float(effective_ranks(_spectrum(means), scale=scale, convention=convention)),
        weight_erank=float(effective_ranks(_spectrum(weights), convention=convention)),
        weight_alignment=float((weights - F.normalize(means, dim=1)).square().sum(1).mean()),
        # Steiner's theorem: the squared distances to w sum to those to the mean and n times that of w and the mean.
        weight_instance_alignment=float((within + counts * (means - weights).square().sum(1)).sum() / total),
        # The squared distances of all ordered pairs of a class sum to 2 n times its scatter.
        instance_alignment=float(ratio(2 * counts @ within, counts @ (counts - 1))),
        mir=float(mutual_information_ratio(*grams, convention=convention)),
        hdr=float(entropy_difference_ratio(*grams, convention=convention)),
        trace_ratio=float(ratio(within.sum(), between, zero=SQUARED_ROUNDING * scale * total)),
        cdnv=cdnv(means, within / counts),
        etf_cosine_error=etf_cosine_error(means),
        etf_gram_distance=gram_distance(means),
    )


def _gram(unit_rows: Tensor) -> Tensor:
    return unit_rows @ unit_rows.T


def _spectrum(rows: Tensor) -> Tensor:
    return covariance_spectrum(rows - rows.mean(0))


def _centred_directions(means: Tensor, global_mean: Tensor, convention: Convention) -> Tensor:
    """unit(mu_c - mu_G), mu_G the mean of the means; the reference: unit(unit(mu_c) - unit(mean of the samples))."""
    if convention == "reference":
        return F.normalize(F.normalize(means, dim=1) - F.normalize(global_mean, dim=0), dim=1)
    return F.normalize(means - means.mean(0), dim=1)


def _intra_erank(statistics: ClassStatistics, scale: Tensor, convention: Convention) -> float | None:
    """Mean over the classes of at least two samples; 0 without any."""
    if statistics.spectra is None:
        return None
    spectra = statistics.spectra[statistics.counts > 1]
    return float(effective_ranks(spectra, scale=scale, convention=convention).mean()) if len(spectra) else 0.0
