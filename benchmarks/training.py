"""What the loop costs beside the model's step: images a second of each, in one run.

    python -m benchmarks.training nonl_cifar10 --data FOLDER --steps 40

Interleaves, round after round, ``--steps`` steps of

- the loop: images from the trainer's batches (decoded once, augmented in batches on the device), gradients, optimiser;
- the step alone: the same gradients and optimiser on one batch that stays where it is, the limit of any loop;
- the classic loop: a PIL image at a time, decoded and augmented by torchvision's transforms in the workers of a
  DataLoader, as in the papers' released code.

Prints the medians over the rounds and their ratios as JSON. Any recipe's fields are options: ``--batch_size 512``.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from training.build import Parts, build_parts, preprocessing_of
from training.data import load_data, steps_per_epoch, training_batches
from training.recipe import Recipe, load_recipe


class Encoded(Dataset[tuple[Tensor, int]]):
    """PNG bytes, decoded and augmented an image at a time."""

    def __init__(self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], recipe: Recipe) -> None:
        self.files, self.labels = [], labels
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            self.files.append(buffer.getvalue())
        size = recipe.input_size
        crop = (
            transforms.RandomCrop(size, padding=recipe.crop_padding)
            if recipe.augmentation in ("crop", "crop_flip")
            else transforms.RandomResizedCrop(size, scale=recipe.crop_scale)
        )
        self.transform = transforms.Compose(
            [
                crop,
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(recipe.mean, recipe.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.open(io.BytesIO(self.files[index])).convert("RGB")
        return self.transform(image), int(self.labels[index])


def timed(parts: Parts, batches: Iterator[tuple[Tensor, Tensor]], steps: int) -> float:
    """Images a second of ``steps`` steps."""
    parts.model.train()
    images = 0
    _wait(parts)
    began = time.perf_counter()
    for inputs, labels in itertools.islice(batches, steps):
        parts.optimizer.zero_grad()
        parts.gradients(inputs, labels)
        parts.optimizer.step()
        images += len(labels)
    _wait(parts)
    return images / (time.perf_counter() - began)


def _wait(parts: Parts) -> None:
    if parts.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="nonl_cifar10")
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args, rest = parser.parse_known_args()
    fields = {name.removeprefix("--"): yaml.safe_load(value) for name, value in zip(rest[::2], rest[1::2], strict=True)}
    recipe = load_recipe(args.recipe, fields)
    preprocessing = preprocessing_of(recipe)
    data = load_data(args.data, preprocessing, storage="memory")
    labels = data.train.labels
    parts = build_parts(recipe, labels, len(data.classes), steps_per_epoch(len(labels), recipe.batch_size))
    device = parts.accelerator.device

    def ours() -> Iterator[tuple[Tensor, Tensor]]:
        for epoch in itertools.count():
            yield from training_batches(data.train, recipe, preprocessing, epoch=epoch, device=device)

    held = next(ours())
    classic_loader = DataLoader(
        Encoded(data.train.images, labels, recipe),
        recipe.batch_size,
        shuffle=True,
        num_workers=args.workers,
        drop_last=True,
        pin_memory=device.type == "cuda",
        persistent_workers=args.workers > 0,
    )

    def classic() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for inputs, targets in classic_loader:
                moved = inputs.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
                yield moved, targets.to(device, non_blocking=True)

    kinds = {"loop": ours(), "step_alone": itertools.repeat(held), "classic_loop": classic()}
    speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(args.rounds + 1):
        for kind, batches in kinds.items():
            speeds[kind].append(timed(parts, batches, args.steps))
    # The first round compiles, warms caches and starts workers.
    medians = {kind: statistics.median(values[1:]) for kind, values in speeds.items()}
    print(
        json.dumps(
            {
                "device": torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()} CPU cores",
                "recipe": {
                    name: getattr(recipe, name) for name in ("architecture", "batch_size", "precision", "compile")
                },
                "images_per_second": {kind: round(value, 1) for kind, value in medians.items()},
                "loop_over_step_alone": round(medians["loop"] / medians["step_alone"], 3),
                "loop_over_classic_loop": round(medians["loop"] / medians["classic_loop"], 3),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
