"""Prototypes of features in closed form: nothing is trained."""

from __future__ import annotations

from typing import Literal

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from training.probes.classifiers import CosineClassifier, LinearClassifier, WhitenedClassifier
from training.prototypes import class_means

FixedFeatures = Literal["projection", "encoder", "whitened"]
ClosedForm = CosineClassifier | WhitenedClassifier

# A direction in which no class varies would be stretched without bound.
_SMALLEST_SHARE = 1e-6


def whitening(features: Tensor, labels: Tensor, num_classes: int) -> LinearClassifier:
    r"""The linear map after which the scatter within classes is the same in all directions.

    .. math:: x \mapsto \Sigma_W^{-1/2} (x - \bar m), \qquad \bar m = \frac{1}{K} \sum_c m_c

    with :math:`m_c` the class means and :math:`\Sigma_W` the pooled covariance about them, shrunk towards a multiple of
    the identity as far as few images make it uncertain. With fewer than two images a class it is the covariance about
    the mean of all: so few residuals about class means span next to nothing.

    Args:
        features: (N, d).
        labels: (N,) in [0, K), every class present.
        num_classes: K.

    Returns:
        weight (d, d), symmetric, and bias (d,), float32, on the features' device.

    Raises:
        ValueError: the features do not vary.

    Source: Fisher's linear discriminant; the shrinkage of Ledoit & Wolf 2004.
    """
    rows, labels = features.detach().cpu().double(), labels.cpu()
    counts = torch.bincount(labels, minlength=num_classes).clamp_min(1)
    means = torch.zeros(num_classes, rows.shape[1], dtype=torch.float64).index_add_(0, labels, rows) / counts[:, None]
    centre = means.mean(0)
    residuals = rows - (means[labels] if len(rows) >= 2 * num_classes else centre)
    covariance, _ = ledoit_wolf(residuals.numpy(), assume_centered=True)
    values, vectors = torch.linalg.eigh(torch.from_numpy(covariance))
    largest = float(values[-1])
    if not largest > 0:
        raise ValueError("the features of a class do not differ: there is no scatter to whiten")
    weight = vectors * values.clamp_min(_SMALLEST_SHARE * largest).rsqrt() @ vectors.T
    # The scale means nothing on the sphere; of this one the features keep their order of magnitude.
    weight = weight * largest**0.5
    return LinearClassifier(weight.float().to(features.device), (-weight @ centre).float().to(features.device))


def closed_form(features: Tensor, labels: Tensor, num_classes: int, kind: FixedFeatures) -> ClosedForm:
    """Unit means of the classes' unit features, of the features as they are or whitened.

    Args:
        features: (N, d), of the projection for "projection", else of the encoder.
        labels: (N,) in [0, K), every class present.
        num_classes: K.
        kind: "whitened" to whiten them first.

    Raises:
        ValueError: the features of a class are not finite, cancel, or do not vary.
    """
    if kind != "whitened":
        return CosineClassifier(class_means(features, labels, num_classes), temperature=1.0)
    projection = whitening(features, labels, num_classes)
    prototypes = class_means(projection(features), labels, num_classes)
    return WhitenedClassifier(projection, CosineClassifier(prototypes, temperature=1.0))
