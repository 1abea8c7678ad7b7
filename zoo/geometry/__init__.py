"""Where prototypes may stand on the unit sphere."""

from __future__ import annotations

from zoo.geometry.description import CosineBound, Description, describe, max_cosine_bound
from zoo.geometry.prescribed import from_cosines, wide_margin_simplex
from zoo.geometry.simplex import simplex_etf, simplex_sum
from zoo.geometry.uniform import equidistributed, gaussian_potential

__all__ = [
    "CosineBound",
    "Description",
    "describe",
    "equidistributed",
    "from_cosines",
    "gaussian_potential",
    "max_cosine_bound",
    "simplex_etf",
    "simplex_sum",
    "wide_margin_simplex",
]
