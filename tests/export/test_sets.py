"""Enrolled classes as a bundle: its thresholds, and what its card may say. The whole way is in test_sets_cli."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from export.card import render_card
from export.sets import set_record
from zoo.bundle import Bundle, find
from zoo.bundle.open_set import leave_out_thresholds as thresholds
from zoo.exporter import EnrolledClasses

BASE = "proto_resnet20_cifar.nonl_digits"


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def enrolled(count: int, classes: int = 3, dim: int = 16) -> EnrolledClasses:
    chance = np.random.default_rng(0)
    embeddings = unit(chance.standard_normal((count, dim)))
    owners = np.sort(np.arange(count) % classes)
    rows = unit(np.stack([embeddings[owners == one].mean(axis=0) for one in range(classes)]))
    labels = tuple(f"class-{one}" for one in range(classes))
    return EnrolledClasses("my.birds-2", labels, rows, embeddings, owners)


@pytest.mark.parametrize("count", [30, 130, 1200])
def test_a_threshold_lets_at_most_its_share_pass_and_the_next_lower_cosine_more(count):
    classes = enrolled(count)
    others = [
        max(float(row @ other) for position, other in enumerate(classes.prototypes) if position != owner)
        for row, owner in zip(classes.embeddings, classes.owners, strict=True)
    ]
    found = thresholds(classes.embeddings, classes.owners, classes.prototypes)
    assert [entry["fpr"] for entry in found] == [rate for rate in (0.01, 0.05, 0.1) if count * rate >= 1]
    for entry in found:
        assert sum(cosine > entry["cosine"] + 1e-6 for cosine in others) <= entry["fpr"] * count
        assert sum(cosine > entry["cosine"] - 1e-6 for cosine in others) + 1 > entry["fpr"] * (count - 1)


def test_too_few_examples_give_no_threshold():
    classes = enrolled(9)
    assert thresholds(classes.embeddings, classes.owners, classes.prototypes) == []


def test_no_threshold_is_given_where_examples_of_one_class_are_those_of_another():
    row = np.eye(4, dtype=np.float32)[:1]
    assert thresholds(np.repeat(row, 20, 0), np.repeat([0, 1], 10), np.repeat(row, 2, 0)) == []


@pytest.fixture(scope="module")
def base() -> Bundle:
    return Bundle.open(find(BASE))


def config_of(base: Bundle, count: int) -> dict[str, Any]:
    """config.json, but for the digests of files."""
    result = set_record(base, enrolled(count), "protozoo sets export my.birds-2 --model hf-hub:me/base --out BUNDLE")
    config = copy.deepcopy(json.loads((base.path / "config.json").read_bytes()))
    config["pretrained_cfg"]["tag"] = result["tag"]
    config |= {"label_names": result["label_names"], "num_classes": 3}
    for key in ("objective", "readout", "data", "recipe", "base", "command", "cost", "metrics", "open_set"):
        config["protozoo"][key] = result[key]
    config["protozoo"].pop("pictures", None)
    return config


def test_the_card_says_where_the_classes_come_from_and_what_was_not_measured(base, tmp_path):
    card = render_card(config_of(base, 30))
    words = " ".join(card.split())
    assert (
        "class means of 30 examples that were enrolled in a running service as the prototype set 'my.birds-2'" in words
    )
    assert f"`{BASE}` (weights {base.record['weights']['sha256'][:16]}" in words
    assert f"{base.temperature}, is that model's: it was not calibrated on these classes" in words
    assert "class-0 (10), class-1 (10), class-2 (10)." in words
    assert "Not measured: accuracy, calibration and collapse" in words
    assert "How many images of known classes pass was not measured" in words
    assert "test images below" not in words
    assert "\n\n\n" not in card.split("## Data")[1]
    assert "\n\n## Unknown images\n\n" in card
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    block = ModelCard.load(tmp_path / "README.md").data.to_dict()
    assert "model-index" not in block
    assert block["base_model"] == "me/base"


def test_the_card_of_few_examples_says_that_there_is_no_threshold(base):
    card = render_card(config_of(base, 9))
    assert "no threshold was calibrated" in card
    assert "| false positives" not in card
