"""The training loop: knows a model, an objective and tensors, and none of their names."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from training.augment import random_crop_flip
from training.checkpoint import Progress, load_checkpoint, save_checkpoint
from training.data import ImageData
from training.evaluation import run_model, to_input, to_tensor
from training.gradients import Gradients
from training.recipe import Recipe
from training.run import Run
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel


@dataclass
class Parts:
    """What the loop moves: built elsewhere, one function each."""

    accelerator: Accelerator
    model: PrototypeModel
    gradients: Gradients
    optimizer: torch.optim.Optimizer
    set_learning_rate: Callable[[int], float]


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The only source of chance in an epoch, so that an epoch is a pure function of the state before it."""
    # Consecutive seeds give correlated Mersenne states at first; a product with a large odd number spreads them.
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch + 1) * 0x9E3779B97F4A7C15 % 2**63)


def _steps(
    images: Tensor, labels: Tensor, recipe: Recipe, preprocessing: Preprocessing, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented, normalised batches of one epoch in random order; the incomplete last one is left out."""
    size = _batch_size(recipe, len(labels))
    order = torch.randperm(len(labels), generator=generator)
    for start in range(0, len(labels) - size + 1, size):
        picked = order[start : start + size].to(images.device)
        batch = images[picked]
        if recipe.augmentation != "none":
            batch = random_crop_flip(
                batch, padding=recipe.crop_padding, flip=recipe.augmentation == "crop_flip", generator=generator
            )
        yield to_input(batch, preprocessing), labels[picked]


def _batch_size(recipe: Recipe, count: int) -> int:
    """The recipe's, or all ``count`` images where there are fewer."""
    return min(recipe.batch_size, count)


def steps_per_epoch(recipe: Recipe, data: ImageData) -> int:
    """Optimiser steps in an epoch."""
    count = len(data.train.labels)
    return count // _batch_size(recipe, count)


def fit(
    parts: Parts,
    recipe: Recipe,
    data: ImageData,
    preprocessing: Preprocessing,
    run: Run,
    say: Callable[[str], None],
) -> Progress:
    """Train to the recipe's last epoch, from the run's checkpoint where there is one.

    Raises:
        ProtozooError: the loss is no longer a number; the checkpoint before it stays.
    """
    device = parts.accelerator.device
    images, labels = to_tensor(data.train).to(device), torch.from_numpy(data.train.labels).to(device)
    progress = Progress(0, 0.0, ())
    if run.checkpoint.is_file():
        progress = load_checkpoint(run.checkpoint, parts.model, parts.optimizer)
        # A kill may have come between the checkpoint and the history that is written after it.
        run.write_history(progress.history)
        say(f"resuming after epoch {progress.epoch} of {recipe.epochs}")
    steps, size = steps_per_epoch(recipe, data), _batch_size(recipe, len(labels))
    with tqdm(total=recipe.epochs * steps, initial=progress.epoch * steps, unit="step", dynamic_ncols=True) as bar:
        for epoch in range(progress.epoch, recipe.epochs):
            started = time.monotonic()
            batches = _steps(images, labels, recipe, preprocessing, epoch_generator(recipe.seed, epoch))
            row = _train_epoch(parts, batches, epoch, steps, bar)
            seconds = time.monotonic() - started
            row = {"epoch": epoch + 1, **row, "images_per_second": round(steps * size / seconds, 1)}
            if (epoch + 1) % recipe.evaluate_every == 0 or epoch + 1 == recipe.epochs:
                with parts.accelerator.autocast():
                    row["test_accuracy"] = run_model(parts.model, data.test, preprocessing).accuracy()
            row.setdefault("test_accuracy", None)
            seconds = time.monotonic() - started
            progress = Progress(epoch + 1, progress.seconds + seconds, (*progress.history, row))
            save_checkpoint(run.checkpoint, parts.model, parts.optimizer, progress)
            run.write_history(progress.history)
            line = _describe(row, recipe.epochs)
            run.log(line)
            bar.write(line)
    return progress


def _train_epoch(
    parts: Parts, batches: Iterator[tuple[Tensor, Tensor]], epoch: int, steps: int, bar: Any
) -> dict[str, Any]:
    parts.model.train()
    total = torch.zeros((), dtype=torch.float64)
    for step, (inputs, targets) in enumerate(batches):
        learning_rate = parts.set_learning_rate(epoch * steps + step)
        parts.optimizer.zero_grad()
        value = parts.gradients(inputs, targets).double().cpu()
        if not math.isfinite(value):
            raise ProtozooError(
                f"the loss became {value.item()} in epoch {epoch + 1}: lower --lr or raise --temperature in a new run"
            )
        parts.optimizer.step()
        total += value
        bar.update()
        bar.set_postfix(epoch=epoch + 1, loss=f"{value.item():.3f}", lr=f"{learning_rate:.4f}", refresh=False)
    return {"loss": round(float(total) / steps, 6), "lr": learning_rate}


def _describe(row: dict[str, Any], epochs: int) -> str:
    line = f"epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:8.4f}  {row['images_per_second']:6.0f} images/s"
    if row["test_accuracy"] is not None:
        line += f"  test accuracy {row['test_accuracy']:.2%}"
    return line
