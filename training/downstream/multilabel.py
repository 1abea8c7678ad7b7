"""Images with several classes each: prototypes, one-vs-rest linear probes, and mean average precision.

Targets are (N, K) int64: 1 where an image shows the class, 0 where it does not, -1 where it counts neither way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.probes import ClosedForm, FixedFeatures, LinearClassifier, closed_form

# Of the data against the penalty: scikit-learn's C.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_RESAMPLES = 1000
_SEED = 0


def multilabel_prototypes(features: Tensor, targets: Tensor, kind: FixedFeatures) -> ClosedForm:
    """:func:`training.probes.closed_form`, where an image (N, d) counts for each of its classes.

    Raises:
        ValueError: the features of a class are not finite, cancel, or do not vary.
    """
    images, classes = (targets == 1).nonzero(as_tuple=True)
    return closed_form(features[images], classes, targets.shape[1], kind)


def one_vs_rest(features: Tensor, targets: Tensor, *, seed: int) -> LinearClassifier:
    """A logistic regression for each class on standardised features, of images that count for the class.

    The strength of the L2 penalty is the same for all classes: the one of five with the best mean average precision on
    a random fifth of the images, after which all of them are fitted again.

    Args:
        features: (N, d).
        targets: (N, K).
        seed: of the choice of the fifth.

    Returns:
        weight (K, d) and bias (K,), float32, on the features' device, for features as they are.

    Source: Kornblith et al. 2019 (arXiv 1805.08974), whose penalty too is chosen on validation images.
    """
    rows, truth = features.cpu().numpy().astype(np.float64), targets.cpu().numpy()
    centre, scale = rows.mean(0), rows.std(0)
    scale[scale == 0] = 1
    rows = (rows - centre) / scale
    order = np.random.default_rng(seed).permutation(len(rows))
    held_out, rest = order[: len(order) // 5], order[len(order) // 5 :]

    def precision(strength: float) -> float:
        weight, bias = _fitted(rows[rest], truth[rest], strength)
        return mean_average_precision(rows[held_out] @ weight.T + bias, truth[held_out])

    weight, bias = _fitted(rows, truth, max(_STRENGTHS, key=precision))
    weight = weight / scale
    tensors = (torch.from_numpy(found).float().to(features.device) for found in (weight, bias - weight @ centre))
    return LinearClassifier(*tensors)


def _fitted(
    rows: NDArray[np.float64], truth: NDArray[np.int64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.linear_model import LogisticRegression

    def fit(column: NDArray[np.int64]) -> LogisticRegression:
        known = column >= 0
        return LogisticRegression(C=strength, max_iter=1000).fit(rows[known], column[known])

    models = [fit(column) for column in truth.T]
    return np.concatenate([model.coef_ for model in models]), np.concatenate([model.intercept_ for model in models])


def average_precisions(
    scores: NDArray[np.floating], truth: NDArray[np.int64], counts: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Average precision of every class by the rule of VOC 2007.

    It is the mean, over the recalls 0, 0.1, ..., 1, of the largest precision at that recall or a higher one. Later
    years of VOC, and scikit-learn, take the area under the curve instead: what is published for VOC 2007 is this.

    Args:
        scores: (N, K).
        truth: (N, K) targets.
        counts: (N,) times that each image counts; None: once.

    Returns:
        (K,), NaN for a class without images.

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    found = np.take_along_axis(truth, order, 0)
    return np.array(list(_by_class(order, found, np.ones(len(scores), np.int64) if counts is None else counts)))


def _by_class(order: NDArray[np.int64], found: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[float]:
    times = counts[order]
    hits, misses = (np.cumsum(times * (found == value), axis=0) for value in (1, 0))
    precision = hits / np.maximum(hits + misses, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    for label, column in enumerate(hits.T):
        # In integers, as 0.1 * 3 is above 0.3.
        first = np.searchsorted(10 * column, np.arange(11) * column[-1])
        yield float(best[first, label].mean()) if column[-1] else float("nan")


def mean_average_precision(scores: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Mean of :func:`average_precisions` over the classes that have images."""
    return float(np.nanmean(average_precisions(scores, truth)))


def precision_interval(scores: NDArray[np.floating], truth: NDArray[np.int64]) -> list[float]:
    """95 % percentile bootstrap interval, low and high, of :func:`mean_average_precision`.

    1,000 resamples of the images, always the same.
    """
    generator, size = np.random.default_rng(_SEED), len(scores)
    order = np.argsort(-scores, axis=0, kind="stable")
    found = np.take_along_axis(truth, order, 0)
    means = [
        np.nanmean(list(_by_class(order, found, np.bincount(generator.integers(size, size=size), minlength=size))))
        for _ in range(_RESAMPLES)
    ]
    return [float(value) for value in np.quantile(means, [0.025, 0.975])]
