from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest
from torch import Tensor

from training.calibration import (
    BINS,
    accuracy_interval,
    calibration,
    calibration_error,
    fitted_temperature,
    nll,
    reliability_bins,
    scaling,
)


def drawn(count: int, classes: int, temperature: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and labels drawn from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, classes, generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


def two_classes(confidence: float) -> list[float]:
    return [math.log(confidence), math.log(1 - confidence)]


@pytest.mark.parametrize(("count", "classes"), [(1, 2), (7, 3), (500, 10)])
def test_bins_error_and_likelihood_equal_a_naive_computation(count: int, classes: int) -> None:
    logits, labels = drawn(count, classes, 1.5)
    bins: dict[int, list[tuple[float, bool]]] = {}
    log_likelihood = 0.0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        exponentials = [math.exp(value) for value in row]
        probabilities = [value / sum(exponentials) for value in exponentials]
        best = max(probabilities)
        (place,) = [m for m in range(BINS) if m / BINS < best <= (m + 1) / BINS]
        bins.setdefault(place, []).append((best, probabilities.index(best) == label))
        log_likelihood += math.log(probabilities[label])
    found = reliability_bins(logits, labels)
    assert [row["bin"] for row in found] == sorted(bins)
    error = 0.0
    for row in found:
        confidences, right = zip(*bins[row["bin"]], strict=True)
        assert row["count"] == len(right)
        assert row["confidence"] == pytest.approx(np.mean(confidences), abs=1e-12)
        assert row["accuracy"] == pytest.approx(np.mean(right), abs=1e-12)
        error += len(right) / count * abs(np.mean(right) - np.mean(confidences))
    assert calibration_error(found) == pytest.approx(error, abs=1e-12)
    assert nll(logits, labels) == pytest.approx(-log_likelihood / count, abs=1e-10)


def test_errors_known_by_hand() -> None:
    logits = torch.tensor([two_classes(0.9)] * 10)
    for wrong, error in ((1, 0.0), (0, 0.1), (10, 0.9)):
        labels = torch.tensor([1] * wrong + [0] * (10 - wrong))
        assert calibration(logits, labels)["ece"] == pytest.approx(error, abs=1e-6)


def test_certainty_and_indifference_fall_into_a_bin() -> None:
    assert [row["bin"] for row in reliability_bins(torch.tensor([[1e4, 0.0]]), torch.tensor([0]))] == [BINS - 1]
    assert [row["bin"] for row in reliability_bins(torch.zeros(1, 15), torch.tensor([0]))] == [0]
    assert [row["bin"] for row in reliability_bins(torch.zeros(1, 100), torch.tensor([0]))] == [0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_scaling_finds_the_temperature_that_labels_were_drawn_at_and_judges_it_on_other_images(
    temperature: float,
) -> None:
    logits, labels = drawn(4001, 5, temperature)
    found = scaling(logits, labels)
    assert found is not None
    assert found["temperature"] == pytest.approx(temperature, rel=0.1)
    assert (found["fitted_images"], found["images"]) == (2000, 2001)
    if temperature != 1:
        assert found["nll_after"] < found["nll_before"]
        assert found["ece_after"] < 0.5 * found["ece_before"]
    assert scaling(logits, labels) == found


def test_no_temperature_is_claimed_where_none_is_the_best() -> None:
    labels = torch.arange(3).repeat(20)
    assert scaling(10 * torch.eye(3)[labels], labels) is None
    assert scaling(torch.eye(3)[:1], torch.tensor([2])) is None
    assert calibration(10 * torch.eye(3)[labels], labels)["scaling"] is None


def test_the_fitted_temperature_is_the_most_likely_one() -> None:
    logits, labels = drawn(300, 4, 2.0)
    found = fitted_temperature(logits, labels, (0.01, 100))
    grid = [0.05 * 1.02**step for step in range(300)]
    assert nll(logits / found, labels) <= min(nll(logits / temperature, labels) for temperature in grid) + 1e-6


def test_the_interval_is_that_of_resampled_images_and_always_the_same() -> None:
    right = np.array([1] * 80 + [0] * 20)
    generator = np.random.default_rng(1)
    naive = np.quantile([generator.choice(right, 100).mean() for _ in range(4000)], [0.025, 0.975])
    assert accuracy_interval(0.8, 100) == pytest.approx(naive, abs=0.011)
    assert accuracy_interval(0.8, 100) == accuracy_interval(0.8, 100)
    low, high = accuracy_interval(0.8, 10_000)
    assert 0.79 < low < 0.8 < high < 0.81


@pytest.mark.parametrize("count", [1, 2, 12, 10_000])
def test_where_all_or_none_are_right_the_interval_is_the_exact_one(count: int) -> None:
    """Bounds at which the count that was seen has a probability of 2.5 %."""
    low, high = accuracy_interval(1.0, count)
    assert (binom.pmf(count, count, low), high) == (pytest.approx(0.025), 1)
    low, high = accuracy_interval(0.0, count)
    assert (low, binom.pmf(0, count, high)) == (0, pytest.approx(0.025))
    assert accuracy_interval(1.0, count) == pytest.approx(binomtest(count, count).proportion_ci(0.95, "exact"))
