"""Closed forms for up to 2 d prototypes: the simplex and direct sums of simplices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.geometry.frames import place


def simplex_etf(num_classes: int, dim: int, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Vertices of a regular simplex, in a random orientation.

    All pairwise cosines equal :math:`-1/(K-1)`, the smallest that the largest cosine of K unit vectors can be: the
    geometry of a collapsed classifier. The orientation is drawn uniformly (Haar) from the rotations of the space.

    Args:
        num_classes: K, at least 2.
        dim: d, at least K - 1.
        generator: source of the orientation, on the CPU; torch's default generator without one.

    Returns:
        (K, d) float32, unit rows that sum to zero; computed in float64.

    Raises:
        ValueError: K < 2, or d < K - 1, where no such simplex exists.

    Source: Papyan, Han & Donoho 2020; the frame W* of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    if num_classes < 2:
        raise ValueError(f"a simplex needs at least 2 classes, not {num_classes}")
    if dim < num_classes - 1:
        raise ValueError(
            f"no simplex of {num_classes} classes exists in {dim} dimensions: use an embedding of at least "
            f"{num_classes - 1} dimensions (embed_dim={num_classes - 1}), fewer classes, learned prototypes, or "
            "zoo.geometry.equidistributed, which spreads any number of classes"
        )
    return place(_vertices(num_classes), dim, generator=generator)


def simplex_sum(num_classes: int, dim: int, *, generator: torch.Generator | None = None) -> Tensor:
    r"""K - d regular simplices in mutually orthogonal subspaces that together fill the space.

    The simplices have as equal sizes as possible, at least 2 vertices each, and the classes of one are consecutive. A
    cosine is :math:`-1/(n-1)` within a simplex of n and 0 between two: for K >= d + 2 the largest cosine is 0, the
    smallest that it can be (Rankin). K = d + 1 is the simplex, K = 2d the cross-polytope of d antipodal pairs.

    Args:
        num_classes: K, from d + 1 to 2d.
        dim: d.
        generator: source of the orientation, on the CPU; torch's default generator without one.

    Returns:
        (K, d) float32, unit rows that sum to zero; computed in float64.

    Raises:
        ValueError: K < d + 1, where the simplices would not fill the space, or K > 2d, where no cosine of 0 exists.

    Source: Rankin 1955, "The closest packing of spherical caps in n dimensions".
    """
    if not dim + 1 <= num_classes <= 2 * dim:
        raise ValueError(
            f"a sum of simplices in {dim} dimensions has {dim + 1} to {2 * dim} classes, not {num_classes}: use "
            "simplex_etf for fewer, or equidistributed for any number"
        )
    simplices = num_classes - dim
    size, larger = divmod(num_classes, simplices)
    sizes = [size + 1] * larger + [size] * (simplices - larger)
    return place(torch.block_diag(*map(_vertices, sizes)), dim, generator=generator)


def _vertices(count: int) -> Tensor:
    """(n, n - 1) float64: by the Helmert basis, which unlike the projection of the identity needs no n dimensions."""
    vertices = torch.zeros(count, count - 1, dtype=torch.float64, device="cpu")
    for column in range(count - 1):
        length = math.sqrt((column + 1) * (column + 2))
        vertices[: column + 1, column] = 1 / length
        vertices[column + 1, column] = -(column + 1) / length
    return vertices * math.sqrt(count / (count - 1))
