"""What a card says of frequent and rare classes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from export.card import render_card
from training.tails import tail_record
from zoo.bundle import Bundle


@pytest.fixture
def config(digits_bundle: Bundle) -> dict[str, Any]:
    return copy.deepcopy(dict(digits_bundle.config))


def test_the_card_of_a_long_tailed_training_tables_its_groups(config: dict[str, Any]) -> None:
    assert "long-tailed" not in render_card(config)
    counts = np.array([500, 300, 150, 90, 60, 40, 25, 15, 9, 5])
    accuracies = {"cosine": np.linspace(1, 0.1, 10), "bayes": np.full(10, 0.5)}
    config["protozoo"]["metrics"]["test_accuracy_long_tail"] = tail_record(counts, accuracies)
    card = render_card(config)
    assert "long-tailed, 500 to 5 images a class" in card
    assert (
        "| classes | readout `cosine` | readout `bayes` |\n| --- | ---: | ---: |\n| head by images, 3 classes |" in card
    )
    assert "| head by images, 3 classes | 90.00 % | 50.00 % |\n| medium by images, 4 classes |" in card
    assert "| tail by thirds, 3 classes | 20.00 % | 50.00 % |\n\nHow far" in card
