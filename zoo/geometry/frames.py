"""Random orientations."""

from __future__ import annotations

import torch
from torch import Tensor


def random_frame(dim: int, columns: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Orthonormal columns drawn uniformly (Haar), by the QR decomposition of a Gaussian matrix.

    Args:
        dim: d.
        columns: r, at most d.
        generator: source of the Gaussian matrix, on the CPU; torch's default generator without one.

    Returns:
        (d, r) float64.

    Source: Mezzadri 2007, "How to generate random matrices from the classical compact groups".
    """
    gaussian = torch.randn(dim, columns, dtype=torch.float64, generator=generator, device="cpu")
    basis, triangle = torch.linalg.qr(gaussian)
    # Without the signs of R's diagonal the Q of a Gaussian matrix is not Haar-distributed.
    frame: Tensor = basis * triangle.diagonal().sign()
    return frame


def place(points: Tensor, dim: int, *, generator: torch.Generator | None = None) -> Tensor:
    """(K, r) float64 points, r <= d -> (K, d) float32: the same angles, in a random orientation."""
    rotated: Tensor = points @ random_frame(dim, points.shape[1], generator=generator).T
    return rotated.float()
