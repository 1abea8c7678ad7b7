"""Accuracy of head, medium and tail: the groups, and where they stand in a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.runs import Start, result_of
from training.recipe import Recipe
from training.tails import by_images, by_thirds, class_accuracies, tail_record


def test_the_bounds_of_the_field_are_over_100_and_under_20_images() -> None:
    groups = by_images(np.array([500, 101, 100, 20, 19, 1]))
    assert {name: classes.tolist() for name, classes in groups.items()} == {
        "head": [0, 1],
        "medium": [2, 3],
        "tail": [4, 5],
    }


def test_thirds_go_by_frequency_and_not_by_label() -> None:
    groups = by_thirds(np.array([1, 7, 7, 3, 900, 2, 8]))
    assert {name: classes.tolist() for name, classes in groups.items()} == {
        "head": [4, 6, 1],
        "medium": [2, 3],
        "tail": [5, 0],
    }


def test_a_group_has_the_mean_over_its_classes_and_an_empty_one_is_left_out() -> None:
    # By hand: class 0 has 1 of 2 right, class 1 has 3 of 3, class 2 none of 1, class 3 no test image.
    labels = np.array([0, 0, 1, 1, 1, 2])
    accuracies = class_accuracies(np.array([True, False, True, True, True, False]), labels, 4)
    assert accuracies[:3].tolist() == [0.5, 1.0, 0.0]
    assert np.isnan(accuracies[3])
    record = tail_record(np.array([200, 150, 10, 5]), {"cosine": accuracies, "bayes": 1 - accuracies})
    assert record["training_images"] == {"largest": 200, "smallest": 5}
    assert record["by_readout"]["cosine"]["by_images"] == {
        "head": {"classes": 2, "accuracy": 0.75},
        "tail": {"classes": 1, "accuracy": 0.0},
    }
    assert record["by_readout"]["bayes"]["by_images"]["head"] == {"classes": 2, "accuracy": 0.25}
    assert record["by_readout"]["cosine"]["by_thirds"]["head"] == {"classes": 2, "accuracy": 0.75}


@pytest.fixture(scope="module")
def long_tailed_run(start: Start, tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tails") / "run"
    start(tiny(epochs=1, imbalance=0.1), out)
    return out


def test_a_long_tailed_run_records_both_readouts(long_tailed_run: Path) -> None:
    metrics = result_of(long_tailed_run)["metrics"]
    tail = metrics["test_accuracy_long_tail"]
    # 20, 6 and 2 training images of blue, green and red.
    assert tail["training_images"] == {"largest": 20, "smallest": 2}
    assert tail["images_per_class"] == {"blue": 20, "green": 6, "red": 2}
    assert list(tail["by_readout"]) == ["cosine", "bayes"]
    per_class = metrics["test_accuracy_per_class"]
    found = tail["by_readout"]["cosine"]
    assert found["by_images"] == {
        "medium": {"classes": 1, "accuracy": per_class["blue"]},
        "tail": {"classes": 2, "accuracy": pytest.approx((per_class["green"] + per_class["red"]) / 2)},
    }
    assert [found["by_thirds"][name]["accuracy"] for name in ("head", "medium", "tail")] == list(per_class.values())


def test_a_balanced_run_records_none(undisturbed: Path) -> None:
    assert "test_accuracy_long_tail" not in result_of(undisturbed)["metrics"]
