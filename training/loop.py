"""The training loop: knows a model, an objective and tensors, and none of their names."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.build import Parts
from training.checkpoint import Progress
from training.data import ImageData, steps_per_epoch, training_batches
from training.optimizer import optimizer_step
from training.options import Options
from training.recipe import Recipe
from training.run import Run
from training.snapshot import snapshot
from training.stop import StoppedError, StopRequest, stop_on_signals
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError

# Reading the loss waits for the device, and asking the other ranks costs an exchange: neither at every step.
_STEPS_BETWEEN_LOOKS = 10


@dataclass
class Training:
    """One training, from its checkpoint or from the beginning to the recipe's last epoch."""

    parts: Parts
    recipe: Recipe
    data: ImageData
    preprocessing: Preprocessing
    run: Run
    options: Options
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.steps = steps_per_epoch(len(self.data.train.labels), self.recipe.batch_size)
        self.size = min(self.recipe.batch_size, len(self.data.train.labels))

    def fit(self) -> Progress:
        """Train.

        Raises:
            ProtozooError: the loss is no longer a number; the checkpoint before it stays.
            StoppedError: a signal asked for it; a checkpoint stands.
        """
        progress = self._resume()
        self._saved = time.monotonic()
        total, done = self.recipe.epochs * self.steps, progress.epoch * self.steps + progress.step
        with (
            tqdm(
                total=total,
                initial=done,
                unit="step",
                dynamic_ncols=True,
                disable=None if self.parts.ranks.main else True,
            ) as bar,
            stop_on_signals() as stop,
        ):
            while progress.epoch < self.recipe.epochs:
                progress = self._end_epoch(self._steps_of_epoch(progress, bar, stop), bar)
                if self.parts.ranks.any(bool(stop.signal_number)) and progress.epoch < self.recipe.epochs:
                    self._stop(stop)
        return progress

    def _resume(self) -> Progress:
        progress = self.run.checkpoints.load(self.parts.state, self.say)
        if progress is None:
            return Progress()
        if self.parts.ranks.main and progress.history:
            # A kill may have come between the checkpoint and the history that is written after it.
            self.run.write_history(progress.history)
        where = f"epoch {progress.epoch} of {self.recipe.epochs}"
        if progress.step:
            where += f" and step {progress.step} of {self.steps}"
        self.say(f"resuming after {where}")
        return progress

    def _steps_of_epoch(self, progress: Progress, bar: Any, stop: StopRequest) -> Progress:
        """What is left of an epoch. Every step is a pure function of the state before it."""
        parts, ranks = self.parts, self.parts.ranks
        parts.train_mode()
        total = torch.tensor(progress.loss_sum, dtype=torch.float64, device=parts.accelerator.device)
        began = time.monotonic()

        def now(step: int) -> Progress:
            seconds = time.monotonic() - began
            return replace(
                progress,
                step=step,
                loss_sum=self._finite(total, progress.epoch),
                seconds=progress.seconds + seconds,
                epoch_seconds=progress.epoch_seconds + seconds,
            )

        batches = training_batches(
            self.data.train,
            self.recipe,
            self.preprocessing,
            epoch=progress.epoch,
            start=progress.step,
            rank=ranks.index,
            ranks=ranks.count,
            device=parts.accelerator.device,
            workers=self.options.workers,
        )
        for step, (images, labels) in enumerate(batches, progress.step + 1):
            rate = parts.set_learning_rate(progress.epoch * self.steps + step - 1)
            # For layers that draw, dropout and stochastic depth: no state of theirs needs to be kept.
            torch.manual_seed(_seed(self.recipe.seed, progress.epoch, step, ranks.index))
            parts.optimizer.zero_grad()
            inputs = images.double() if self.recipe.precision == "fp64" else images
            total += parts.gradients(inputs, labels).double()
            optimizer_step(parts.optimizer, self.recipe.precision)
            parts.objective.end_step(parts.model, progress.epoch * self.steps + step)
            bar.update()
            look = step % _STEPS_BETWEEN_LOOKS == 0
            if look:
                mean = self._finite(total, progress.epoch) / step
                bar.set_postfix(epoch=progress.epoch + 1, loss=f"{mean:.3f}", lr=f"{rate:.4f}", refresh=False)
            if step == self.steps:
                break
            if (look or ranks.group is None) and ranks.any(bool(stop.signal_number)):
                self._save(now(step))
                self._stop(stop)
            if self._is_due(step, look):
                self._save(now(step))
        self._rate = rate
        return now(self.steps)

    def _finite(self, total: Tensor, epoch: int) -> float:
        value = float(self.parts.ranks.mean(total))
        if not math.isfinite(value):
            raise ProtozooError(
                f"the loss became {value} in epoch {epoch + 1}: lower --lr or raise --temperature in a new run"
            )
        return value

    def _is_due(self, step: int, look: bool) -> bool:
        """Whether a checkpoint within the epoch is due: by steps exactly, by time where the ranks look up."""
        every = self.options.checkpoint_steps
        if every is not None and step % every == 0:
            return True
        late = time.monotonic() - self._saved > 60 * self.options.checkpoint_minutes
        return look and self.parts.ranks.any(late)

    def _end_epoch(self, progress: Progress, bar: Any) -> Progress:
        began = time.monotonic()
        speed = self.steps * self.size / progress.epoch_seconds
        row: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "step": (progress.epoch + 1) * self.steps,
            "images": (progress.epoch + 1) * self.steps * self.size,
            "seconds": 0.0,
            "loss": round(progress.loss_sum / self.steps, 6),
            "lr": self._rate,
            "images_per_second": round(speed, 1),
            **self.parts.objective.end_epoch(),
            **snapshot(self.parts, self.recipe, self.data, self.preprocessing, progress.epoch + 1),
        }
        seconds = progress.seconds + time.monotonic() - began
        row["seconds"] = round(seconds, 1)
        progress = Progress(progress.epoch + 1, 0, seconds, 0.0, 0.0, (*progress.history, row))
        self._save(progress)
        self._report(progress, bar)
        return progress

    def _save(self, progress: Progress) -> None:
        if self.parts.ranks.main:
            self.run.save_checkpoint(self.parts.state, progress, steps_per_epoch=self.steps)
        self._saved = time.monotonic()

    def _report(self, progress: Progress, bar: Any) -> None:
        row = progress.history[-1]
        numbers = {name: value for name, value in row.items() if isinstance(value, (int, float))}
        self.parts.accelerator.log(numbers, step=row["step"])
        if self.parts.ranks.main:
            self.run.write_history(progress.history)
            line = _describe(row, self.recipe.epochs)
            self.run.log(line)
            bar.write(line)

    def _stop(self, stop: StopRequest) -> None:
        raise StoppedError(
            f"stopped, and saved in {self.run.path}: the same command goes on", stop.signal_number or signal.SIGTERM
        )


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _describe(row: dict[str, Any], epochs: int) -> str:
    line = f"epoch {row['epoch']:>3}/{epochs}  loss {row['loss']:8.4f}  {row['images_per_second']:6.0f} images/s"
    if row["test_accuracy"] is not None:
        line += f"  test accuracy {row['test_accuracy']:.2%}"
    if "reassigned" in row:
        line += f"  {row['reassigned']} labels reassigned"
    return line
