"""The papers' protocols for training a classifier on a frozen encoder, as recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from training.pretrained import Pretrained
from training.recipe import Recipe, RecipeError

# Appendix E.2 of "Neural Collapse by Design". It names no batch sizes: these are those of its contrastive training.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "cifar": {"epochs": 100, "lr": 5.0, "milestones": (60, 75, 90), "batch_size": 512},
    "imagenet100": {"epochs": 90, "lr": 2.0, "milestones": (30, 60, 80), "batch_size": 1024},
    "imagenet1k": {"epochs": 90, "lr": 0.8, "milestones": (30, 60, 80), "batch_size": 2048},
}
SCALING = "mean zero, unit mean squared norm"
"""Of the features that a linear probe is trained on: those of records without it were taken as they are."""
_ALL: dict[str, Any] = {
    "schedule": "step",
    "step_decay": 0.2,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "temperature": 0.2,  # of the normalised probe, in the released code
}
_FROM_PRETRAINING = ("augmentation", "crop_padding", "crop_scale")


def probe_recipe(
    objective: Literal["ce", "normface"],
    pretrained: Pretrained,
    protocol: str = "cifar",
    overrides: Mapping[str, Any] | None = None,
) -> Recipe:
    """How to train a probe: a protocol, the augmentation of the pretraining, and typed overrides.

    Of a contrastive pretraining's augmentation, crops and flips remain: the papers' probes do not change colours. Other
    epochs than the protocol's move its milestones in proportion.

    Raises:
        RecipeError: no such protocol, or a value that does not fit its field.
    """
    if protocol not in PROTOCOLS:
        raise RecipeError(f"there is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    fields = {name: pretrained.recipe[name] for name in _FROM_PRETRAINING if name in pretrained.recipe}
    if fields.get("augmentation") == "contrastive":
        fields["augmentation"] = "resized_crop"
    fields |= {"objective": objective, "architecture": pretrained.architecture, **_ALL, **PROTOCOLS[protocol]}
    given = overrides or {}
    try:
        recipe = Recipe.model_validate({**fields, **given})
    except ValidationError as error:
        fault = error.errors()[0]
        raise RecipeError(f"{fault['loc'][0]} = {fault['input']!r}: {fault['msg']}") from error
    if "milestones" in given:
        return recipe
    share = recipe.epochs / fields["epochs"]
    return recipe.model_copy(update={"milestones": tuple(epoch * share for epoch in recipe.milestones)})
