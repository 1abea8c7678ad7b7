"""The optimiser of a recipe: one of timm's, over parameters that decay and others, in the recipe's precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import timm.optim.muon
import torch
from timm.optim import create_optimizer_v2, get_optimizer_info, param_groups_layer_decay
from torch import Tensor

from training.recipe import Recipe, RecipeError
from zoo.models.base import PrototypeModel

_TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}


def build_optimizer(model: PrototypeModel, recipe: Recipe) -> torch.optim.Optimizer:
    """The one that timm has under the recipe's name.

    Raises:
        RecipeError: timm has none, or it cannot be made so.
    """
    try:
        if get_optimizer_info(recipe.optimizer.rpartition("_")[2]).second_order:
            raise RecipeError(f"optimizer = {recipe.optimizer!r} needs second derivatives, which are not computed here")
        return create_optimizer_v2(
            _parameter_groups(model, recipe), opt=recipe.optimizer, lr=recipe.lr, momentum=recipe.momentum
        )
    except (ValueError, AssertionError, TypeError) as error:
        raise RecipeError(f"optimizer = {recipe.optimizer!r}: {error}") from error


def optimizer_step(optimizer: torch.optim.Optimizer, precision: str) -> None:
    """A step, whose matrix products are computed in the recipe's precision too.

    Args:
        optimizer: of :func:`build_optimizer`.
        precision: of the recipe, once it is settled: bf16, fp32 or fp64.
    """
    with _newton_schulz_in(_TYPES[precision]):
        optimizer.step()


@contextmanager
def _newton_schulz_in(dtype: torch.dtype) -> Iterator[None]:
    """Have timm's Muon orthogonalise in ``dtype``.

    It does so in bfloat16 and has no argument for it. A CPU without instructions for bfloat16 takes some thirty times
    as long for that as in float32: of a wide ResNet-9, four times as long as for the passes of 256 images.
    """
    muon = timm.optim.muon
    theirs = muon.zeropower_via_newtonschulz
    muon.zeropower_via_newtonschulz = partial(theirs, dtype=dtype)
    try:
        yield
    finally:
        muon.zeropower_via_newtonschulz = theirs


def _parameter_groups(model: PrototypeModel, recipe: Recipe) -> list[dict[str, Any]]:
    """Decay convolutions and projections only: prototypes are scale-invariant, so decay would but raise their step."""
    classifier: set[Tensor] = set(model.get_classifier().parameters())
    if recipe.layer_decay < 1:
        undecayed = {name for name, parameter in model.named_parameters() if parameter in classifier}
        groups: list[dict[str, Any]] = param_groups_layer_decay(
            model, recipe.weight_decay, no_weight_decay_list=undecayed, layer_decay=recipe.layer_decay
        )
        return groups
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [p for p in trained if p.ndim > 1 and p not in classifier]
    rest = [p for p in trained if p.ndim <= 1 or p in classifier]
    return [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
