"""How a set of prototypes stands, and how far from the best that is possible."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class CosineBound(NamedTuple):
    """A number that the largest pairwise cosine cannot be below, and whose theorem says so."""

    value: float
    source: str


@dataclass(frozen=True)
class Description:
    r"""Pairwise cosines of K prototypes in d dimensions.

    Attributes:
        num_classes: K.
        dim: d.
        max_cosine: largest cosine of two prototypes.
        mean_cosine: mean over all pairs; at least -1/(K-1), which it is where the prototypes sum to zero.
        min_cosine: smallest cosine.
        smallest_angle: between two prototypes, in degrees.
        simplex_distance: largest deviation of a cosine from the simplex's -1/(K-1); 0 at the simplex.
        bound: what ``max_cosine`` cannot be below for K and d (:func:`max_cosine_bound`).
    """

    num_classes: int
    dim: int
    max_cosine: float
    mean_cosine: float
    min_cosine: float
    smallest_angle: float
    simplex_distance: float
    bound: CosineBound

    def __str__(self) -> str:
        return (
            f"{self.num_classes} prototypes in {self.dim} dimensions: "
            f"cosines from {self.min_cosine:.4f} to {self.max_cosine:.4f}, mean {self.mean_cosine:.4f}; "
            f"smallest angle {self.smallest_angle:.2f} degrees; at most {self.simplex_distance:.4f} from the simplex; "
            f"no such set has a largest cosine below {self.bound.value:.4f} ({self.bound.source})"
        )


def describe(prototypes: Tensor) -> Description:
    """Measure a set of prototypes, in float64.

    Args:
        prototypes: (K, d), K >= 2, of any norm but zero: only directions count, as in a cosine classifier.

    Returns:
        The description; takes memory for K x K cosines.

    Raises:
        ValueError: fewer than two rows, or rows that are zero or not finite.
    """
    if prototypes.ndim != 2 or len(prototypes) < 2 or prototypes.shape[1] < 1:
        raise ValueError(f"prototypes must be (K, d) with K >= 2 and d >= 1, not {tuple(prototypes.shape)}")
    rows = prototypes.detach().double().cpu()
    norms = rows.norm(dim=1)
    without = torch.nonzero(~norms.isfinite() | (norms == 0))[:, 0].tolist()
    if without:
        raise ValueError(f"prototypes must be finite and not zero: rows {without} have no direction")
    count, dim = rows.shape
    unit = rows / norms[:, None]
    cosines = (unit @ unit.T).clamp_(-1, 1)
    largest = float(cosines.fill_diagonal_(-1).max())
    smallest = float(cosines.fill_diagonal_(1).min())
    simplex = -1 / (count - 1)
    return Description(
        num_classes=count,
        dim=dim,
        max_cosine=largest,
        # The cosines of all ordered pairs, those of a row with itself among them, sum to |sum of the rows|^2.
        mean_cosine=(float(unit.sum(0).square().sum()) - count) / (count * (count - 1)),
        min_cosine=smallest,
        smallest_angle=math.degrees(math.acos(largest)),
        simplex_distance=max(largest - simplex, simplex - smallest),
        bound=max_cosine_bound(count, dim),
    )


def max_cosine_bound(num_classes: int, dim: int) -> CosineBound:
    r"""A lower bound on the largest pairwise cosine of K unit vectors in d dimensions.

    K <= d + 1: :math:`-1/(K-1)`, and d + 2 <= K <= 2d: 0, both attained (Rankin). K > 2d: the larger of two bounds that
    are attained in a few cases only:

    - Levenshtein's of degree 3, the s with :math:`d(1-s)(2+(d+1)s)/(1-ds^2) = \min(K, d(d+3)/2)`: attained by,
      say, 16 points in 5 dimensions and 27 in 6;
    - disjoint caps: K caps whose radius is half the smallest angle :math:`\theta` cover at most the sphere,
      :math:`\frac K2 I_{\sin^2(\theta/2)}(\frac{d-1}2, \frac12) \le 1` with the regularised incomplete beta function
      I: attained by polygons, and the better one for many points in few dimensions.

    (Welch's bound is on the largest absolute cosine and says nothing here.)

    Args:
        num_classes: K, at least 2.
        dim: d, at least 1.

    Raises:
        ValueError: K < 2 or d < 1.

    Source: Rankin 1955; Levenshtein 1979, "On bounds for packings in n-dimensional Euclidean space".
    """
    if num_classes < 2 or dim < 1:
        raise ValueError(f"a bound exists for at least 2 classes and 1 dimension, not {num_classes} and {dim}")
    if num_classes <= dim + 1:
        return CosineBound(-1 / (num_classes - 1), "Rankin, attained by the simplex")
    if dim == 1:
        return CosineBound(1.0, "two of them coincide")
    if num_classes <= 2 * dim:
        return CosineBound(0.0, "Rankin, attained by sums of simplices")
    return max(
        CosineBound(_levenshtein(num_classes, dim), "Levenshtein, degree 3"),
        CosineBound(_caps(num_classes, dim), "disjoint caps"),
    )


def _levenshtein(num_classes: int, dim: int) -> float:
    """The positive root of d(K-d-1) s^2 + d(d-1) s - (K-2d), which Levenshtein's equation is."""
    count = min(num_classes, dim * (dim + 3) // 2)
    square, linear, constant = dim * (count - dim - 1), dim * (dim - 1), count - 2 * dim
    return (math.sqrt(linear**2 + 4 * square * constant) - linear) / (2 * square)


def _caps(num_classes: int, dim: int) -> float:
    # SciPy only here: the geometry itself does without.
    from scipy.special import betaincinv

    return float(1 - 2 * betaincinv((dim - 1) / 2, 0.5, 2 / num_classes))
