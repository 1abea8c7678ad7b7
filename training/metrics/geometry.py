"""How far class means are from a geometry: that of a simplex, or that of given prototypes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.metrics.spectra import SQUARED_ROUNDING, ratio


def cdnv(class_means: Tensor, variances: Tensor) -> float:
    r"""Class-distance normalised variance, the mean over the pairs of classes; at exact collapse 0.

    .. math:: \frac{2}{K(K-1)} \sum_{i<j} \frac{V_i + V_j}{2 \|\mu_i - \mu_j\|^2},
        \quad V_c = \frac{1}{n_c} \sum_{i \in c} \|z_i - \mu_c\|^2

    Args:
        class_means: (K, d), K >= 2.
        variances: (K,).

    Returns:
        A number >= 0; infinite where two classes that vary have one mean.

    Raises:
        ValueError: shapes that do not fit.

    Source: Galanti et al. 2021.
    """
    if class_means.ndim != 2 or variances.shape != class_means.shape[:1] or len(class_means) < 2:
        raise ValueError(
            "class_means must be (K, d) and variances (K,) with K >= 2, not "
            f"{tuple(class_means.shape)} and {tuple(variances.shape)}"
        )
    distances = torch.pdist(class_means).square()
    sums = torch.combinations(variances).sum(1)
    zero = SQUARED_ROUNDING * (class_means.square().sum(1) + variances).mean()
    return float((ratio(sums, distances, zero=zero) / 2).mean())


def etf_cosine_error(class_means: Tensor) -> float:
    r"""Largest deviation of a cosine between two class means (K, d), not centred, from the simplex's.

    .. math:: \max_{i \ne j} |\cos(\mu_i, \mu_j) + 1/(K-1)|

    At exact collapse 0. It tells a simplex from an orthogonal frame, where it is 1/(K-1): their effective ranks are the
    same.

    Raises:
        ValueError: ``class_means`` of another shape, or of fewer than two classes.
    """
    _check_means(class_means)
    unit = F.normalize(class_means, dim=1)
    deviations = (unit @ unit.T + 1 / (len(unit) - 1)).abs()
    return float(deviations.fill_diagonal_(0).max())


def gram_distance(class_means: Tensor, target: Tensor | None = None) -> float:
    r"""Distance of the Gram matrix of the class means from that of a target geometry, both of Frobenius norm 1.

    .. math:: \Delta_{G^*} = \Big\| \frac{G_M}{\|G_M\|_F} - \frac{G^*}{\|G^*\|_F} \Big\|_F,
        \quad G_M = M M^\top

    Args:
        class_means: (K, d) rows of M, K >= 2, neither centred nor scaled to unit norm.
        target: (K, d') prototypes whose Gram matrix is :math:`G^*`; by default a simplex with K vertices.

    Returns:
        A number in [0, sqrt 2]; at exact collapse 0, with the simplex or the prototypes as target. 1 where all means
        are zero.

    Raises:
        ValueError: ``class_means`` and ``target`` without one row a class each.

    Source: section 4 of "Engineering the Neural Collapse Geometry of Supervised-Contrastive Loss" (arXiv 2310.00893).
    """
    _check_means(class_means)
    if target is None:
        identity = torch.eye(len(class_means), dtype=class_means.dtype, device=class_means.device)
        target = identity - 1 / len(class_means)
    if target.ndim != 2 or len(target) != len(class_means):
        raise ValueError(
            f"target must have one row for each of the {len(class_means)} class means, not the shape "
            f"{tuple(target.shape)}"
        )
    return float(torch.linalg.norm(_unit_gram(class_means) - _unit_gram(target)))


def _check_means(class_means: Tensor) -> None:
    if class_means.ndim != 2 or len(class_means) < 2:
        raise ValueError(f"class_means must be (K, d) with K >= 2, not {tuple(class_means.shape)}")


def _unit_gram(rows: Tensor) -> Tensor:
    return F.normalize((rows @ rows.T).flatten(), dim=0, eps=torch.finfo(rows.dtype).tiny)
