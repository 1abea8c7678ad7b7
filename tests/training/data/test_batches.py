from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from training.augment import crop_boxes, draw
from training.data import DataError, ImageData, Split, StoredSplit, epoch_order, load_data, training_batches
from training.data.order import generator_of
from training.recipe import Recipe
from zoo.bundle import Preprocessing
from zoo.errors import ImageError

CPU = torch.device("cpu")
AUGMENTATIONS = ("none", "crop", "crop_flip", "resized_crop", "contrastive")
Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def folder(make_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("batches") / "colours", train_images=9, test_images=1)


@pytest.fixture(scope="module", params=["memory", "disk"])
def data(request: pytest.FixtureRequest, folder: Path, preprocessing: Preprocessing) -> ImageData:
    return load_data(str(folder), preprocessing, storage=request.param)


@pytest.fixture
def recipe(tiny: Callable[..., Recipe]) -> Callable[..., Recipe]:
    """Batches of 8, with holes but for "none"; of contrastive augmentation two views."""

    def make(augmentation: str = "crop_flip", **fields: Any) -> Recipe:
        views: dict[str, Any] = {"objective": "scl", "head": "mlp"} if augmentation == "contrastive" else {}
        chances = {"blur": 0.5, "erase": 0.0 if augmentation == "none" else 0.5}
        return tiny(**{"batch_size": 8, "augmentation": augmentation, **chances, **views, **fields})

    return make


def batches(data: ImageData, recipe: Recipe, preprocessing: Preprocessing, **options: Any) -> Batches:
    return list(training_batches(data.train, recipe, preprocessing, **{"epoch": 0, "device": CPU, **options}))


def assert_equal(first: Batches, second: Batches) -> None:
    assert len(first) == len(second)
    for pair in zip(first, second, strict=True):
        for one, other in zip(*pair, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_are_normalised_inputs_with_their_labels(
    data: ImageData, recipe: Callable[..., Recipe], preprocessing: Preprocessing, augmentation: str
) -> None:
    made = recipe(augmentation)
    found = batches(data, made, preprocessing)
    order = epoch_order(data.train.labels, 8, batches="shuffled", seed=0, epoch=0)
    assert len(found) == 3
    low, high = ((edge - torch.tensor(preprocessing.mean)) / torch.tensor(preprocessing.std) for edge in (0, 1))
    for (inputs, labels), rows in zip(found, order, strict=True):
        assert inputs.shape == (8 * made.views, 3, 16, 16)
        assert inputs.dtype == torch.float32
        assert inputs.is_contiguous(memory_format=torch.channels_last)
        assert (inputs.amin((0, 2, 3)) >= low - 1e-5).all()
        assert (inputs.amax((0, 2, 3)) <= high + 1e-5).all()
        assert labels.tolist() == data.train.labels[rows].tolist() * made.views


def test_without_augmentation_a_batch_is_the_images_as_evaluation_sees_them(
    data: ImageData, recipe: Callable[..., Recipe], folder: Path, preprocessing: Preprocessing
) -> None:
    images = load_data(str(folder), preprocessing, storage="memory").train.images  # type: ignore[union-attr]
    order = epoch_order(data.train.labels, 8, batches="shuffled", seed=0, epoch=1)
    for (inputs, _), rows in zip(batches(data, recipe("none"), preprocessing, epoch=1), order, strict=True):
        expected = (images[rows] / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
        np.testing.assert_allclose(inputs.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_batches_are_a_function_of_seed_epoch_and_step(
    data: ImageData, recipe: Callable[..., Recipe], preprocessing: Preprocessing, augmentation: str
) -> None:
    whole = batches(data, recipe(augmentation), preprocessing)
    assert_equal(whole, batches(data, recipe(augmentation), preprocessing))
    assert_equal(whole[2:], batches(data, recipe(augmentation), preprocessing, start=2))
    assert batches(data, recipe(augmentation), preprocessing, start=3) == []
    for other in (
        batches(data, recipe(augmentation, seed=1), preprocessing),
        batches(data, recipe(augmentation), preprocessing, epoch=1),
    ):
        assert not any(torch.equal(one, two) for (one, _), (two, _) in zip(whole, other, strict=True))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_share_the_batch_of_one_process(
    data: ImageData, recipe: Callable[..., Recipe], preprocessing: Preprocessing, augmentation: str, ranks: int
) -> None:
    made = recipe(augmentation)
    parts = [batches(data, made, preprocessing, rank=rank, ranks=ranks) for rank in range(ranks)]
    for step, whole in enumerate(batches(data, made, preprocessing)):
        for kind in (0, 1):
            views = [part[step][kind].unflatten(0, (made.views, -1)) for part in parts]
            assert torch.equal(torch.cat(views, 1).flatten(0, 1), whole[kind])


def test_both_views_show_an_image_in_different_ways(
    data: ImageData, recipe: Callable[..., Recipe], preprocessing: Preprocessing
) -> None:
    for inputs, labels in batches(data, recipe("crop_flip", objective="scl", head="mlp"), preprocessing):
        first, second = inputs.chunk(2)
        assert not torch.equal(first, second)
        assert torch.equal(*labels.chunk(2))
        # The pictures are of one colour each: a view of another picture would mostly have another.
        assert (first.mean((2, 3)) - second.mean((2, 3))).abs().max() < 1


def test_a_batch_that_ranks_cannot_share_is_refused(
    data: ImageData, recipe: Callable[..., Recipe], preprocessing: Preprocessing
) -> None:
    with pytest.raises(DataError, match="2 ranks cannot share a batch of 27 images"):
        batches(data, recipe(batch_size=64), preprocessing, ranks=2)


def test_balanced_batches_hold_every_class(
    data: ImageData, recipe: Callable[..., Recipe], preprocessing: Preprocessing
) -> None:
    for _, labels in batches(data, recipe(batches="balanced"), preprocessing):
        assert sorted(labels.bincount().tolist()) == [2, 3, 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_neither_use_nor_move_the_global_generators(
    data: ImageData, recipe: Callable[..., Recipe], preprocessing: Preprocessing, workers: int
) -> None:
    torch.manual_seed(0)
    first = batches(data, recipe("contrastive"), preprocessing, workers=workers)
    torch.manual_seed(1)
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    assert_equal(first, batches(data, recipe("contrastive"), preprocessing, workers=workers))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (str(np.random.get_state()), random.getstate())


def test_autocast_of_the_caller_does_not_round_pixels(
    folder: Path, recipe: Callable[..., Recipe], preprocessing: Preprocessing
) -> None:
    large = replace(preprocessing, size=32)  # large enough for a blur of more than one pixel
    data = load_data(str(folder), large)
    expected = batches(data, recipe("contrastive"), large)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(expected, batches(data, recipe("contrastive"), large))


@pytest.mark.parametrize("augmentation", ["crop_flip", "contrastive"])
def test_workers_decode_the_same_batches(
    folder: Path, recipe: Callable[..., Recipe], preprocessing: Preprocessing, augmentation: str
) -> None:
    stored = load_data(str(folder), preprocessing, storage="disk")
    alone = batches(stored, recipe(augmentation), preprocessing, start=1)
    assert_equal(alone, batches(stored, recipe(augmentation), preprocessing, start=1, workers=2))


def test_crops_from_memory_and_disk_are_the_same_where_sizes_are(
    folder: Path, recipe: Callable[..., Recipe], preprocessing: Preprocessing
) -> None:
    both = [load_data(str(folder), preprocessing, storage=storage) for storage in ("memory", "disk")]
    for augmentation, tolerance in (("crop_flip", 0.0), ("resized_crop", 1.001)):
        pairs = zip(*(batches(data, recipe(augmentation), preprocessing) for data in both), strict=True)
        for (one, _), (other, _) in pairs:
            # Pillow rounds to whole numbers after each axis.
            levels = (one - other) * torch.tensor(preprocessing.std).view(3, 1, 1) * 255
            assert levels.abs().max() <= tolerance


def test_crops_from_the_disk_are_of_the_image_in_its_own_size(
    recipe: Callable[..., Recipe], preprocessing: Preprocessing
) -> None:
    class Ramps:
        """Pictures whose red tells the row and whose green tells the column."""

        def __getitem__(self, index: int, /) -> tuple[str, Image.Image]:
            height, width = 40, 100
            rows, columns = np.mgrid[:height, :width]
            return "ramp", Image.fromarray(np.stack([rows * 6, columns * 2, rows * 0], 2).astype(np.uint8))

    split = StoredSplit(Ramps(), np.arange(4), np.array([0, 1, 0, 1]))
    made = recipe("resized_crop", batch_size=4, erase=0.0)
    inputs, _ = next(training_batches(split, made, preprocessing, epoch=0, device=CPU))
    pixels = inputs * torch.tensor(preprocessing.std).view(3, 1, 1) + torch.tensor(preprocessing.mean).view(3, 1, 1)
    draws = draw(made, 4, generator_of(0, 0, 0))
    for image, (top, left, height, width), mirrored in zip(
        pixels * 255, crop_boxes(draws, 40, 100), draws["mirrored"], strict=True
    ):
        assert image[0].mean() / 6 == pytest.approx(top + (height - 1) / 2, abs=0.5)
        assert image[1].mean() / 2 == pytest.approx(left + (width - 1) / 2, abs=0.5)
        assert (image[1, 0, 0] > image[1, 0, -1]) == mirrored


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_named_in_one_line(
    make_folder: Callable[..., Path],
    tmp_path: Path,
    recipe: Callable[..., Recipe],
    preprocessing: Preprocessing,
    workers: int,
) -> None:
    folder = make_folder(tmp_path, train_images=3, test_images=1)
    (folder / "train" / "red" / "01.png").write_bytes(b"not an image")
    stored = load_data(str(folder), preprocessing, storage="disk")
    with pytest.raises(ImageError, match=r"red/01\.png") as caught:
        batches(stored, recipe(), preprocessing, workers=workers)
    assert "\n" not in str(caught.value)
    assert isinstance(stored.train, StoredSplit)


def test_two_processes_see_a_batch_larger_than_the_set_whole(
    recipe: Callable[..., Recipe], preprocessing: Preprocessing
) -> None:
    split = Split(np.zeros((6, 16, 16, 3), np.uint8), np.array([0, 1, 2, 0, 1, 2]))
    data = ImageData("few", "none", ("a", "b", "c"), split, split)
    parts = [batches(data, recipe(batch_size=64), preprocessing, rank=rank, ranks=2) for rank in (0, 1)]
    assert sorted(label for part in parts for _, labels in part for label in labels.tolist()) == [0, 0, 1, 1, 2, 2]
