from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from training.probes import WhitenedClassifier, closed_form, whitening


def stretched(count: int, seed: int, classes: int = 4, dim: int = 6) -> tuple[Tensor, Tensor]:
    """Classes that differ in directions of little scatter, and scatter in one that tells nothing."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(99).normal(size=(classes, dim)) * np.array([0.0, *[0.3] * (dim - 1)])
    noise = generator.normal(size=(count, dim)) * np.array([10.0, *[0.2] * (dim - 1)])
    return torch.from_numpy(centres[labels] + noise + 3).float(), torch.from_numpy(labels)


def test_whitening_is_the_inverse_root_of_the_shrunk_scatter_within_classes() -> None:
    features, labels = stretched(40, seed=0)
    found = whitening(features, labels, 4)
    rows = features.double().numpy()
    means = np.stack([rows[labels.numpy() == label].mean(0) for label in range(4)])
    shrunk = LedoitWolf(assume_centered=True).fit(rows - means[labels.numpy()]).covariance_
    root = np.linalg.inv(np.real(scipy.linalg.sqrtm(shrunk)))
    scale = found.weight.double().numpy() / root
    np.testing.assert_allclose(scale, scale[0, 0], rtol=1e-3)
    np.testing.assert_allclose(
        found(features).double().numpy(), (rows - means.mean(0)) @ root.T * scale[0, 0], rtol=1e-3, atol=1e-3
    )


def test_one_image_of_a_class_is_whitened_by_the_scatter_about_all() -> None:
    features, labels = stretched(4, seed=0)
    rows = features.double().numpy()
    shrunk = LedoitWolf(assume_centered=True).fit(rows - rows.mean(0)).covariance_
    found = whitening(features, labels, 4).weight.double().numpy()
    product = found @ shrunk @ found.T
    np.testing.assert_allclose(product / product[0, 0], np.eye(6), atol=1e-3)


def test_whitened_means_see_through_scatter_that_tells_nothing() -> None:
    train, test = stretched(4000, seed=0), stretched(200, seed=1)

    def accuracy(kind: str) -> float:
        answers = closed_form(*train, 4, kind)(test[0]).argmax(1)  # type: ignore[arg-type]
        return float((answers == test[1]).double().mean())

    assert accuracy("whitened") > 0.9
    assert accuracy("encoder") < 0.6


def test_prototypes_of_whitened_features_are_their_unit_class_means() -> None:
    features, labels = stretched(80, seed=0)
    found = closed_form(features, labels, 4, "whitened")
    assert isinstance(found, WhitenedClassifier)
    rows = found.projection(features)
    rows = rows / rows.norm(dim=1, keepdim=True)
    for label in range(4):
        mean = rows[labels == label].mean(0)
        torch.testing.assert_close(found.prototypes.weight[label], mean / mean.norm(), atol=1e-5, rtol=1e-5)


def test_features_without_scatter_are_refused() -> None:
    with pytest.raises(ValueError, match="no scatter to whiten"):
        closed_form(torch.eye(3).repeat(2, 1), torch.arange(3).repeat(2), 3, "whitened")


def test_a_direction_without_scatter_is_not_stretched_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def unshrunk(rows: np.ndarray[Any, Any], assume_centered: bool) -> tuple[np.ndarray[Any, Any], float]:
        assert assume_centered
        return rows.T @ rows / len(rows), 0.0

    # Of the package it is the function of that name.
    monkeypatch.setattr(sys.modules["training.probes.closed_form"], "ledoit_wolf", unshrunk)
    features, labels = stretched(80, seed=0)
    flat = torch.cat([features, torch.zeros(80, 1)], dim=1)
    assert float(whitening(flat, labels, 4).weight.diagonal().max()) == pytest.approx(1000, rel=1e-3)


def test_classes_weigh_alike_in_the_centre_whatever_their_images() -> None:
    features, labels = stretched(80, seed=0)
    few = torch.cat([(labels == label).nonzero()[: 3 + 5 * label, 0] for label in range(4)])
    rows, found = features[few], whitening(features[few], labels[few], 4)
    means = torch.stack([rows[labels[few] == label].double().mean(0) for label in range(4)])
    torch.testing.assert_close(found(means.mean(0).float()), torch.zeros(6), atol=1e-3, rtol=0)


def test_one_image_more_than_classes_does_not_turn_the_whitening() -> None:
    features, labels = stretched(4, seed=0)
    twice = whitening(torch.cat([features, features[:1]]), torch.cat([labels, labels[:1]]), 4)
    weight = whitening(features, labels, 4).weight
    assert float(torch.cosine_similarity(twice.weight.flatten(), weight.flatten(), dim=0)) > 0.9
