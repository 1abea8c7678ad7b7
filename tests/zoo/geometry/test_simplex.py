from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo.geometry import simplex_etf, simplex_sum


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (2, 3), (3, 2), (10, 9), (10, 64), (100, 128)])
def test_simplex_has_unit_rows_equal_cosines_and_zero_sum(num_classes: int, dim: int) -> None:
    prototypes = simplex_etf(num_classes, dim)
    assert prototypes.shape == (num_classes, dim)
    assert prototypes.dtype == torch.float32
    expected = torch.full((num_classes, num_classes), -1 / (num_classes - 1)).fill_diagonal_(1)
    torch.testing.assert_close(prototypes @ prototypes.T, expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(prototypes.sum(0), torch.zeros(dim), atol=1e-5, rtol=0)


def test_orientation_follows_the_generator_alone() -> None:
    first, again, other = (simplex_etf(5, 8, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_orientation_of_a_seed_never_changes() -> None:
    """A bundle's fixed prototypes are those of its seed."""
    expected = torch.tensor([[0.9082943, -0.4183318], [-0.0918612, 0.9957718], [-0.8164331, -0.5774400]])
    torch.testing.assert_close(simplex_etf(3, 2, generator=seeded(0)), expected, atol=1e-6, rtol=0)


def test_orientation_is_uniform_and_not_tied_to_the_axes() -> None:
    # Of a Haar rotation every coordinate of a row has mean 0 and mean square 1/d; QR without its signs has not.
    generator = seeded(0)
    rows = torch.stack([simplex_etf(4, 3, generator=generator) for _ in range(2000)])
    torch.testing.assert_close(rows.mean(0), torch.zeros(4, 3), atol=0.06, rtol=0)
    torch.testing.assert_close((rows**2).mean(0), torch.full((4, 3), 1 / 3), atol=0.04, rtol=0)


def test_too_few_dimensions_say_what_to_use_instead() -> None:
    with pytest.raises(ValueError, match=r"no simplex of 10 classes exists in 8 dimensions.*embed_dim=9.*equidist"):
        simplex_etf(10, 8)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 classes"):
        simplex_etf(1, 8)


def naive_sum_of_simplices(sizes: list[int]) -> Tensor:
    """Cosines -1/(n-1) within a simplex of n, and 0 between two."""
    count = sum(sizes)
    owners = [owner for owner, size in enumerate(sizes) for _ in range(size)]
    cosines = torch.zeros(count, count)
    for i in range(count):
        for j in range(count):
            if i == j:
                cosines[i, j] = 1
            elif owners[i] == owners[j]:
                cosines[i, j] = -1 / (sizes[owners[i]] - 1)
    return cosines


@pytest.mark.parametrize(
    ("dim", "sizes"),
    [(1, [2]), (3, [4]), (2, [2, 2]), (3, [3, 2]), (7, [5, 4]), (7, [4, 3, 3]), (5, [2, 2, 2, 2, 2])],
)
def test_sum_of_simplices_has_its_cosines_and_zero_sum(dim: int, sizes: list[int]) -> None:
    prototypes = simplex_sum(sum(sizes), dim)
    assert prototypes.shape == (sum(sizes), dim)
    assert prototypes.dtype == torch.float32
    torch.testing.assert_close(prototypes @ prototypes.T, naive_sum_of_simplices(sizes), atol=2e-6, rtol=0)
    torch.testing.assert_close(prototypes.sum(0), torch.zeros(dim), atol=1e-5, rtol=0)


def test_no_cosine_is_positive_in_a_hundred_classes_of_84_dimensions() -> None:
    prototypes = simplex_sum(100, 84)
    assert (prototypes @ prototypes.T).fill_diagonal_(-1).max() < 1e-6


def test_sum_of_simplices_follows_the_generator_alone() -> None:
    first, again, other = (simplex_sum(6, 4, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


@pytest.mark.parametrize(("num_classes", "dim"), [(4, 4), (9, 4), (3, 1), (1, 1)])
def test_sum_of_simplices_outside_its_domain_says_what_to_use(num_classes: int, dim: int) -> None:
    with pytest.raises(ValueError, match=rf"{dim + 1} to {2 * dim} classes, not {num_classes}: use simplex_etf .*equi"):
        simplex_sum(num_classes, dim)
