"""The recipes that come with the package, beside the papers' numbers."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from training.build import model_args
from training.recipe import load_recipe, recipe_names
from training.recipe.schema import Objective
from zoo.models.base import timm_model

OBJECTIVES = get_args(Objective)
SMALL = ("digits", "cifar10", "tiny_imagenet")
PAPERS = ("cifar10", "cifar100", "imagenet100", "imagenet1k", "tiny_imagenet")

CL = {"architecture": "proto_resnet18_cifar", "head": "relu", "batch_size": 512, "lr": 0.2, "epochs": 1000}
SCL = {**CL, "head": "mlp", "embed_dim": 128, "lr": 0.05, "temperature": 0.07, "augmentation": "contrastive"}
IN = {"architecture": "proto_resnet50", "input_size": 224, "epochs": 500}
IN100 = {**IN, "batch_size": 1024, "lr": 0.4, "temperature": 0.2, "warmup_epochs": 10}
IN1K = {**IN, "temperature": 0.1, "warmup_epochs": 10}
DL2PA = {"architecture": "proto_resnet32_cifar", "batch_size": 128, "epochs": 250, "milestones": (100, 200)}

PAPERS_NUMBERS: dict[str, dict[str, Any]] = {
    "ce_cifar10": CL,
    "etf_dr_cifar10": CL,
    "normface_cifar10": {**CL, "temperature": 0.6},
    "ntce_cifar10": {**CL, "temperature": 0.6},
    "nonl_cifar10": {**CL, "temperature": 0.2, "warmup_epochs": 0, "min_lr": 1e-3, "augmentation": "resized_crop"},
    "ce_cifar100": CL,
    "etf_dr_cifar100": CL,
    "normface_cifar100": {**CL, "temperature": 0.3},
    "ntce_cifar100": {**CL, "temperature": 0.2},
    "nonl_cifar100": {**CL, "temperature": 0.1},
    "ce_imagenet100": IN100,
    "nonl_imagenet100": {**IN100, "head": "relu", "crop_scale": (0.2, 1.0), "sync_batchnorm": True},
    "ce_imagenet1k": {**IN1K, "batch_size": 2048, "lr": 0.8},
    "normface_imagenet1k": {**IN1K, "batch_size": 4096, "lr": 1.6},
    "ntce_imagenet1k": {**IN1K, "batch_size": 4096, "lr": 1.6},
    "nonl_imagenet1k": {**IN1K, "batch_size": 8192, "lr": 3.2, "negatives": "global"},
    "scl_cifar10": SCL,
    "scl_cifar100": SCL,
    "scl_imagenet100": {**IN100, "head": "mlp", "embed_dim": 128, "lr": 0.8, "blur": 0.5},
    "scl_imagenet1k": {**IN1K, "head": "mlp", "batch_size": 2048, "lr": 0.1 * 2048 / 256, "warmup_epochs": 5},
    "scl_prototypes_cifar10": {"architecture": "proto_resnet18_cifar", "head": "mlp", "copies": 100},
    "dynamic_cifar100": {**DL2PA, "embed_dim": 50, "step_decay": 0.1, "augmentation": "crop_flip"},
    "dynamic_tiny_imagenet": {**DL2PA, "embed_dim": 100, "input_size": 64},
    "dynamic_cifar10": {
        **DL2PA,
        "head": "batchnorm",
        "lr": 0.1,
        "weight_decay": 2e-4,
        "warmup_epochs": 5,
        "epochs": 200,
        "milestones": (160, 180),
    },
    "dynamic_imagenet1k": {
        "architecture": "proto_resnet50",
        "embed_dim": 512,
        "batch_size": 1024,
        "epochs": 100,
        "warmup_epochs": 5,
        "warmup_lr": 0.01,
        "schedule": "cosine",
        "precision": "bf16",
    },
}
NCD = [name for name in PAPERS_NUMBERS if not name.startswith(("dynamic", "scl_prototypes"))]


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipe_is_valid_and_trains_what_its_name_says(name: str) -> None:
    recipe = load_recipe(name)
    assert name.rpartition("/")[2].startswith(f"{recipe.objective}_")
    if recipe.objective.startswith("scl"):
        assert (recipe.head, recipe.views) == ("mlp", 2)


@pytest.mark.parametrize("name", recipe_names())
def test_the_zoo_has_the_model_of_every_packaged_recipe(name: str) -> None:
    recipe = load_recipe(name)
    classes = {"imagenet100": 100, "imagenet1k": 1000, "cifar100": 100, "tiny_imagenet": 200}
    count = next((count for data, count in classes.items() if name.endswith(f"_{data}")), 10)
    with torch.device("meta"):
        model = timm_model(recipe.architecture, num_classes=count, **model_args(recipe))
    assert model.get_classifier().weight.shape == (count, recipe.embed_dim or model.head_hidden_size)
    if recipe.objective == "etf_dr":
        assert model.head_hidden_size >= count - 1


@pytest.mark.parametrize("name", recipe_names())
def test_no_packaged_recipe_names_data_that_a_user_may_not_have_trained_on(name: str) -> None:
    recipe = load_recipe(name)
    assert (recipe.data_name, recipe.data_license, recipe.imbalance) == (None, None, 1.0)


def test_every_objective_has_a_recipe_for_every_data_set() -> None:
    small = {f"{objective}_{data}" for objective in OBJECTIVES for data in SMALL}
    papers = {f"papers/{objective}_{data}" for objective in OBJECTIVES for data in PAPERS}
    assert set(recipe_names()) == small | papers


@pytest.mark.parametrize(("name", "numbers"), PAPERS_NUMBERS.items())
def test_papers_recipe_has_the_papers_numbers(name: str, numbers: dict[str, Any]) -> None:
    recipe = load_recipe(f"papers/{name}")
    assert {field: getattr(recipe, field) for field in numbers} == numbers


@pytest.mark.parametrize("name", NCD)
def test_ncd_trains_by_sgd_with_its_weight_decay_and_seed(name: str) -> None:
    recipe = load_recipe(f"papers/{name}")
    assert (recipe.optimizer, recipe.momentum, recipe.weight_decay, recipe.seed) == ("sgd", 0.9, 1e-4, 42)


@pytest.mark.parametrize("name", [name for name in NCD if "imagenet" in name])
def test_ncd_warms_up_from_a_hundredth(name: str) -> None:
    recipe = load_recipe(f"papers/{name}")
    assert recipe.warmup_lr * recipe.lr == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("name", "batch", "lr", "weight_decay"),
    [("cifar100", 128, 0.01, 1e-4), ("tiny_imagenet", 128, 0.01, 1e-4), ("imagenet1k", 128, 0.5, 2e-5)],
)
def test_dl2pa_steps_on_the_mean_of_halves_as_its_code_does_on_the_sum(
    name: str, batch: int, lr: float, weight_decay: float
) -> None:
    recipe = load_recipe(f"papers/dynamic_{name}")
    assert recipe.lr == pytest.approx(lr * 2 * batch)
    assert recipe.lr * recipe.weight_decay == pytest.approx(lr * weight_decay)


@pytest.mark.parametrize("name", [f"scl_{data}" for data in SMALL])
def test_no_digit_is_mirrored(name: str) -> None:
    assert (load_recipe(name).augmentation == "crop") == name.endswith("digits")


def test_a_name_without_a_small_version_is_the_papers() -> None:
    assert load_recipe("scl_imagenet1k") == load_recipe("papers/scl_imagenet1k")
    assert load_recipe("scl_cifar10") != load_recipe("papers/scl_cifar10")
