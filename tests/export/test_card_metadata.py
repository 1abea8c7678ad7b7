"""The card's metadata block, as huggingface_hub reads it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from export.card import render_card
from zoo.bundle import find

NAME = "proto_resnet20_cifar.nonl_cifar10"
BASE = {
    "name": "proto_resnet18.scl_imagenet1k",
    "weights_sha256": "0" * 64,
    "objective": "scl",
    "data": {"name": "ImageNet-1k", "license": "not stated"},
}


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(json.loads((find(NAME) / "config.json").read_bytes()))


def result(config: dict[str, Any], dataset_type: str) -> EvalResult:
    return EvalResult(
        task_type="image-classification",
        dataset_type=dataset_type,
        dataset_name=config["protozoo"]["data"]["name"],
        metric_type="accuracy",
        metric_value=config["protozoo"]["metrics"]["test_accuracy"],
    )


def expected(config: dict[str, Any], dataset_type: str = "image-folder", **others: Any) -> dict[str, Any]:
    data = ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        license="apache-2.0",
        tags=["image-classification", "timm", "protozoo", "prototypes", "neural-collapse"],
        model_name=NAME,
        eval_results=[result(config, dataset_type)],
        **others,
    )
    return data.to_dict()


def test_the_card_gives_back_the_records_name_licence_and_accuracy(config, tmp_path):
    (tmp_path / "README.md").write_text(render_card(config), encoding="utf-8")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict() == expected(config)
    assert card.text.startswith(f"# {NAME}")


@pytest.mark.parametrize("name", ['Käfer: "grün", 10 %', "bugs 🐞", "a\\b #c", "[x] {y}"])
def test_any_name_of_data_survives(config, name):
    config["protozoo"]["data"]["name"] = name
    assert ModelCard(render_card(config)).data.to_dict() == expected(config)


@pytest.mark.parametrize("revision", ["", "@refs/convert/parquet"])
def test_data_and_base_of_the_hub_are_linked(config, revision):
    config["protozoo"] |= {
        "command": f"protozoo finetune hf-hub:owner/base{revision} --data hfds/owner/bugs{revision} --out BUNDLE",
        "base": BASE,
    }
    linked = expected(config, "owner/bugs", datasets=["owner/bugs"], base_model="owner/base")
    assert ModelCard(render_card(config)).data.to_dict() == linked


def test_what_is_not_of_the_hub_is_not_linked(config):
    config["protozoo"] |= {"command": "protozoo finetune a/base --data pictures/bugs --out BUNDLE", "base": BASE}
    assert ModelCard(render_card(config)).data.to_dict() == expected(config)
