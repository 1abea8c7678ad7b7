"""How far a model's probabilities can be believed, and how far its measured accuracy.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

BINS = 15
_RESAMPLES = 1000
_SEED = 0
_TEMPERATURES = (0.01, 100.0)


def calibration(logits: Tensor, labels: Tensor) -> dict[str, Any]:
    """What a record says about probabilities, which are softmax(logits).

    Args:
        logits: (N, K) of images that training did not see.
        labels: (N,) int64.

    Returns:
        "ece" and "bins" (see :func:`reliability_bins`), "nll" in nats, and "scaling" (see :func:`scaling`).
    """
    logits = logits.double()
    bins = reliability_bins(logits, labels)
    return {
        "ece": calibration_error(bins),
        "nll": nll(logits, labels),
        "bins": bins,
        "scaling": scaling(logits, labels),
    }


def reliability_bins(logits: Tensor, labels: Tensor) -> list[dict[str, Any]]:
    """Images by the probability of their most probable class, in 15 bins of equal width.

    Args:
        logits: (N, K).
        labels: (N,).

    Returns:
        For each bin that is not empty its "bin" m, for probabilities in (m / 15, (m + 1) / 15], "count", mean
        "confidence" and "accuracy".
    """
    confidences, predictions = logits.double().softmax(1).max(1)
    correct = (predictions == labels).double()
    index = ((confidences * BINS).ceil() - 1).clamp(0, BINS - 1).long()
    counts, sums, hits = (torch.bincount(index, weights, BINS).tolist() for weights in (None, confidences, correct))
    return [
        {"bin": m, "count": counts[m], "confidence": sums[m] / counts[m], "accuracy": hits[m] / counts[m]}
        for m in range(BINS)
        if counts[m]
    ]


def calibration_error(bins: Sequence[Mapping[str, Any]]) -> float:
    """Expected calibration error: the mean over images of the gap of accuracy and confidence in their bin."""
    gaps = (row["count"] * abs(row["accuracy"] - row["confidence"]) for row in bins)
    return float(sum(gaps) / sum(row["count"] for row in bins))


def nll(logits: Tensor, labels: Tensor, doubt: float = 0.0) -> float:
    """Mean negative log-likelihood of the labels (N,) under softmax(logits), (N, K), in nats.

    Args:
        logits: (N, K).
        labels: (N,).
        doubt: share of every label that is spread over all classes.
    """
    return float(F.cross_entropy(logits.double(), labels, label_smoothing=doubt))


def scaling(logits: Tensor, labels: Tensor) -> dict[str, Any] | None:
    """What temperature scaling would do: fitted on a random half of the images, always the same, judged on the other.

    Args:
        logits: (N, K).
        labels: (N,).

    Returns:
        "temperature", by which to divide the logits, "fitted_images", and of the other half "images", "ece_before",
        "ece_after", "nll_before", "nll_after". None where no temperature is the best: all images of the half are
        classified rightly, or there are none.
    """
    order = torch.from_numpy(np.random.default_rng(_SEED).permutation(len(labels)))
    fitted, judged = order[: len(order) // 2], order[len(order) // 2 :]
    if bool((logits[fitted].argmax(1) == labels[fitted]).all()):
        return None
    temperature = fitted_temperature(logits[fitted], labels[fitted], _TEMPERATURES)
    before, truth = logits[judged].double(), labels[judged]
    after = before / temperature
    return {
        "temperature": temperature,
        "fitted_images": len(fitted),
        "images": len(judged),
        "ece_before": calibration_error(reliability_bins(before, truth)),
        "ece_after": calibration_error(reliability_bins(after, truth)),
        "nll_before": nll(before, truth),
        "nll_after": nll(after, truth),
    }


def fitted_temperature(scores: Tensor, labels: Tensor, bounds: tuple[float, float], doubt: float = 0.0) -> float:
    """The temperature at which softmax(scores / temperature) gives the labels the largest likelihood.

    Args:
        scores: (N, K), logits or cosines.
        labels: (N,).
        bounds: between which to look.
        doubt: see :func:`nll`.

    Returns:
        A number within the bounds, to four digits.
    """
    scores = scores.double()

    def loss(log_temperature: float) -> float:
        return nll(scores / math.exp(log_temperature), labels, doubt)

    low, high = (math.log(value) for value in bounds)
    return float(f"{math.exp(minimize_scalar(loss, bounds=(low, high), method='bounded').x):.4g}")


def accuracy_interval(accuracy: float, count: int) -> list[float]:
    """95 % interval, low and high, of an accuracy in [0, 1] that ``count`` images gave.

    By percentile bootstrap, 1,000 resamples, always the same. Where all images are right, or none, resamples are all
    alike, and the other bound is Clopper and Pearson's: the accuracy at which that has a probability of 2.5 %. It tells
    how much the choice of test images matters, not that of the seed.

    Source: of the exact bounds, Clopper and Pearson 1934, "The use of confidence or fiducial limits".
    """
    if accuracy in (0, 1):
        beyond = 0.025 ** (1 / count)
        return [beyond, 1.0] if accuracy else [0.0, 1 - beyond]
    # How many of n images drawn with replacement are right is binomial: no need to draw the images.
    accuracies = np.random.default_rng(_SEED).binomial(count, accuracy, _RESAMPLES) / count
    return [float(value) for value in np.quantile(accuracies, [0.025, 0.975])]
