from __future__ import annotations

import math

import pytest
import torch

from zoo.geometry import describe, equidistributed, max_cosine_bound, simplex_etf, simplex_sum


def test_description_is_that_of_all_pairs() -> None:
    prototypes = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = prototypes.tolist()
    cosines = [
        sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) / (math.hypot(*rows[i]) * math.hypot(*rows[j]))
        for i in range(7)
        for j in range(i)
    ]
    found = describe(prototypes)
    assert (found.num_classes, found.dim) == (7, 3)
    assert found.max_cosine == pytest.approx(max(cosines))
    assert found.min_cosine == pytest.approx(min(cosines))
    assert found.mean_cosine == pytest.approx(sum(cosines) / len(cosines))
    assert found.smallest_angle == pytest.approx(min(math.degrees(math.acos(cosine)) for cosine in cosines))
    assert found.simplex_distance == pytest.approx(max(abs(cosine + 1 / 6) for cosine in cosines))
    assert found.bound == max_cosine_bound(7, 3)


def test_only_directions_are_described() -> None:
    prototypes = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scaled = prototypes * torch.tensor([[0.25], [1.0], [64.0], [2.0], [0.5]])
    assert describe(scaled) == describe(prototypes)


def test_closed_forms_reach_their_bounds() -> None:
    simplex = describe(simplex_etf(10, 16))
    assert simplex.simplex_distance == pytest.approx(0, abs=1e-6)
    assert simplex.max_cosine == pytest.approx(simplex.bound.value, abs=1e-6)
    assert simplex.smallest_angle == pytest.approx(96.379, abs=1e-3)
    orthogonal = describe(simplex_sum(14, 10))
    assert orthogonal.max_cosine == pytest.approx(orthogonal.bound.value, abs=1e-6)
    assert orthogonal.simplex_distance == pytest.approx(0.5 - 1 / 13, abs=1e-6)


def test_a_description_reads_as_a_sentence() -> None:
    assert str(describe(torch.eye(4))) == (
        "4 prototypes in 4 dimensions: cosines from 0.0000 to 0.0000, mean 0.0000; smallest angle 90.00 degrees; at "
        "most 0.3333 from the simplex; no such set has a largest cosine below -0.3333 (Rankin, attained by the simplex)"
    )


def test_coinciding_and_opposite_rows_have_angles() -> None:
    assert describe(torch.tensor([[0.1, 0.7], [0.1, 0.7]])).smallest_angle == pytest.approx(0, abs=1e-5)
    assert describe(torch.tensor([[0.1, 0.7], [-0.1, -0.7]])).smallest_angle == pytest.approx(180, abs=1e-5)


@pytest.mark.parametrize(
    ("prototypes", "message"),
    [
        (torch.ones(1, 4), r"K >= 2 and d >= 1, not \(1, 4\)"),
        (torch.ones(4), r"not \(4,\)"),
        (torch.ones(4, 0), r"not \(4, 0\)"),
        (torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), r"rows \[1\] have no direction"),
        (torch.tensor([[1.0, torch.nan], [0.0, 1.0], [torch.inf, 1.0]]), r"rows \[0, 2\] have no direction"),
    ],
)
def test_rows_without_direction_are_refused(prototypes: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(prototypes)


@pytest.mark.parametrize(
    ("num_classes", "dim", "optimum"),
    [
        (2, 1, -1),
        (3, 1, 1),
        (10, 9, -1 / 9),
        (10, 64, -1 / 9),
        (11, 9, 0),
        (18, 9, 0),
        (5, 2, math.cos(2 * math.pi / 5)),
        (40, 2, math.cos(2 * math.pi / 40)),
        (16, 5, 1 / 5),
        (27, 6, 1 / 4),
    ],
)
def test_bound_is_the_optimum_where_that_is_known(num_classes: int, dim: int, optimum: float) -> None:
    assert max_cosine_bound(num_classes, dim).value == pytest.approx(optimum, abs=1e-9)


@pytest.mark.parametrize(
    ("num_classes", "dim", "optimum"),
    # Cohn & Kumar 2007, Table 1: the icosahedron, the 600-cell, E8 and the Leech lattice among them.
    [
        (12, 3, 1 / math.sqrt(5)),
        (120, 4, (1 + math.sqrt(5)) / 4),
        (56, 7, 1 / 3),
        (240, 8, 1 / 2),
        (162, 21, 1 / 7),
        (100, 22, 1 / 11),
        (275, 22, 1 / 6),
        (196560, 24, 1 / 2),
    ],
)
def test_bound_is_never_above_an_optimum(num_classes: int, dim: int, optimum: float) -> None:
    assert 0 < max_cosine_bound(num_classes, dim).value <= optimum + 1e-9


def test_bound_grows_with_the_classes() -> None:
    for dim in (2, 3, 4, 10, 25):
        bounds = [max_cosine_bound(count, dim).value for count in range(2, 40 * dim)]
        assert bounds == sorted(bounds)


def test_found_prototypes_are_not_below_the_bound() -> None:
    found = describe(equidistributed(20, 4, generator=torch.Generator().manual_seed(0)))
    assert found.bound.value < found.max_cosine
    # Sloane's table of spherical codes: 64.2620 degrees, the largest known.
    assert found.smallest_angle == pytest.approx(64.262, abs=0.01)


@pytest.mark.parametrize(("num_classes", "dim"), [(1, 3), (3, 0)])
def test_bound_of_nothing_is_refused(num_classes: int, dim: int) -> None:
    with pytest.raises(ValueError, match=f"not {num_classes} and {dim}"):
        max_cosine_bound(num_classes, dim)
