"""Average precision against a naive count, and classifiers of images with several classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from training.downstream.multilabel import (
    average_precisions,
    mean_average_precision,
    multilabel_prototypes,
    one_vs_rest,
    precision_interval,
)


def naive(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """As the devkit says it: at every recall the best precision of all thresholds that reach it."""
    ranked = [int(truth[index]) for index in np.argsort(-scores) if truth[index] >= 0]
    points = []
    for tenths in range(11):
        reached = [0.0]
        for cut in range(1, len(ranked) + 1):
            hits = sum(ranked[:cut])
            if 10 * hits >= tenths * sum(ranked):
                reached.append(hits / cut)
        points.append(max(reached))
    return sum(points) / 11


@pytest.fixture
def drawn() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores that know something, and targets of which a tenth counts neither way."""
    generator = np.random.default_rng(0)
    truth = generator.choice([-1, 0, 1], (80, 5), p=[0.1, 0.6, 0.3])
    return generator.normal(size=(80, 5)) + truth, truth


def test_average_precision_is_the_devkits(drawn: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    scores, truth = drawn
    expected = [naive(*pair) for pair in zip(scores.T, truth.T, strict=True)]
    assert average_precisions(scores, truth) == pytest.approx(expected, abs=1e-12)
    assert mean_average_precision(scores, truth) == pytest.approx(np.mean(expected))
    known = truth[:, 0] >= 0
    assert average_precision_score(truth[known, 0], scores[known, 0]) != pytest.approx(expected[0], abs=1e-3)


def test_average_precision_by_hand() -> None:
    # Ranked: hit, miss, hit. Up to a recall of 1/2 (6 of the 11) the precision is 1, above it 2/3.
    scores, truth = np.array([[3.0], [2.0], [1.0]]), np.array([[1], [0], [1]])
    assert average_precisions(scores, truth) == pytest.approx([(6 + 5 * 2 / 3) / 11])
    ignored = average_precisions(np.array([[4.0], *scores]), np.array([[-1], *truth]))
    assert ignored == pytest.approx([(6 + 5 * 2 / 3) / 11])
    assert np.isnan(average_precisions(scores, 0 * truth)).all()


def test_an_image_that_counts_twice_is_two_images(drawn: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    scores, truth = drawn
    counts = np.random.default_rng(1).integers(0, 3, len(scores))
    repeated = average_precisions(np.repeat(scores, counts, axis=0), np.repeat(truth, counts, axis=0))
    assert average_precisions(scores, truth, counts) == pytest.approx(repeated)


def test_the_interval_is_around_the_value_and_always_the_same(
    drawn: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    low, high = precision_interval(*drawn)
    assert low < mean_average_precision(*drawn) < high
    assert precision_interval(*drawn) == [low, high]


def test_one_vs_rest_finds_the_classes_and_leaves_out_what_does_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    # One feature never varies and one has another scale than the others.
    features = torch.randn(300, 6, generator=generator) * torch.tensor([1.0, 1, 1, 1, 1000, 0])
    targets = (features[:, [0, 1, 4]] > torch.tensor([0.0, 0.5, -500.0])).long()
    shown = targets[:, 0] == 1
    hidden = shown & (torch.arange(300) % 3 > 0)
    # Two thirds of the images of the first class: taken for images without it, they would be classified so.
    targets[hidden, 0] = -1
    classifier = one_vs_rest(features, targets, seed=0)
    assert (classifier.weight.shape, classifier.bias.shape) == ((3, 6), (3,))
    scores = classifier(features)
    assert (scores[hidden, 0] > 0).float().mean() > 0.5
    assert mean_average_precision(scores.numpy(), targets.numpy()) > 0.98


def test_an_image_counts_for_the_prototype_of_each_of_its_classes() -> None:
    features = torch.eye(3)
    targets = torch.tensor([[1, 1], [0, 1], [1, -1]])
    classifier = multilabel_prototypes(features, targets, "encoder")
    expected = torch.tensor([[1.0, 0, 1], [1, 1, 0]]) / 2**0.5
    torch.testing.assert_close(classifier(torch.eye(3)).T, expected)
