"""From a recipe to what the loop moves: preprocessing, model, objective, optimiser, schedule."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from training.batchnorm import norms_of_one_value
from training.checkpoint import State
from training.gradients import Forward, Gradients, at_once, in_parts
from training.objectives import Objective, build_objective
from training.optimizer import build_optimizer
from training.precision import check_gradients, settled
from training.pretrained import open_pretrained
from training.ranks import Ranks, accelerator_for, synchronise_batchnorm
from training.recipe import Recipe, RecipeError
from training.schedule import learning_rates
from training.warm_start import freeze_backbone, load_weights, train_mode
from zoo.bundle import Preprocessing
from zoo.geometry import equidistributed, wide_margin_simplex
from zoo.loading import list_models
from zoo.models.base import PrototypeModel, size_args, timm_model


@dataclass
class Parts:
    """What the loop moves: built here, one function each."""

    accelerator: Accelerator
    ranks: Ranks
    model: PrototypeModel
    objective: Objective
    gradients: Gradients
    optimizer: torch.optim.Optimizer
    set_learning_rate: Callable[[int], float]

    def train_mode(self) -> None:
        """What a step needs: everything in training mode but a backbone that stays as it is."""
        train_mode(self.model)
        self.objective.train()

    @property
    def state(self) -> State:
        """What a checkpoint holds."""
        return State(self.model, self.objective, self.optimizer)


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """How images become the model's input."""
    return Preprocessing(recipe.input_size, recipe.crop_pct, recipe.interpolation, recipe.mean, recipe.std)


def model_args(recipe: Recipe) -> dict[str, Any]:
    """Every argument that fixes what the weights mean: all are written into the bundle."""
    args: dict[str, Any] = {"head": recipe.head, "temperature": recipe.temperature}
    args["prototypes"] = "learned" if recipe.prototype_kind == "learned" else "fixed"
    if recipe.readout != "cosine":
        args["readout"] = recipe.readout
    args["classifier"] = "linear" if recipe.objective == "ce" else "cosine"
    if recipe.embed_dim is not None:
        args["embed_dim"] = recipe.embed_dim
    return args | size_args(recipe.architecture, recipe.input_size)


def build_model(recipe: Recipe, counts: Tensor) -> PrototypeModel:
    """The recipe's architecture, random or with the weights it begins with, channels_last; fixed prototypes in place.

    Args:
        recipe: what to train.
        counts: (K,) training images of each class.

    Raises:
        RecipeError: the zoo has no such architecture, or it cannot have such a head or so many prototypes.
    """
    if recipe.architecture not in list_models():
        raise RecipeError(f"there is no architecture {recipe.architecture!r}; there are {', '.join(list_models())}")
    torch.manual_seed(recipe.seed)
    try:
        model = timm_model(recipe.architecture, num_classes=len(counts), **model_args(recipe))
        if recipe.prototype_kind == "fixed":
            model.set_prototypes(_fixed_prototypes(recipe, counts, model.head_hidden_size))
    except ValueError as error:
        raise RecipeError(str(error)) from error
    if recipe.pretrained is not None:
        load_weights(model, open_pretrained(recipe.pretrained))
    if recipe.trained == "head":
        freeze_backbone(model)
    return model.to(memory_format=torch.channels_last)


def _fixed_prototypes(recipe: Recipe, counts: Tensor, dim: int) -> Tensor:
    """(K, d) unit rows: all equally far apart, or with wider angles for the half of the classes that is rarer."""
    generator, num_classes = torch.Generator().manual_seed(recipe.seed), len(counts)
    if recipe.frequent_cosine is None:
        return equidistributed(num_classes, dim, generator=generator)
    if counts.min() == counts.max():
        raise RecipeError("frequent_cosine is for data whose classes differ in size: leave it out")
    rare = counts.argsort(descending=True, stable=True)[(num_classes + 1) // 2 :].tolist()
    return wide_margin_simplex(num_classes, dim, rare, cosine=recipe.frequent_cosine, generator=generator)


def build_parts(
    recipe: Recipe, labels: np.ndarray[Any, np.dtype[np.int64]], num_classes: int, steps_per_epoch: int, **kwargs: Any
) -> Parts:
    """Model, objective, optimiser and schedule, on the device and the ranks that accelerate finds.

    Args:
        recipe: what to train.
        labels: (N,) of the training images.
        num_classes: K.
        steps_per_epoch: optimiser steps.
        kwargs: for ``accelerate.Accelerator``: trackers and their folder.

    Raises:
        RecipeError: something in the recipe does not fit the zoo, timm, or the ranks.
    """
    recipe = settled(recipe)
    check_gradients(recipe)
    accelerator = accelerator_for(recipe.precision, **kwargs)
    ranks = Ranks(accelerator)
    size = min(recipe.batch_size, len(labels))
    if size % ranks.count:
        raise RecipeError(
            f"a batch of {size} images does not divide among {ranks.count} ranks: choose another --batch_size"
        )
    counts = torch.from_numpy(np.bincount(labels, minlength=num_classes)).double()
    model = build_model(recipe, counts).to(accelerator.device)
    if recipe.precision == "fp64":
        model = model.double()
    if recipe.sync_batchnorm and ranks.count > 1:
        synchronise_batchnorm(model, accelerator.device)
    else:
        _check_parts(recipe, model, size // ranks.count, ranks)
    objective = build_objective(recipe, model, counts, steps_per_epoch, ranks.group).to(accelerator.device)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(f"trained = head, and a {recipe.head} head of fixed prototypes: there is nothing to train")
    optimizer = build_optimizer(model, recipe)
    gradients = _build_gradients(recipe, model, objective, accelerator, ranks)
    schedule = learning_rates(recipe, optimizer, steps_per_epoch)
    return Parts(accelerator, ranks, model, objective, gradients, optimizer, schedule)


def _part_size(recipe: Recipe, ranks: Ranks) -> int | None:
    """Images of a rank at a time; None: all of its batch."""
    size = recipe.micro_batch_size
    return None if size is None or size * ranks.count >= recipe.batch_size else size


def _check_parts(recipe: Recipe, model: PrototypeModel, batch: int, ranks: Ranks) -> None:
    """Refuse parts of one image, of which BatchNorm has no deviation; ``batch`` is a rank's own."""
    part = _part_size(recipe, ranks) or batch
    if (batch % part or part) * recipe.views == 1 and (names := norms_of_one_value(model, recipe.input_size)):
        raise RecipeError(
            f"a batch of {batch} images in parts of {part} has a part of one, over which {names[-1]} cannot normalise: "
            "choose another --micro_batch_size or --batch_size"
        )


def _build_gradients(
    recipe: Recipe, model: PrototypeModel, objective: Objective, accelerator: Accelerator, ranks: Ranks
) -> Gradients:
    if recipe.compile and accelerator.device.type == "cpu":
        _check_compiler()
    # The same parameters, so that evaluation and checkpoints need not know of what wraps them.
    forward: Any = Forward(model, objective.output)
    if recipe.compile:
        forward = torch.compile(forward)
    forward = accelerator.prepare_model(forward)
    size = _part_size(recipe, ranks)
    if size is None:
        return at_once(forward, objective, accelerator)
    group = ranks.group if recipe.negatives == "global" else None
    return in_parts(forward, recipe.objective, objective, accelerator, size, group)


def _check_compiler() -> None:
    from torch._inductor import config

    candidates = [name for name in config.cpp.cxx if name]
    if not any(shutil.which(name) for name in candidates):
        raise RecipeError(
            f"compile = True: torch.compile needs a C++ compiler on a CPU, and {' or '.join(candidates)} is not "
            "installed: install it, or pass --compile false"
        )
