"""The objective of fixed geometries: draw every embedding to its class's prototype."""

from __future__ import annotations

from torch import Tensor, nn

from training.losses.inputs import valid


def dot_regression(cosines: Tensor, labels: Tensor) -> Tensor:
    r"""Dot regression: half the squared distance of a sample's cosine to its prototype from 1.

    .. math:: L = \frac1M \sum_i \tfrac12 (\cos_{i,y_i} - 1)^2

    The other prototypes do not appear: with a fixed simplex, the pull to the own one is all that collapse needs. The
    gradient vanishes as the cosine comes to 1, so a sample that is in place is left alone.

    Args:
        cosines: (M, K), not divided by a temperature.
        labels: (M,) int64; negative ones are left out.

    Returns:
        Scalar in [0, 2].

    Raises:
        ValueError: shapes that do not fit.

    Source: Yang et al. 2022 ("Inducing Neural Collapse in Imbalanced Learning") at unit norms, where it is eq. 6 of
    "Hyperspherical Classification with Dynamic Label-to-Prototype Assignment" (CVPR 2024).
    """
    cosines, labels = valid(cosines, labels, what="cosines", columns="K")
    if not len(labels):
        return cosines.sum()
    return (cosines.gather(1, labels[:, None]) - 1).square().mean() / 2


class DotRegression(nn.Module):
    """:func:`dot_regression` as a module."""

    def forward(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return dot_regression(cosines, labels)
