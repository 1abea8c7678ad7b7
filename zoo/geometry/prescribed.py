"""Prototypes whose angles are prescribed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.geometry.frames import place

# What rounding leaves of a zero eigenvalue in a float32 matrix of some thousand classes.
_TOLERANCE = 1e-5


def from_cosines(cosines: Tensor, dim: int, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Prototypes with given pairwise cosines, in a random orientation.

    With the eigenvalue decomposition :math:`G = V \Lambda V^T` the rows of :math:`V \Lambda^{1/2}` have G as their Gram
    matrix. G determines the prototypes up to a rotation, which is drawn uniformly (Haar).

    Args:
        cosines: G (K, K), symmetric, positive semi-definite, with a diagonal of ones, all within 1e-5.
        dim: d, at least the rank of G (eigenvalues of at most 1e-5 do not count).
        generator: source of the orientation, on the CPU; torch's default generator without one.

    Returns:
        (K, d) float32, unit rows; computed in float64.

    Raises:
        ValueError: no unit vectors have these cosines, or none in so few dimensions.
    """
    eigenvalues, vectors = torch.linalg.eigh(_checked(cosines))
    smallest = float(eigenvalues[0])
    if smallest < -_TOLERANCE:
        raise ValueError(
            f"no unit vectors have these cosines: the matrix is not positive semi-definite, its smallest eigenvalue is "
            f"{smallest:.3g}; raise the smallest cosines"
        )
    kept = eigenvalues > _TOLERANCE
    rank = int(kept.sum())
    if rank > dim:
        raise ValueError(f"a matrix of cosines of rank {rank} needs at least {rank} dimensions, not {dim}")
    points = vectors[:, kept] * eigenvalues[kept].sqrt()
    return place(F.normalize(points, dim=1), dim, generator=generator)


def _checked(cosines: Tensor) -> Tensor:
    """The matrix in float64 on the CPU, exactly symmetric."""
    if cosines.ndim != 2 or cosines.shape[0] != cosines.shape[1] or len(cosines) < 2:
        raise ValueError(f"cosines must be (K, K) with K >= 2, not {tuple(cosines.shape)}")
    matrix = cosines.detach().double().cpu()
    if not bool(matrix.isfinite().all()):
        raise ValueError("cosines must be finite numbers")
    if float((matrix.diagonal() - 1).abs().max()) > _TOLERANCE:
        raise ValueError("the diagonal of a matrix of cosines must be 1: divide rows and columns by the norms")
    if float((matrix - matrix.T).abs().max()) > _TOLERANCE:
        raise ValueError("a matrix of cosines must be symmetric: average it with its transpose")
    return (matrix + matrix.T) / 2


def wide_margin_simplex(
    num_classes: int,
    dim: int,
    classes: Sequence[int],
    *,
    cosine: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""A simplex bent so that chosen classes, say the tail of a long-tailed set, stand farther from all the others.

    The m = K - n other classes have the pairwise cosine a = ``cosine``; the n chosen ones have one smaller cosine b to
    every class, chosen or not. With :math:`A = 1 + (m-1)a`, b is the smallest for which the matrix of cosines remains
    positive semi-definite. On the vectors that are constant on either group this matrix is
    :math:`\begin{pmatrix} A & \sqrt{mn}\,b \\ \sqrt{mn}\,b & 1+(n-1)b \end{pmatrix}`, whose determinant vanishes at

    .. math:: b = \frac{(n-1)A - \sqrt{(n-1)^2A^2 + 4mnA}}{2mn}

    b falls from the simplex's -1/(K-1), at a = -1/(K-1), towards -1/n as a approaches 1, where the others merge into
    one vertex of a simplex of n + 1. No geometry with cosines of at most a among the others has all cosines of the
    chosen below b: the null vector of the matrix is positive, and such a matrix would be negative along it.

    Args:
        num_classes: K.
        dim: d, at least K - 1, the rank of the matrix.
        classes: the n chosen ones, 1 <= n <= K - 2, in any order.
        cosine: a, in [-1/(K-1), 1): what the other classes give up. At 0 they are orthogonal.
        generator: source of the orientation, on the CPU; torch's default generator without one.

    Returns:
        (K, d) float32, unit rows; computed in float64.

    Raises:
        ValueError: classes that are repeated, out of range, none or all but one; d < K - 1; a out of its range.
    """
    chosen = torch.zeros(num_classes, dtype=torch.bool, device="cpu")
    if not all(0 <= label < num_classes for label in classes) or len(set(classes)) != len(classes):
        raise ValueError(f"classes must be different numbers from 0 to {num_classes - 1}, not {list(classes)}")
    chosen[list(classes)] = True
    n, m = len(classes), num_classes - len(classes)
    if n < 1 or m < 2:
        raise ValueError(f"1 to {num_classes - 2} of {num_classes} classes can be chosen, not {n}: use simplex_etf")
    if dim < num_classes - 1:
        raise ValueError(
            f"{num_classes} classes with wider margins need at least {num_classes - 1} dimensions, not {dim}"
        )
    if not -1 / (num_classes - 1) <= cosine < 1:
        raise ValueError(f"the cosine among the other classes must lie in [-1/{num_classes - 1}, 1), not be {cosine}")
    others = 1 + (m - 1) * cosine
    margin = ((n - 1) * others - math.sqrt(((n - 1) * others) ** 2 + 4 * m * n * others)) / (2 * m * n)
    cosines = torch.full((num_classes, num_classes), margin, dtype=torch.float64, device="cpu")
    cosines[torch.outer(~chosen, ~chosen)] = cosine
    return from_cosines(cosines.fill_diagonal_(1), dim, generator=generator)
