"""Where prototypes may stand on the unit sphere."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
            f"{num_classes - 1} dimensions (embed_dim={num_classes - 1}), fewer classes, or learned prototypes"
        )
    # K vertices in K-1 coordinates by the Helmert basis, which needs no d >= K as the projection of the identity does.
    vertices = torch.zeros(num_classes, num_classes - 1, dtype=torch.float64)
    for column in range(num_classes - 1):
        length = math.sqrt((column + 1) * (column + 2))
        vertices[: column + 1, column] = 1 / length
        vertices[column + 1, column] = -(column + 1) / length
    vertices *= math.sqrt(num_classes / (num_classes - 1))
    gaussian = torch.randn(dim, num_classes - 1, dtype=torch.float64, generator=generator, device="cpu")
    basis, triangle = torch.linalg.qr(gaussian)
    # Without the signs of R's diagonal the Q of a Gaussian matrix is not Haar-distributed (Mezzadri 2007).
    basis = basis * triangle.diagonal().sign()
    rotated: Tensor = vertices @ basis.T
    return rotated.float()
