from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo.geometry import from_cosines, simplex_etf, wide_margin_simplex


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_cosines(num_classes: int, rank: int) -> Tensor:
    rows = torch.randn(num_classes, rank, dtype=torch.float64, generator=seeded())
    rows /= rows.norm(dim=1, keepdim=True)
    return rows @ rows.T


def equal_cosines(num_classes: int, cosine: float) -> Tensor:
    return torch.full((num_classes, num_classes), cosine, dtype=torch.float64).fill_diagonal_(1)


@pytest.mark.parametrize(("num_classes", "rank", "dim"), [(2, 1, 1), (6, 3, 3), (6, 3, 9), (5, 5, 5), (40, 7, 16)])
def test_prototypes_have_the_cosines_asked_for(num_classes: int, rank: int, dim: int) -> None:
    cosines = random_cosines(num_classes, rank)
    prototypes = from_cosines(cosines, dim)
    assert prototypes.shape == (num_classes, dim)
    assert prototypes.dtype == torch.float32
    torch.testing.assert_close(prototypes @ prototypes.T, cosines.float(), atol=2e-6, rtol=0)


def test_cosines_computed_in_float32_are_taken() -> None:
    simplex = simplex_etf(200, 199)
    prototypes = from_cosines(simplex @ simplex.T, 199)
    torch.testing.assert_close(prototypes @ prototypes.T, simplex @ simplex.T, atol=1e-5, rtol=0)


def test_orientation_of_prescribed_prototypes_follows_the_generator_alone() -> None:
    cosines = random_cosines(5, 3)
    first, again, other = (from_cosines(cosines, 4, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


@pytest.mark.parametrize(
    ("cosines", "dim", "message"),
    [
        (torch.ones(2, 3), 4, r"\(K, K\) with K >= 2, not \(2, 3\)"),
        (torch.ones(1, 1), 4, r"\(K, K\) with K >= 2, not \(1, 1\)"),
        (equal_cosines(3, torch.nan), 4, "finite"),
        (2 * torch.eye(3), 4, "diagonal"),
        (torch.eye(3) + torch.tensor([[0, 0.1, 0], [0, 0, 0], [0, 0, 0]]), 4, "symmetric"),
        (equal_cosines(3, -0.6), 4, "smallest eigenvalue is -0.2"),
        (equal_cosines(5, 0.5), 4, "rank 5 needs at least 5 dimensions, not 4"),
        (equal_cosines(5, -0.25), 3, "rank 4 needs at least 4 dimensions, not 3"),
    ],
)
def test_impossible_cosines_say_what_is_wrong(cosines: Tensor, dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_cosines(cosines, dim)


def cosines_of_groups(prototypes: Tensor, chosen: list[int]) -> tuple[list[float], list[float]]:
    """The cosines between two classes that were not chosen, and those of chosen ones with any class."""
    prototypes = prototypes.double()
    others, wide = [], []
    for i in range(len(prototypes)):
        for j in range(i):
            pair = others if i not in chosen and j not in chosen else wide
            pair.append(float(prototypes[i] @ prototypes[j]))
    return others, wide


@pytest.mark.parametrize("cosine", [-1 / 9, -0.05, 0.0, 0.3, 0.99])
@pytest.mark.parametrize("chosen", [[4], [9, 0, 3], list(range(2, 10))])
def test_chosen_classes_stand_wider_by_as_much_as_can_be(chosen: list[int], cosine: float) -> None:
    others, wide = cosines_of_groups(wide_margin_simplex(10, 9, chosen, cosine=cosine), chosen)
    assert others == pytest.approx([cosine] * len(others), abs=1e-6)
    margin = wide[0]
    assert wide == pytest.approx([margin] * len(wide), abs=1e-6)
    assert margin <= cosine + 1e-6
    assert -1 / len(chosen) - 1e-6 <= margin <= -1 / 9 + 1e-6
    # A hair less and no unit vectors have such cosines.
    lower = equal_cosines(10, margin - 1e-3)
    rest = [label for label in range(10) if label not in chosen]
    for i in rest:
        for j in rest:
            lower[i, j] = 1 if i == j else cosine
    assert torch.linalg.eigvalsh(lower)[0] < -1e-5


def test_margins_grow_with_what_the_others_give_up() -> None:
    margins = [
        cosines_of_groups(wide_margin_simplex(10, 16, [7, 8, 9], cosine=a), [7, 8, 9])[1][0] for a in (0, 0.5, 0.9)
    ]
    assert margins[0] > margins[1] + 0.01 > margins[2] + 0.02


def test_wide_margins_of_no_extra_cost_are_the_simplex() -> None:
    prototypes = wide_margin_simplex(6, 5, [1, 2], cosine=-1 / 5)
    torch.testing.assert_close((prototypes @ prototypes.T).double(), equal_cosines(6, -0.2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("dim", "chosen", "cosine", "message"),
    [
        (9, [1, 1], 0.0, r"different numbers from 0 to 9, not \[1, 1\]"),
        (9, [10], 0.0, "different numbers from 0 to 9"),
        (9, [-1], 0.0, "different numbers from 0 to 9"),
        (9, [], 0.0, "1 to 8 of 10 classes can be chosen, not 0"),
        (9, list(range(9)), 0.0, "1 to 8 of 10 classes can be chosen, not 9"),
        (8, [1], 0.0, "at least 9 dimensions, not 8"),
        (9, [1], 1.0, r"in \[-1/9, 1\), not be 1.0"),
        (9, [1], -0.2, r"in \[-1/9, 1\), not be -0.2"),
    ],
)
def test_margins_that_cannot_be_are_refused(dim: int, chosen: list[int], cosine: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wide_margin_simplex(10, dim, chosen, cosine=cosine)


def test_prototypes_with_wider_margins_are_on_the_cpu_whatever_device_is_the_default() -> None:
    with torch.device("meta"):
        found = wide_margin_simplex(5, 4, [1], generator=seeded())
    assert torch.equal(found, wide_margin_simplex(5, 4, [1], generator=seeded()))
