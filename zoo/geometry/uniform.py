"""Prototypes spread as evenly as the space allows, for any number of classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.geometry.frames import place
from zoo.geometry.simplex import simplex_etf, simplex_sum

Objective = Literal["gaussian", "max_cosine"]

# With sharpness s the soft maximum over p pairs exceeds the largest cosine by at most log(p) / s.
_SHARPNESSES = tuple(10.0 * 4**stage for stage in range(6))
_STEPS_PER_STAGE = 100
_GAUSSIAN_STEPS = 1000


def equidistributed(
    num_classes: int,
    dim: int,
    *,
    generator: torch.Generator | None = None,
    objective: Objective = "max_cosine",
) -> Tensor:
    r"""K prototypes spread over the sphere of d dimensions, in a random orientation.

    ``max_cosine`` minimises the largest pairwise cosine, ``gaussian`` the Gaussian potential
    (:func:`gaussian_potential`). Closed forms are used where they are known to be the minimum of the objective:

    ==============  ==================================  ===============
    K               ``max_cosine``                      ``gaussian``
    ==============  ==================================  ===============
    up to d + 1     simplex                             simplex
    d + 2 ... 2d-1  sum of simplices, largest cosine 0  optimised
    2d              cross-polytope, largest cosine 0    cross-polytope
    over 2d         optimised                           optimised
    any, d = 2      regular polygon                     regular polygon
    ==============  ==================================  ===============

    Elsewhere L-BFGS starts from uniformly random points and ends in a local minimum: for ``max_cosine`` of the soft
    maximum :math:`\frac1s \log\sum_{i \ne j} e^{s \cos_{ij}}`, whose sharpness s grows in stages. The minima of the two
    objectives differ beyond 2d, where a smaller potential comes with a larger maximum, and also below: of 6 classes in
    4 dimensions a tetrahedron and an antipodal pair have a smaller potential than the two triangles of equal sizes.

    Args:
        num_classes: K, at least 2.
        dim: d, at least 1 for K = 2, else at least 2.
        generator: source of start and orientation, on the CPU; torch's default generator without one. The same state
            gives the same prototypes on the same machine; the optimised ones to rounding elsewhere.
        objective: "max_cosine" or "gaussian".

    Returns:
        (K, d) float32, unit rows; computed in float64, with memory for a few K x K matrices where it is optimised.

    Raises:
        ValueError: K < 2, too few dimensions for K different points, or an unknown objective.

    Source: eqs. 3 to 5 of "Hyperspherical Classification with Dynamic Label-to-Prototype Assignment" (CVPR 2024) for
        the Gaussian objective; its minima: Cohn & Kumar 2007, "Universally optimal distribution of points on spheres";
        largest cosine up to 2d: Rankin 1955.
    """
    if objective not in get_args(Objective):
        raise ValueError(f"objective must be one of {', '.join(get_args(Objective))}, not {objective!r}")
    if num_classes < 2 or dim < 1:
        raise ValueError(f"prototypes need at least 2 classes and 1 dimension, not {num_classes} and {dim}")
    if num_classes <= dim + 1:
        return simplex_etf(num_classes, dim, generator=generator)
    if dim == 1:
        raise ValueError(f"1 dimension has room for 2 classes, not {num_classes}: use 2 dimensions or more")
    if dim == 2:
        return place(_polygon(num_classes), dim, generator=generator)
    if num_classes == 2 * dim or (num_classes < 2 * dim and objective == "max_cosine"):
        return simplex_sum(num_classes, dim, generator=generator)
    # Normally distributed rows have no preferred direction: neither has the minimum that they lead to.
    points = torch.randn(num_classes, dim, dtype=torch.float64, generator=generator, device="cpu")
    if objective == "gaussian":
        return _minimise(gaussian_potential, points, steps=_GAUSSIAN_STEPS).float()
    for sharpness in _SHARPNESSES:
        points = _minimise(partial(_soft_maximum, sharpness=sharpness), points, steps=_STEPS_PER_STAGE)
    return points.float()


def gaussian_potential(prototypes: Tensor, *, t: float = 2.0) -> Tensor:
    r"""Uniformity loss: the logarithm of the mean Gaussian potential of all pairs.

    .. math:: L_{uni} = \log \frac{2}{K(K-1)} \sum_{i<j} e^{-t \|w_i - w_j\|^2}

    Args:
        prototypes: (K, d), K >= 2; rows are scaled to unit norm.
        t: sharpness of the kernel.

    Returns:
        Scalar of the prototypes' type, differentiable.

    Source: eqs. 3 to 5 of "Hyperspherical Classification with Dynamic Label-to-Prototype Assignment" (CVPR 2024), with
        the mean over pairs of different rows of its code: the minimum is the same.
    """
    count = len(prototypes)
    return (2 * t * (_cosines(prototypes) - 1)).logsumexp((0, 1)) - math.log(count * (count - 1))


def _soft_maximum(points: Tensor, sharpness: float) -> Tensor:
    return (sharpness * _cosines(points)).logsumexp((0, 1)) / sharpness


def _cosines(points: Tensor) -> Tensor:
    """(K, K), with -inf for the pair of a point and itself."""
    unit = F.normalize(points, dim=1)
    own = torch.eye(len(points), dtype=torch.bool, device=points.device)
    return (unit @ unit.T).masked_fill(own, -torch.inf)


@torch.inference_mode(False)
@torch.enable_grad()
def _minimise(objective: Callable[[Tensor], Tensor], points: Tensor, *, steps: int) -> Tensor:
    """Unit rows at a local minimum of an objective that only depends on the rows' directions, or near it."""
    points = F.normalize(points, dim=1).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [points],
        max_iter=steps,
        max_eval=2 * steps,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective(points)
        value.backward()
        return value

    optimizer.step(closure)
    return F.normalize(points.detach(), dim=1)


def _polygon(count: int) -> Tensor:
    angles = 2 * math.pi / count * torch.arange(count, dtype=torch.float64, device="cpu")
    return torch.stack([angles.cos(), angles.sin()], dim=1)
