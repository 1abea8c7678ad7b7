from __future__ import annotations

import doctest
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import zoo
import zoo.estimator
from training.prototypes import class_means
from zoo import NearestPrototype


@parametrize_with_checks([NearestPrototype()])
def test_it_is_an_estimator_of_scikit_learns(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.fixture
def embeddings() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(["ant", "bee", "cat"], 20))
    centres = {"ant": [3.0, 0, 0, 1], "bee": [0, 2.0, 0, 1], "cat": [0, 0, 5.0, 1]}
    rows = np.array([centres[label] for label in labels]) + generator.normal(scale=0.5, size=(60, 4))
    return rows.astype(np.float32), labels


def test_prototypes_are_the_trainers_class_means(embeddings: tuple[Any, Any]) -> None:
    import torch

    rows, labels = embeddings
    found = NearestPrototype().fit(rows, labels)
    index = np.searchsorted(found.classes_, labels)
    expected = class_means(torch.from_numpy(rows), torch.from_numpy(index), 3)
    np.testing.assert_allclose(found.prototypes_, expected.numpy(), atol=1e-6)
    assert found.classes_.tolist() == ["ant", "bee", "cat"]
    assert found.score(rows, labels) == 1


def test_parts_in_any_order_give_the_whole_and_bring_new_classes(embeddings: tuple[Any, Any]) -> None:
    rows, labels = embeddings
    whole, parts = NearestPrototype().fit(rows, labels), NearestPrototype()
    for name in ("cat", "ant", "bee"):
        parts.partial_fit(rows[labels == name], labels[labels == name])
    np.testing.assert_allclose(parts.prototypes_, whole.prototypes_, atol=1e-12)
    assert parts.counts_.tolist() == [20, 20, 20]
    # Longer names than any before it are kept whole.
    parts.partial_fit([[0, 0, 0, -1.0]], ["dragonfly"])
    assert parts.predict([[0, 0, 0, -2.0]]).tolist() == ["dragonfly"]


def test_fit_forgets_what_was(embeddings: tuple[Any, Any]) -> None:
    rows, labels = embeddings
    found = NearestPrototype().fit(rows[:, :2], labels == "ant").fit(rows, labels)
    assert found.prototypes_.shape == (3, 4)


def test_probabilities_are_the_softmax_of_cosines_over_the_temperature(embeddings: tuple[Any, Any]) -> None:
    rows, labels = embeddings
    found = NearestPrototype(temperature=0.1).fit(rows, labels)
    logits = found.cosines(rows) / 0.1
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.predict_proba(rows), expected, rtol=1e-9)
    assert (found.cosines(rows) <= 1 + 1e-12).all()
    with pytest.raises(ValueError, match="temperature must be positive"):
        NearestPrototype(temperature=0).fit(rows, labels)


def test_numbers_do_not_become_texts_where_texts_follow() -> None:
    found = NearestPrototype().fit(np.eye(2), [0, 1])
    with pytest.raises(ValueError, match="labels are all numbers or all texts, not 0 and 'ant'"):
        found.partial_fit([[1.0, 1.0]], ["ant"])
    assert found.predict([[1.0, 0.0]]).tolist() == [0]
    with pytest.raises(ValueError, match="all numbers or all texts"):
        NearestPrototype().partial_fit(np.eye(2), ["ant", "bee"], classes=[0, 1])


def test_a_class_that_is_announced_is_no_answer_before_it_comes() -> None:
    found = NearestPrototype().partial_fit([[1.0, 0]], ["ant"], classes=["ant", "bee"])
    assert found.predict([[-1.0, 0]]).tolist() == ["ant"]
    assert found.predict_proba([[-1.0, 0]]).tolist() == [[1, 0]]


def test_it_works_in_pipelines_and_cross_validation(embeddings: tuple[Any, Any]) -> None:
    pipeline = make_pipeline(StandardScaler(), zoo.NearestPrototype())
    assert cross_val_score(pipeline, *embeddings, cv=3).min() > 0.9


def test_the_example_in_the_documentation_holds() -> None:
    assert doctest.testmod(zoo.estimator).failed == 0
    assert doctest.testmod(zoo.estimator).attempted > 0
