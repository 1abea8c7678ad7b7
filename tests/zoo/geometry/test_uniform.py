from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.geometry import equidistributed, gaussian_potential, simplex_sum


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@functools.cache
def spread(num_classes: int, dim: int, objective: str) -> Tensor:
    return equidistributed(num_classes, dim, generator=seeded(), objective=objective)


def largest_cosine(prototypes: Tensor) -> float:
    return float((prototypes @ prototypes.T).fill_diagonal_(-1).max())


def naive_potential(rows: Tensor, t: float) -> Tensor:
    unit = [row / row.square().sum().sqrt() for row in rows]
    terms = [(-t * (unit[i] - unit[j]).square().sum()).exp() for i in range(len(unit)) for j in range(i)]
    return (torch.stack(terms).sum() / len(terms)).log()


@pytest.mark.parametrize(
    ("dim", "num_classes", "best"),
    [(3, 100, 0.934), (10, 100, 0.339), (25, 100, 0.112), (50, 200, 0.077)],
)
def test_largest_cosine_beyond_closed_forms_is_that_of_the_best_known(dim: int, num_classes: int, best: float) -> None:
    prototypes = spread(num_classes, dim, "max_cosine")
    assert prototypes.shape == (num_classes, dim)
    assert prototypes.dtype == torch.float32
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(num_classes))
    assert largest_cosine(prototypes) == pytest.approx(best, abs=0.01)


@pytest.mark.parametrize(("dim", "num_classes", "optimum"), [(3, 12, 1 / math.sqrt(5)), (5, 16, 1 / 5), (6, 27, 1 / 4)])
@pytest.mark.parametrize("objective", ["max_cosine", "gaussian"])
def test_universally_optimal_sets_are_found(objective: str, dim: int, num_classes: int, optimum: float) -> None:
    """Cohn & Kumar 2007, Table 1: the same points minimise both objectives."""
    assert largest_cosine(spread(num_classes, dim, objective)) == pytest.approx(optimum, abs=1e-3)


@pytest.mark.parametrize("objective", ["max_cosine", "gaussian"])
@pytest.mark.parametrize(
    ("dim", "num_classes", "optimum"),
    [(1, 2, -1), (2, 3, -0.5), (9, 10, -1 / 9), (64, 10, -1 / 9), (3, 6, 0), (50, 100, 0)]
    + [(2, count, math.cos(2 * math.pi / count)) for count in (4, 5, 6, 50)],
)
def test_closed_forms_are_exact(objective: str, dim: int, num_classes: int, optimum: float) -> None:
    prototypes = equidistributed(num_classes, dim, objective=objective)
    assert prototypes.shape == (num_classes, dim)
    torch.testing.assert_close(prototypes.norm(dim=1), torch.ones(num_classes))
    assert largest_cosine(prototypes) == pytest.approx(optimum, abs=2e-6)


@pytest.mark.parametrize(("dim", "num_classes"), [(3, 5), (50, 70), (84, 100)])
def test_largest_cosine_up_to_twice_the_dimensions_is_zero(dim: int, num_classes: int) -> None:
    assert largest_cosine(equidistributed(num_classes, dim)) == pytest.approx(0, abs=1e-6)


def test_gaussian_potential_falls_below_that_of_simplices_of_equal_sizes() -> None:
    """A tetrahedron and a pair (6 + 1 of 15 pairs are not orthogonal) against two triangles."""
    found = gaussian_potential(equidistributed(6, 4, generator=seeded(), objective="gaussian"))
    expected = math.log((6 * math.exp(-16 / 3) + math.exp(-8) + 8 * math.exp(-4)) / 15)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found < gaussian_potential(simplex_sum(6, 4)) - 0.02


def test_each_objective_is_the_best_at_its_own_measure() -> None:
    gaussian, packed = spread(100, 10, "gaussian"), spread(100, 10, "max_cosine")
    assert gaussian_potential(gaussian) == pytest.approx(-3.458, abs=2e-3)
    assert gaussian_potential(gaussian) < gaussian_potential(packed) - 3e-3
    assert largest_cosine(packed) < largest_cosine(gaussian) - 0.05


@pytest.mark.parametrize("objective", ["max_cosine", "gaussian"])
@pytest.mark.parametrize(("dim", "num_classes"), [(4, 3), (4, 8), (2, 7), (4, 12)])
def test_prototypes_follow_the_generator_alone(objective: str, dim: int, num_classes: int) -> None:
    first, again, other = (
        equidistributed(num_classes, dim, generator=seeded(seed), objective=objective) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_prototypes_are_found_where_gradients_are_off(off: Any) -> None:
    with off():
        without = equidistributed(9, 4, generator=seeded())
    assert torch.equal(without, equidistributed(9, 4, generator=seeded()))
    assert not without.requires_grad


@pytest.mark.parametrize(("num_classes", "dim"), [(3, 4), (6, 4), (7, 2), (9, 4)])
def test_prototypes_are_on_the_cpu_whatever_device_is_the_default(num_classes: int, dim: int) -> None:
    with torch.device("meta"):
        found = equidistributed(num_classes, dim, generator=seeded())
    assert torch.equal(found, equidistributed(num_classes, dim, generator=seeded()))


@pytest.mark.parametrize("t", [2.0, 0.5])
def test_gaussian_potential_and_its_gradient_are_those_of_the_formula(t: float) -> None:
    rows = (3 * torch.randn(7, 4, dtype=torch.float64, generator=seeded())).requires_grad_()
    found, expected = gaussian_potential(rows, t=t), naive_potential(rows, t)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(value, rows)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("num_classes", "dim", "objective", "message"),
    [
        (1, 4, "max_cosine", "at least 2 classes and 1 dimension, not 1 and 4"),
        (3, 0, "max_cosine", "at least 2 classes and 1 dimension, not 3 and 0"),
        (3, 1, "gaussian", "1 dimension has room for 2 classes, not 3: use 2 dimensions"),
        (9, 3, "riesz", "gaussian, max_cosine, not 'riesz'"),
    ],
)
def test_what_has_no_answer_is_refused(num_classes: int, dim: int, objective: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        equidistributed(num_classes, dim, objective=objective)
