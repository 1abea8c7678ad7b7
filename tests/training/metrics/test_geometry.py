from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.training.metrics import naive
from training.metrics import cdnv, effective_rank, etf_cosine_error, gram_distance
from zoo.geometry import simplex_etf


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [2, 5, 12])
def test_gram_distance_is_that_of_its_definition(classes: int) -> None:
    means, target = normal(classes, 7), normal(classes, 4, seed=1)
    expected = naive.gram_distance(means.numpy(), target.numpy())
    assert gram_distance(means, target) == pytest.approx(expected, abs=1e-12)
    expected = naive.gram_distance(means.numpy(), np.eye(classes) - 1 / classes)
    assert gram_distance(means) == pytest.approx(expected, abs=1e-12)


def test_gram_distance_vanishes_at_its_target_in_any_size_and_orientation() -> None:
    assert gram_distance(1e-7 * simplex_etf(10, 16)) < 1e-6
    prototypes = normal(6, 5)
    rotation = torch.linalg.qr(normal(8, 5)).Q
    assert gram_distance(30 * prototypes @ rotation.T, prototypes) < 1e-12
    assert gram_distance(prototypes) > 0.1
    assert gram_distance(torch.zeros(6, 5), prototypes) == pytest.approx(1)


def test_cdnv_is_that_of_its_definition() -> None:
    means, variances = normal(6, 4), normal(6, seed=1).square()
    expected = naive.mean_over_pairs_of_means(list(means.numpy()), variances.tolist())
    assert cdnv(means, variances) == pytest.approx(expected, rel=1e-12)


def test_cdnv_of_classes_on_one_point_says_whether_they_vary() -> None:
    assert cdnv(torch.ones(3, 4), torch.zeros(3)) == 0
    assert cdnv(torch.ones(3, 4), torch.ones(3)) == math.inf


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_only_the_simplex_has_no_cosine_error(classes: int) -> None:
    assert etf_cosine_error(simplex_etf(classes, 16)) < 1e-6
    assert etf_cosine_error(torch.eye(classes)) == pytest.approx(1 / (classes - 1))


def test_effective_rank_counts_equal_directions() -> None:
    covariance = torch.diag(torch.tensor([2.0, 2.0, 2.0, 0.0], dtype=torch.float64))
    assert effective_rank(covariance) == pytest.approx(3, abs=1e-12)
    assert effective_rank(1e-6 * covariance) == pytest.approx(3, abs=1e-12)
    assert effective_rank(1e-13 * covariance) == effective_rank(0 * covariance) == 0
    lifted = effective_rank(covariance, convention="reference")
    assert lifted == pytest.approx(naive.erank(covariance.numpy(), "reference"), abs=1e-12)
    assert lifted > 3


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each of the 3 class means, not the shape \(4, 2\)"):
        gram_distance(torch.ones(3, 2), torch.ones(4, 2))
    for function in (gram_distance, etf_cosine_error):
        with pytest.raises(ValueError, match=r"K >= 2, not \(1, 2\)"):
            function(torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(2,\)"):
        cdnv(torch.ones(3, 2), torch.ones(2))
