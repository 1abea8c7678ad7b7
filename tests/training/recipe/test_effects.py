"""What is asked for and would do nothing is refused, and what does something is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import Protozoo
from training.recipe import Recipe, RecipeError, check_effects, load_recipe
from training.recipe.effects import _NEEDS


@pytest.mark.parametrize(
    ("recipe", "typed", "needed"),
    [
        ("scl_digits", {"copies": 50}, "objective = scl_prototypes"),
        ("scl_digits", {"assign_every": 7}, "objective = dynamic"),
        ("nonl_digits", {"representative_momentum": 0.5}, "objective = dynamic"),
        ("normface_digits", {"negatives": "local"}, "objective = ntce or nonl or scl or scl_prototypes"),
        ("ce_digits", {"readout_prior": "uniform"}, "objective = ntce or nonl"),
        ("ce_digits", {"initial_prototypes": "class_means"}, "learned prototypes"),
        ("nonl_digits", {"prototypes": "fixed", "initial_prototypes": "class_means"}, "learned prototypes"),
        ("nonl_digits", {"augmentation": "none", "crop_padding": 1}, "augmentation = crop or crop_flip"),
        ("nonl_cifar10", {"crop_scale": [0.1, 0.2]}, "augmentation = resized_crop or contrastive"),
        ("nonl_digits", {"blur": 0.5}, "augmentation = contrastive"),
        ("nonl_digits", {"milestones": [1]}, "schedule = step"),
        ("nonl_digits", {"step_decay": 0.5}, "schedule = step"),
        ("nonl_digits", {"schedule": "step", "milestones": [1], "min_lr": 0.5}, "schedule = cosine"),
        ("nonl_digits", {"warmup_epochs": 0, "warmup_lr": 0.5}, "warmup_epochs"),
    ],
)
def test_what_does_nothing_in_a_recipe_is_refused_by_its_option(
    recipe: str, typed: dict[str, Any], needed: str
) -> None:
    *_, field = typed
    chosen = load_recipe(recipe, typed)
    with pytest.raises(RecipeError, match=rf"^--{field} = .*: it does nothing without {needed}; add that, or leave it"):
        check_effects(chosen, typed)
    check_effects(chosen, [])  # a recipe's file may have it


@pytest.mark.parametrize(
    ("recipe", "typed"),
    [
        ("scl_prototypes_digits", {"copies": 50}),
        ("dynamic_digits", {"assign_every": 7, "representative_momentum": 0.5}),
        ("scl_digits", {"augmentation": "contrastive", "crop_scale": [0.1, 1], "blur": 0.5, "negatives": "local"}),
        ("nonl_digits", {"schedule": "step", "milestones": [1], "step_decay": 0.5, "crop_padding": 1}),
        ("ntce_digits", {"readout_prior": "uniform", "initial_prototypes": "class_means", "min_lr": 0.5}),
        ("ce_digits", {"warmup_epochs": 1, "warmup_lr": 0.5}),
        ("ce_digits", {"copies": 1, "readout_prior": "training", "milestones": []}),  # of defaults nothing is asked
    ],
)
def test_what_does_something_is_not(recipe: str, typed: dict[str, Any]) -> None:
    check_effects(load_recipe(recipe, typed), typed)


def test_the_fields_are_a_recipes() -> None:
    assert _NEEDS.keys() <= Recipe.model_fields.keys()


@pytest.mark.parametrize("command", [["train", "scl_digits"], ["finetune", "proto_resnet20_cifar.nonl_digits"]])
def test_the_commands_refuse_it_in_one_line(protozoo: Protozoo, tmp_path: Path, command: list[str]) -> None:
    status, _, err = protozoo(*command, "--data", "digits", "--out", tmp_path / "out", "--copies", "50")
    assert status == 2
    assert err.startswith(
        "protozoo: --copies = 50.0: it does nothing without objective = scl_prototypes; add that, or "
    )
    assert len(err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [[0.5, 0.2], [0.2, 1.5], [0, 1]])
def test_shares_of_a_crop_are_in_order_and_no_larger_than_the_image(scale: list[float]) -> None:
    with pytest.raises(RecipeError, match="crop_scale"):
        load_recipe("scl_digits", {"crop_scale": scale})
