"""Batches: every one of them a pure function of the recipe's seed, the epoch and the step."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training.augment import Draws, crop, crop_boxes, draw, erase, finish, unit
from training.data.order import epoch_order, generator_of, steps_per_epoch
from training.data.splits import DataError, Split, StoredSplit
from training.recipe import Recipe
from zoo import memory
from zoo.bundle import Preprocessing
from zoo.errors import ImageError

__all__ = [
    "epoch_order",
    "evaluation_batches",
    "steps_per_epoch",
    "to_input",
    "to_tensor",
    "training_batches",
]


def to_input(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8, or float in [0, 1], (N, 3, H, W) -> float32, normalised, channels_last."""
    mean = torch.tensor(preprocessing.mean, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=images.device).view(1, 3, 1, 1)
    return ((unit(images) - mean) / std).contiguous(memory_format=torch.channels_last)


def to_tensor(split: Split) -> Tensor:
    """uint8 (N, H, W, 3) array -> uint8 (N, 3, H, W) tensor."""
    return torch.from_numpy(split.images).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Steps:
    """What this rank takes of each step of an epoch."""

    recipe: Recipe
    order: NDArray[np.int64]
    epoch: int
    rank: int
    ranks: int

    def indices(self, step: int) -> NDArray[np.int64]:
        """(m,), of the images."""
        return np.split(self.order[step], self.ranks)[self.rank]

    def draws(self, step: int) -> Draws:
        """Of all first views, then of all second views."""
        size = self.order.shape[1]
        draws = draw(self.recipe, self.recipe.views * size, generator_of(self.recipe.seed, self.epoch, step))
        mine = np.split(np.arange(self.recipe.views * size).reshape(-1, size), self.ranks, axis=1)[self.rank].ravel()
        return {name: values[mine] for name, values in draws.items()}


def training_batches(
    split: Split | StoredSplit,
    recipe: Recipe,
    preprocessing: Preprocessing,
    *,
    epoch: int,
    start: int = 0,
    rank: int = 0,
    ranks: int = 1,
    device: torch.device,
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches of an epoch.

    Args:
        split: to train on. From memory, crops are cut out of the images as evaluation sees them; from the disk, a
            random resized crop is cut out of the image in its own size.
        recipe: augmentation, batches, views and seed.
        preprocessing: normalisation, and size of the images from the disk.
        epoch: from 0.
        start: step to begin with; the batches are those that an epoch from 0 has from there on.
        rank: which part of each batch this process takes, from 0.
        ranks: number of the equal, contiguous parts.
        device: of the results.
        workers: processes that decode images from the disk; 0: this one.

    Yields:
        Inputs float32 (views * m, 3, S, S), normalised, channels_last, all first views before all second ones; labels
        int64 (views * m,).

    Raises:
        DataError: the ranks cannot share a batch equally.
        ImageError: an image cannot be decoded; it is named.
    """
    order = epoch_order(split.labels, recipe.batch_size, batches=recipe.batches, seed=recipe.seed, epoch=epoch)
    if order.shape[1] % ranks:
        raise DataError(
            f"{ranks} ranks cannot share a batch of {order.shape[1]} images equally: choose another batch_size"
        )
    steps = _Steps(recipe, order, epoch, rank, ranks)
    if isinstance(split, Split):
        batches = _from_memory(split, steps, start, device)
    else:
        batches = _from_disk(split, steps, preprocessing, start, device, workers)
    with memory.kept():
        for step, images in enumerate(batches, start):
            draws = steps.draws(step)
            # In a caller's autocast, products of matrices would round pixels to 8 bits of mantissa.
            with torch.autocast(device.type, enabled=False):
                is_cut = isinstance(split, StoredSplit) and "share" in draws
                crops = images if is_cut else crop(images, draws, recipe)
                inputs = erase(to_input(finish(crops, draws), preprocessing), draws)
            labels = torch.from_numpy(np.tile(split.labels[steps.indices(step)], recipe.views))
            yield inputs, labels.to(device)


def _from_memory(split: Split, steps: _Steps, start: int, device: torch.device) -> Iterator[Tensor]:
    """uint8 (views * m, 3, S, S) images as they are."""
    for step in range(start, len(steps.order)):
        images = torch.from_numpy(split.images[steps.indices(step)]).permute(0, 3, 1, 2)
        if device.type == "cuda":
            images = images.pin_memory()
        yield images.to(device, non_blocking=True).repeat(steps.recipe.views, 1, 1, 1)


def _from_disk(
    split: StoredSplit, steps: _Steps, preprocessing: Preprocessing, start: int, device: torch.device, workers: int
) -> Iterator[Tensor]:
    """uint8 (views * m, 3, S, S) images; random resized crops are already cut out."""
    loader = DataLoader(
        _Decoder(split, steps, preprocessing),
        batch_size=None,
        sampler=range(start, len(steps.order)),
        num_workers=workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else it would draw from torch's global one
    )
    for decoded in loader:
        # An exception would come out of a worker as its traceback, in many lines.
        if isinstance(decoded, str):
            raise ImageError(decoded)
        yield decoded.to(device, non_blocking=True).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Decoder(Dataset[Tensor | str]):
    """Step -> its images, uint8 (views * m, S, S, 3), or what is wrong with one of them."""

    split: StoredSplit
    steps: _Steps
    preprocessing: Preprocessing

    def __getitem__(self, step: int) -> Tensor | str:
        try:
            pictures = [self.split.picture(index) for index in self.steps.indices(step)]
        except ImageError as error:
            return str(error)
        draws, views = self.steps.draws(step), self.steps.recipe.views
        if "share" in draws:
            pixels = [self._crop(picture, draws, row) for row, picture in enumerate(pictures * views)]
        else:
            pixels = [self.preprocessing.pixels(picture) for picture in pictures] * views
        return torch.from_numpy(np.stack(pixels))

    def _crop(self, picture: Image.Image, draws: Draws, row: int) -> NDArray[np.uint8]:
        one = {name: draws[name][row : row + 1] for name in ("share", "aspect", "place")}
        top, left, height, width = crop_boxes(one, picture.height, picture.width)[0].tolist()
        box = picture.crop((left, top, left + width, top + height))
        return np.asarray(box.resize((self.preprocessing.size,) * 2, Image.Resampling.BILINEAR))


def evaluation_batches(split: Split | StoredSplit, preprocessing: Preprocessing, size: int) -> Iterator[Tensor]:
    """All images in order, resized and cropped as for evaluation: uint8 (<= size, 3, S, S) on the CPU.

    Raises:
        ImageError: an image cannot be decoded; it is named.
    """
    with memory.kept():
        if isinstance(split, Split):
            yield from to_tensor(split).split(size)
            return
        stored = split
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(split.labels), size):
                indices = range(start, min(start + size, len(split.labels)))
                images = pool.map(lambda index: preprocessing.pixels(stored.picture(index)), indices)
                yield torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2)
