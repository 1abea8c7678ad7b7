import pytest
import torch

from zoo.geometry import simplex_etf


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (2, 3), (3, 2), (10, 9), (10, 64), (100, 128)])
def test_simplex_has_unit_rows_equal_cosines_and_zero_sum(num_classes, dim):
    prototypes = simplex_etf(num_classes, dim)
    assert prototypes.shape == (num_classes, dim)
    assert prototypes.dtype == torch.float32
    expected = torch.full((num_classes, num_classes), -1 / (num_classes - 1)).fill_diagonal_(1)
    torch.testing.assert_close(prototypes @ prototypes.T, expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(prototypes.sum(0), torch.zeros(dim), atol=1e-5, rtol=0)


def test_orientation_follows_the_generator_alone():
    first, again, other = (simplex_etf(5, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_orientation_is_uniform_and_not_tied_to_the_axes():
    # Of a Haar rotation every coordinate of a row has mean 0 and mean square 1/d; QR without its signs has not.
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([simplex_etf(4, 3, generator=generator) for _ in range(2000)])
    torch.testing.assert_close(rows.mean(0), torch.zeros(4, 3), atol=0.06, rtol=0)
    torch.testing.assert_close((rows**2).mean(0), torch.full((4, 3), 1 / 3), atol=0.04, rtol=0)


def test_too_few_dimensions_say_what_to_use_instead():
    with pytest.raises(ValueError, match=r"no simplex of 10 classes exists in 8 dimensions.*embed_dim=9"):
        simplex_etf(10, 8)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least 2 classes"):
        simplex_etf(1, 8)
