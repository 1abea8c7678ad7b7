"""What the card says of the model that another goes on from."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from export.card import render_card
from zoo.bundle import find

NAME = "proto_resnet20_cifar.nonl_cifar10"
TRAINING = "protozoo train ce_cifar10 --data cifar10-jpeg --out RUN --seed 1"
BASE = {
    "name": "proto_resnet18.ce_imagenet1k",
    "weights_sha256": "0123456789abcdef" * 4,
    "objective": "ce",
    "data": {"name": "ImageNet-1k", "license": "not stated"},
    "command": TRAINING,
    "test_accuracy": 0.8459,
}


def card(name: str, **record: Any) -> str:
    config = copy.deepcopy(json.loads((find(name) / "config.json").read_bytes()))
    config["protozoo"] |= record
    return " ".join(render_card(config).split())


@pytest.mark.parametrize("name", [NAME, "proto_resnet9_cifar.ce_cifar10"])
@pytest.mark.parametrize(
    ("word", "told"), [("BASE", f"`{TRAINING}`, whose folder is BASE below."), ("a.b", f"`{TRAINING}`. ")]
)
def test_it_says_how_that_one_was_trained(name, word, told):
    assert told in card(name, base=BASE, command=f"protozoo fit {word} --data pictures --out BUNDLE")


def test_class_means_stand_beside_the_accuracy_of_the_model_s_own_classifier():
    fitted = card("proto_resnet9_cifar.ce_cifar10", base=BASE)
    assert "With the classifier that it was trained with, that model has 84.59 %" in fitted
    assert "without the training of its encoder" in fitted
    older = card("proto_resnet9_cifar.ce_cifar10", base={key: BASE[key] for key in BASE if key != "test_accuracy"})
    assert "With the classifier that it was trained with" not in older


def test_earlier_weights_of_the_same_name_are_not_taken_for_these():
    assert "It began with other weights of that name (0123456789abcdef)" in card(NAME, base={**BASE, "name": NAME})
    assert f"It began with the weights of `{BASE['name']}` (0123456789abcdef)" in card(NAME, base=BASE)
