"""Learning rates over steps, by timm's schedulers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler
from timm.scheduler.scheduler import Scheduler

from training.recipe import Recipe


def learning_rates(recipe: Recipe, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> Callable[[int], float]:
    """A function that sets the learning rate of a step, counted from 0 over all epochs, and returns it."""
    warmup = round(min(recipe.warmup_epochs, recipe.epochs) * steps_per_epoch)
    common = {"warmup_t": warmup, "warmup_lr_init": recipe.lr * recipe.warmup_lr, "t_in_epochs": False}
    schedule: Scheduler
    if recipe.schedule == "cosine":
        schedule = CosineLRScheduler(
            optimizer,
            # Where all is warm-up nothing comes of the cosine, but timm refuses a length of 0 and warns of one of 1.
            t_initial=(recipe.epochs * steps_per_epoch - warmup) or 2,
            lr_min=recipe.lr * recipe.min_lr,
            warmup_prefix=True,
            **common,  # type: ignore[arg-type]
        )
    else:
        # timm compares a milestone with the index after this one, and a step has the index after its own, see below.
        milestones = [round(epoch * steps_per_epoch) + 2 for epoch in recipe.milestones]
        schedule = MultiStepLRScheduler(
            optimizer,
            decay_t=milestones,
            decay_rate=recipe.step_decay,
            warmup_prefix=False,
            **common,  # type: ignore[arg-type]
        )

    def set_learning_rate(step: int) -> float:
        # Step 0 of a warm-up from 0 would be a step of no length.
        schedule.step_update(step + 1)
        # With layer_decay the head's, which is the recipe's.
        return max(float(group["lr"]) for group in optimizer.param_groups)

    return set_learning_rate
