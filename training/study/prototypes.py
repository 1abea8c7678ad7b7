"""What can be said of prototypes before any training."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from zoo.errors import ProtozooError
from zoo.geometry import describe, equidistributed, simplex_etf

GENERATORS: dict[str, Callable[..., Tensor]] = {"equidistributed": equidistributed, "simplex_etf": simplex_etf}
"""Of :mod:`zoo.geometry`, that take K, d and a generator of random numbers."""

Prototypes = tuple[str, int, int]
"""A generator, the number of prototypes and that of dimensions."""


@cache
def largest_cosine(generator: str, num_classes: int, dim: int) -> float:
    """The largest cosine of two prototypes, those that random numbers of seed 0 lead to, to six decimals.

    Beyond, float32 differs from machine to machine, and with it the results that are compared with kept ones.

    Args:
        generator: one of ``GENERATORS``.
        num_classes: K.
        dim: d.

    Raises:
        ProtozooError: the generator has no K prototypes in d dimensions.
    """
    try:
        prototypes = GENERATORS[generator](num_classes, dim, generator=torch.Generator().manual_seed(0))
    except ValueError as error:
        raise ProtozooError(f"largest_cosine({generator}, {num_classes}, {dim}): {error}") from error
    return round(describe(prototypes).max_cosine, 6) + 0.0  # no negative zero
