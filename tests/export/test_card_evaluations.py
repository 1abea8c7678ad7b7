"""What a card says of evaluations that were added after the training."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from export.card import render_card
from tests.training.evaluation_records import corruptions_of, probe_of, prototypes_of, transfer_of
from zoo.bundle import Bundle


@pytest.fixture
def config(digits_bundle: Bundle) -> dict[str, Any]:
    return copy.deepcopy(dict(digits_bundle.config))


def test_a_transfer_whose_cost_was_not_measured_has_no_seconds(config: dict[str, Any], digits_bundle: Bundle) -> None:
    found = transfer_of(digits_bundle)
    for one in found["sets"]:
        del one["cost"]
    config["protozoo"]["evaluations"] = [found]
    card = render_card(config)
    assert "| 37.50 % |\n| prototypes (whitened)" in card
    assert "seconds are those of the classifiers" not in card


def test_the_baseline_of_a_transfer_is_named_and_compared(config: dict[str, Any], digits_bundle: Bundle) -> None:
    relative = {"linear": {"sets": [0.25, None], "mean": -0.0625}, "whitened": {"sets": [0.0, 0.5], "mean": 1.5}}
    baseline = {"model": "proto.ce", "weights_sha256": "f" * 64, "relative": relative}
    config["protozoo"]["evaluations"] = [transfer_of(digits_bundle, baseline=baseline)]
    card = render_card(config)
    assert "Compared with `proto.ce` (weights ffffffffffffffff), relative" in card
    assert "| 1.00 |\n| linear probe, relative to the other | +25.00 % |  | -6.25 % | |\n| prototypes (w" in card
    last = "| 1.00 |\n| prototypes (whitened), relative to the other | +0.00 % | +50.00 % | +150.00 % | |\n\n- "
    assert last in card


def test_seconds_of_other_devices_are_not_compared(config: dict[str, Any], digits_bundle: Bundle) -> None:
    there = {"passes": 1, "images": 60, "seconds": 0.5, "device": "cuda"}
    config["protozoo"]["evaluations"] = [probe_of(digits_bundle), prototypes_of(digits_bundle, cost=there)]
    assert "| 30.00 (cpu) | not measured |\n| fixed prototypes (projection) | " in render_card(config)


def test_head_medium_and_tail_stand_in_the_card_with_their_definition(config: dict[str, Any]) -> None:
    record = config["protozoo"]
    names = ("test_accuracy", "test_accuracy_interval", "test_calibration")
    metrics = {name: record["metrics"][name] for name in names}
    groups = {"head": {"classes": 2, "accuracy": 0.75}, "tail": {"classes": 1, "accuracy": 0.125}}
    tail = {"definition": "by hand", "by_readout": {"bayes": {"by_images": groups}}}
    one = {"kind": "test", "command": "c", "data": "one", "test_images": 7, **metrics}
    record["evaluations"] = [one, {**one, "data": "two", "test_accuracy_long_tail": tail}]
    card = render_card(config)
    assert "| head by images | not measured | 75.00 % (2 classes) |\n" in card
    assert "| tail by images | not measured | 12.50 % (1 class) |\n" in card
    assert "Head, medium and tail: by hand." in card


def test_a_card_says_where_an_interval_is_exact(config: dict[str, Any], digits_bundle: Bundle) -> None:
    record, note = config["protozoo"], "; exact (Clopper and Pearson) where all or none are right"
    metrics = record["metrics"]
    test = {"kind": "test", "command": "c", "data": "one", "test_images": 12}
    test |= {name: metrics[name] for name in ("test_accuracy", "test_accuracy_interval", "test_calibration")}
    record["evaluations"] = [test, transfer_of(digits_bundle), probe_of(digits_bundle)]
    assert note not in render_card(config)
    exact = {"test_accuracy": 1, "test_accuracy_interval": [0.74, 1]}
    metrics |= exact
    assert f"over 1,000 resamples of them{note}.\n" in render_card(config)
    test |= exact
    assert f"| its 95 % bootstrap interval{note} | 74.00 % to 100.00 % |" in render_card(config)
    record["evaluations"][1]["sets"][0]["methods"]["whitened"] |= {"value": 0, "interval": [0, 0.26]}
    assert (
        f"Prototypes are class means in closed form. The 95 % bootstrap intervals are over the test images{note}."
        in (render_card(config))
    )
    record["evaluations"][2] |= exact
    assert f"are over the test images{note}; the last column" in render_card(config)


def test_a_card_of_prototypes_alone_speaks_of_no_training(config: dict[str, Any], digits_bundle: Bundle) -> None:
    found = transfer_of(digits_bundle, means={"whitened": 0.5}, settings={"methods": ["whitened"], "shots": 5})
    config["protozoo"]["evaluations"] = [found]
    card = render_card(config)
    assert "without augmentation, of at most 5 training images a class.\nPrototypes are class means" in card
    assert "epochs of SGD" not in card


def test_a_baseline_is_named_and_normalises(config: dict[str, Any], digits_bundle: Bundle) -> None:
    baseline = {
        "model": "proto.ce",
        "weights_sha256": "f" * 64,
        "ce": {"fog": 0.5, "snow": 1.25},
        "mce": 0.875,
        "relative_ce": {"fog": 0.4, "snow": None},
        "relative_mce": None,
    }
    config["protozoo"]["evaluations"] = [{"kind": "corruptions", **corruptions_of(digits_bundle, baseline=baseline)}]
    card = render_card(config)
    assert "Normalised by `proto.ce`\n(weights ffffffffffffffff): mCE 87.50 %; 100 % is that model's own." in card
    assert "| fog | 10.00 % | 30.00 % | 20.00 % | 50.00 % |\n| snow |" in card
    assert "| --- | ---: | ---: | ---: | ---: |\n| fog" in card


def test_a_bundle_without_test_images_of_its_own_shows_what_was_measured_of_it_later(config: dict[str, Any]) -> None:
    record = config["protozoo"]
    record["data"]["examples_per_class"] = dict.fromkeys(config["label_names"], 3)
    record["base"] = {"name": "base", "weights_sha256": "f" * 64, "objective": "nonl", "data": record["data"]}
    assert "Its accuracy was not measured on any data" in render_card(config)
    metrics = {
        name: record["metrics"][name] for name in ("test_accuracy", "test_accuracy_interval", "test_calibration")
    }
    record["evaluations"] = [{"kind": "test", "command": "c", "data": "later", "test_images": 7, **metrics}]
    card = render_card(config)
    assert "see the evaluations below" in card
    assert "| | later |\n| --- | ---: |\n| test images | 7 |\n" in card
    assert "not measured |" not in card.partition("## Evaluations")[2]
    assert "Its accuracy was not measured" not in card
