from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from training.augment import (
    ASPECTS,
    Draws,
    blurred,
    crop,
    crop_boxes,
    draw,
    erase,
    finish,
    holes,
    jittered,
    resized_crop,
)
from training.recipe import Recipe


def pictures(count: int = 40, height: int = 7, width: int = 9) -> Tensor:
    """Noise without a zero, so that padding can be told from picture and no two crops are equal."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_crop_flip(images: Tensor, *, padding: int, flip: bool, seed: int = 0) -> Tensor:
    chosen = recipe("crop_flip" if flip else "crop", crop_padding=padding)
    draws = draw(chosen, len(images), np.random.default_rng(seed))
    return finish(crop(images, draws, chosen), draws)


def crops(image: Tensor, padding: int) -> dict[tuple[int, int, bool], Tensor]:
    """Every crop of one padded picture and its mirror image, written out by loops."""
    channels, height, width = image.shape
    padded = torch.zeros(channels, height + 2 * padding, width + 2 * padding, dtype=torch.uint8)
    padded[:, padding : padding + height, padding : padding + width] = image
    found = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[:, top : top + height, left : left + width]
            found[top, left, False] = crop
            found[top, left, True] = torch.stack([crop[:, :, width - 1 - x] for x in range(width)], dim=2)
    return found


def which(output: Tensor, image: Tensor, padding: int) -> tuple[int, int, bool]:
    places = [place for place, crop in crops(image, padding).items() if torch.equal(crop, output)]
    assert len(places) == 1
    return places[0]


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_every_output_is_a_crop_of_its_padded_input_or_the_mirror_image_of_one(padding: int, flip: bool) -> None:
    images = pictures()
    outputs = random_crop_flip(images, padding=padding, flip=flip)
    assert outputs.shape == images.shape
    assert outputs.dtype == torch.uint8
    places = [which(output, image, padding) for output, image in zip(outputs, images, strict=True)]
    assert {mirrored for *_, mirrored in places} == ({False, True} if flip else {False})
    assert {top for top, *_ in places} == {left for _, left, _ in places} == set(range(2 * padding + 1))


def test_every_image_draws_its_own_crop_and_flip() -> None:
    same = pictures(1).expand(60, -1, -1, -1)
    outputs = random_crop_flip(same, padding=2, flip=True)
    places = [which(output, same[0], 2) for output in outputs]
    assert len(set(places)) > 20
    assert 15 < sum(mirrored for *_, mirrored in places) < 45
    assert any(top != left for top, left, _ in places)


def test_no_padding_and_no_flip_is_the_identity() -> None:
    images = pictures()
    assert torch.equal(random_crop_flip(images, padding=0, flip=False), images)


def test_generator_alone_decides() -> None:
    images = pictures()
    first, again, other = (random_crop_flip(images, padding=2, flip=True, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_input_stays_as_it_was() -> None:
    images = pictures()
    before = images.clone()
    random_crop_flip(images, padding=2, flip=True)
    assert torch.equal(images, before)


def recipe(augmentation: str, **fields: Any) -> Recipe:
    return Recipe(objective="nonl", architecture="any", epochs=1, lr=1, augmentation=augmentation, **fields)


def drawn(augmentation: str, count: int, seed: int = 0, **fields: Any) -> Draws:
    return draw(recipe(augmentation, **fields), count, np.random.default_rng(seed))


def floats(count: int = 6, size: int = 20) -> Tensor:
    """Pictures in [0, 1], some of one grey, and with their extremes."""
    images = torch.rand(count, 3, size, size, generator=seeded())
    images[:, :, :3] = images[:, :1, :3]
    images[:, :, 3, :4] = torch.tensor([0.0, 1.0, 0.5, 0.0])
    return images


def naive_box(share: list[float], aspect: list[float], place: list[float], height: int, width: int) -> list[int]:
    """torchvision's loop, with what it draws given; its draw of the place scaled from [0, 1)."""
    for area, ratio in zip(share, aspect, strict=True):
        w, h = round(math.sqrt(area * height * width * ratio)), round(math.sqrt(area * height * width / ratio))
        if 0 < w <= width and 0 < h <= height:
            return [int(place[0] * (height - h + 1)), int(place[1] * (width - w + 1)), h, w]
    w, h = width, height
    if width / height < min(ASPECTS):
        h = round(width / min(ASPECTS))
    elif width / height > max(ASPECTS):
        w = round(height * max(ASPECTS))
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 90), (90, 20), (375, 500), (3, 200), (1, 1)])
def test_boxes_of_resized_crops_are_torchvisions(height: int, width: int) -> None:
    draws = drawn("resized_crop", 300, crop_scale=(0.2, 1.0))
    boxes = crop_boxes(draws, height, width)
    expected = [
        naive_box(*(draws[name][row].tolist() for name in ("share", "aspect", "place")), height, width)
        for row in range(300)
    ]
    assert boxes.tolist() == expected
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [height, width]).all()
    assert (boxes[:, 2:] >= 1).all()


def test_shares_and_aspects_fill_the_range_of_the_recipe() -> None:
    draws = drawn("resized_crop", 2000, crop_scale=(0.3, 0.6))
    boxes = crop_boxes(draws, 1000, 1000)
    share, aspect = boxes[:, 2] * boxes[:, 3] / 1e6, boxes[:, 3] / boxes[:, 2]
    assert 0.299 < share.min() < 0.31
    assert 0.59 < share.max() < 0.601
    assert share.mean() == pytest.approx(0.45, abs=0.01)
    assert 0.749 < aspect.min() < 0.76
    assert 1.32 < aspect.max() < 1.335
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.02)
    assert 0.45 < draws["mirrored"].mean() < 0.55


BOXES = torch.tensor([[0, 0, 20, 30], [3, 5, 7, 9], [19, 29, 1, 1], [2, 0, 18, 30], [0, 4, 20, 3], [5, 5, 12, 12]])


@pytest.mark.parametrize("size", [5, 12, 64])
def test_resized_crops_are_torchvisions(size: int) -> None:
    """Larger and smaller ones, with antialiasing, each image its box."""
    images = torch.rand(len(BOXES), 3, 20, 30, generator=seeded())
    outputs = resized_crop(images, BOXES, size)
    for output, image, box in zip(outputs, images, BOXES.tolist(), strict=True):
        expected = v2.functional.resized_crop(image, *box, [size, size], antialias=True)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [5, 12, 64])
def test_resized_crops_are_pillows_to_its_rounding(size: int) -> None:
    images = torch.randint(0, 256, (len(BOXES), 3, 20, 30), dtype=torch.uint8, generator=seeded())
    outputs = resized_crop(images, BOXES, size).permute(0, 2, 3, 1) * 255
    for output, image, (top, left, height, width) in zip(outputs, images, BOXES.tolist(), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
        expected = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(output.numpy() - expected).max() <= 1.001


NEUTRAL = np.array([1, 1, 1, 0], np.float32)
ADJUST = (
    v2.functional.adjust_brightness,
    v2.functional.adjust_contrast,
    v2.functional.adjust_saturation,
    v2.functional.adjust_hue,
)


@pytest.mark.parametrize("change", range(4))
@pytest.mark.parametrize("value", [-1.0, -0.4, 0.3, 1.0])
def test_each_change_of_colour_is_torchvisions(change: int, value: float) -> None:
    images = floats()
    factors = np.tile(NEUTRAL, (6, 1))
    factors[:, change] += value * (0.4 if change < 3 else 0.5)
    outputs = jittered(images, factors, np.tile(np.arange(4), (6, 1)))
    expected = ADJUST[change](images, float(factors[0, change]))
    torch.testing.assert_close(outputs, expected, atol=1e-4, rtol=0)  # its grey has .2989 for red


def test_every_image_has_its_own_changes_of_colour_in_its_own_order() -> None:
    images = floats(24)
    order = np.array(list(itertools.permutations(range(4))))
    factors = (NEUTRAL + np.random.default_rng(0).uniform(-0.1, 0.1, (24, 4)) * [4, 4, 4, 1]).astype(np.float32)
    outputs = jittered(images, factors, order)
    for output, image, row, turns in zip(outputs, images, factors, order, strict=True):
        expected = image
        for change in turns:
            expected = ADJUST[change](expected, float(row[change]))
        torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)  # its grey has .2989 for red


def test_neutral_changes_of_colour_leave_an_image_as_it_is() -> None:
    images = floats()
    assert torch.equal(jittered(images, np.tile(NEUTRAL, (6, 1)), np.tile(np.arange(4), (6, 1))), images)


@pytest.mark.parametrize(("size", "taps"), [(8, 1), (20, 3), (32, 3), (224, 23)])
def test_blur_is_torchvisions_over_a_tenth_of_the_side(size: int, taps: int) -> None:
    images = torch.rand(3, 3, size, size, generator=seeded())
    sigmas = torch.tensor([0.1, 0.8, 2.0])
    outputs = blurred(images, sigmas)
    for output, image, sigma in zip(outputs, images, sigmas.tolist(), strict=True):
        expected = v2.functional.gaussian_blur(image, [taps, taps], [sigma, sigma])
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


def test_contrastive_draws_have_simclrs_shares() -> None:
    draws = drawn("contrastive", 4000, blur=0.5)
    changed = (draws["factors"] != NEUTRAL).any(1)
    assert changed.mean() == pytest.approx(0.8, abs=0.03)
    assert draws["grey"].mean() == pytest.approx(0.2, abs=0.03)
    assert draws["blurred"].mean() == pytest.approx(0.5, abs=0.03)
    assert not drawn("contrastive", 4000)["blurred"].any()
    widest = np.abs(draws["factors"] - NEUTRAL).max(0)
    np.testing.assert_allclose(widest, [0.4, 0.4, 0.4, 0.1], rtol=0.01)
    assert len(np.unique(draws["order"], axis=0)) == 24
    assert 0.1 <= draws["sigma"].min() < 0.12
    assert 1.98 < draws["sigma"].max() <= 2


def test_finish_does_to_each_image_what_was_drawn_for_it() -> None:
    images = (floats(64) * 255).byte()
    draws = drawn("contrastive", 64, blur=0.5)
    outputs = finish(images, draws)
    for row in range(64):
        image = images[row : row + 1].float() / 255
        if draws["mirrored"][row]:
            image = v2.functional.horizontal_flip(image)
        for change in draws["order"][row]:
            image = ADJUST[change](image, float(draws["factors"][row, change]))
        if draws["grey"][row]:
            image = v2.functional.rgb_to_grayscale(image, num_output_channels=3)
        if draws["blurred"][row]:
            image = v2.functional.gaussian_blur(image, [3, 3], [float(draws["sigma"][row])] * 2)
        torch.testing.assert_close(outputs[row : row + 1], image, atol=5e-4, rtol=0)


@pytest.mark.parametrize("augmentation", ["none", "crop", "crop_flip", "resized_crop", "contrastive"])
def test_crop_and_finish_leave_their_input_as_it_was(augmentation: str) -> None:
    images = pictures(height=9)
    before = images.clone()
    made = recipe(augmentation, crop_padding=2, blur=1)
    draws = drawn(augmentation, len(images), crop_padding=2, blur=1)
    crops = crop(images, draws, made)
    assert crops.shape == finish(crops, draws).shape == images.shape
    finish(images, draws)
    assert torch.equal(images, before)


def test_erasing_sets_each_image_s_own_rectangle_to_the_mean() -> None:
    inputs = torch.randn(400, 3, 12, 16, generator=seeded()).contiguous(memory_format=torch.channels_last)
    draws = drawn("none", 400, erase=0.5)
    outputs = erase(inputs, draws)
    for output, image, (top, left, height, width) in zip(outputs, inputs, holes(draws, 12, 16).tolist(), strict=True):
        expected = image.clone()
        expected[:, top : top + height, left : left + width] = 0
        assert torch.equal(output, expected)
    changed = (outputs != inputs).flatten(1).any(1)
    assert torch.equal(changed, torch.from_numpy(draws["erased"]))
    assert changed.float().mean() == pytest.approx(0.5, abs=0.06)
    assert outputs.is_contiguous(memory_format=torch.channels_last)


def test_holes_lie_inside_with_the_shares_and_aspects_of_random_erasing() -> None:
    boxes = holes(drawn("none", 4000, erase=1), 64, 64)
    top, left, height, width = boxes.T
    assert (boxes >= 0).all()
    assert ((top + height <= 64) & (left + width <= 64) & (height > 0) & (width > 0)).all()
    shares, aspects = height * width / 64**2, height / width
    assert 0.015 < shares.min() < 0.03
    assert 0.30 < shares.max() < 0.35
    assert 0.2 < aspects.min() < 0.4
    assert 2.8 < aspects.max() < 4.5
    assert len(np.unique(boxes[:, :2], axis=0)) > 1000
    assert {0, *range(20)} <= set(top.tolist())


def test_without_erase_nothing_else_is_drawn() -> None:
    """So that runs of before this option go on with the same batches."""
    assert drawn("crop_flip", 8).keys() == {"shift", "mirrored"}
    with_holes = drawn("crop_flip", 8, erase=0.3)
    for name, values in drawn("crop_flip", 8).items():
        np.testing.assert_array_equal(with_holes[name], values)
    inputs = torch.ones(8, 3, 4, 4)
    assert erase(inputs, drawn("crop_flip", 8)) is inputs
