"""From a recipe to what the loop moves: preprocessing, model, objective, optimiser, schedule."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor

from training import losses
from training.gradients import Gradients, at_once, in_parts
from training.loop import Parts
from training.recipe import Recipe, RecipeError
from zoo.bundle import Preprocessing
from zoo.loading import list_models
from zoo.models.base import PrototypeModel, timm_model

OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": losses.cross_entropy,
    "normface": losses.normface,
    "ntce": losses.ntce,
    "nonl": losses.nonl,
}


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """How images become the model's input."""
    return Preprocessing(recipe.input_size, 1.0, "bicubic", recipe.mean, recipe.std)


def model_args(recipe: Recipe) -> dict[str, Any]:
    """Every argument that fixes what the weights mean: all are written into the bundle."""
    args: dict[str, Any] = {"head": recipe.head, "temperature": recipe.temperature, "prototypes": "learned"}
    if recipe.readout != "cosine":
        args["readout"] = recipe.readout
    args["classifier"] = "linear" if recipe.objective == "ce" else "cosine"
    if recipe.embed_dim is not None:
        args["embed_dim"] = recipe.embed_dim
    return args


def build_model(recipe: Recipe, num_classes: int) -> PrototypeModel:
    """The recipe's architecture with random weights, channels_last.

    Raises:
        RecipeError: the zoo has no such architecture, or it cannot have such a head.
    """
    if recipe.architecture not in list_models():
        raise RecipeError(f"there is no architecture {recipe.architecture!r}; there are {', '.join(list_models())}")
    torch.manual_seed(recipe.seed)
    try:
        model = timm_model(recipe.architecture, num_classes=num_classes, **model_args(recipe))
    except ValueError as error:
        raise RecipeError(str(error)) from error
    return model.to(memory_format=torch.channels_last)


def build_parts(recipe: Recipe, num_classes: int, steps_per_epoch: int) -> Parts:
    """Model, objective, optimiser and schedule, on the device that accelerate finds."""
    # accelerate holds one precision a process and refuses a second; a library's user may train several recipes.
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    model = build_model(recipe, num_classes).to(accelerator.device)
    try:
        optimizer = create_optimizer_v2(
            _parameter_groups(model, recipe.weight_decay), opt=recipe.optimizer, lr=recipe.lr, momentum=recipe.momentum
        )
    except (ValueError, AssertionError, TypeError) as error:
        raise RecipeError(f"optimizer = {recipe.optimizer!r}: {error}") from error
    warmup = round(min(recipe.warmup_epochs, recipe.epochs) * steps_per_epoch)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=max(recipe.epochs * steps_per_epoch - warmup, 1),
        lr_min=recipe.lr * recipe.min_lr,
        warmup_t=warmup,
        warmup_lr_init=0.0,
        warmup_prefix=True,
        t_in_epochs=False,
    )

    def set_learning_rate(step: int) -> float:
        # Step 0 of a warm-up from 0 would be a step of no length.
        schedule.step_update(step + 1)
        return float(optimizer.param_groups[0]["lr"])

    return Parts(accelerator, model, _build_gradients(recipe, model, accelerator), optimizer, set_learning_rate)


def _build_gradients(recipe: Recipe, model: PrototypeModel, accelerator: Accelerator) -> Gradients:
    if recipe.compile and accelerator.device.type == "cpu":
        _check_compiler()
    # Same parameters, so that evaluation and checkpoints need not know of it.
    compiled: Any = torch.compile(model) if recipe.compile else model
    objective, size = OBJECTIVES[recipe.objective], recipe.micro_batch_size
    if size is None or size >= recipe.batch_size:
        return at_once(compiled, objective, accelerator)
    return in_parts(compiled, recipe.objective, objective, accelerator, size)


def _parameter_groups(model: PrototypeModel, weight_decay: float) -> list[dict[str, Any]]:
    """Decay convolutions and projections only: prototypes are scale-invariant, so decay would but raise their step."""
    classifier = set(model.get_classifier().parameters())
    decayed = [p for p in model.parameters() if p.ndim > 1 and p not in classifier]
    rest = [p for p in model.parameters() if p.ndim <= 1 or p in classifier]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _check_compiler() -> None:
    from torch._inductor import config

    candidates = [name for name in config.cpp.cxx if name]
    if not any(shutil.which(name) for name in candidates):
        raise RecipeError(
            f"compile = True: torch.compile needs a C++ compiler on a CPU, and {' or '.join(candidates)} is not "
            "installed: install it, or pass --compile false"
        )
