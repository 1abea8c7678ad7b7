"""Augmentation of a whole batch at once, on the device it is on; every image has its own draws.

What is drawn (:func:`draw`, on the CPU) and what is done with it (:func:`crop`, :func:`finish`, pure functions) are
two things, so that a rank can take its part of a batch's draws, and a worker its image's crop. torchvision's transforms
draw once for a whole batch, so they would have to run image by image.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.recipe import Recipe

Draws = dict[str, NDArray[Any]]

ASPECTS = (3 / 4, 4 / 3)
_ATTEMPTS = 10
_FACTORS = np.array([0.4, 0.4, 0.4, 0.1], np.float32)
_CONTRAST, _SATURATION, _HUE = 1, 2, 3
_SIGMAS = (0.1, 2.0)
_HOLE_SHARES = (0.02, 1 / 3)
_LOG_HOLE_ASPECTS = (math.log(0.3), -math.log(0.3))


def draw(recipe: Recipe, count: int, generator: np.random.Generator) -> Draws:
    """What chance decides about ``count`` images: arrays of that length, by name.

    Source: of ``contrastive``, Chen et al. 2020 ("A Simple Framework for Contrastive Learning of Visual
    Representations"), appendix A, with the strengths of Khosla et al. 2020 ("Supervised Contrastive Learning").
    """
    draws: Draws = {}
    if recipe.augmentation in ("crop", "crop_flip"):
        draws["shift"] = generator.integers(0, 2 * recipe.crop_padding + 1, (count, 2))
    if recipe.resizes_crops:
        draws["share"] = generator.uniform(*recipe.crop_scale, (count, _ATTEMPTS))
        draws["aspect"] = np.exp(generator.uniform(np.log(ASPECTS[0]), np.log(ASPECTS[1]), (count, _ATTEMPTS)))
        draws["place"] = generator.random((count, 2))
    if recipe.augmentation in ("crop_flip", "resized_crop", "contrastive"):
        draws["mirrored"] = generator.random(count) < 0.5
    if recipe.augmentation == "contrastive":
        draws |= _draw_colours(count, generator)
        draws["blurred"] = generator.random(count) < recipe.blur
        draws["sigma"] = generator.uniform(*_SIGMAS, count).astype(np.float32)
    if recipe.erase:
        draws["erased"] = generator.random(count) < recipe.erase
        draws["hole_share"] = generator.uniform(*_HOLE_SHARES, (count, _ATTEMPTS))
        draws["hole_aspect"] = np.exp(generator.uniform(*_LOG_HOLE_ASPECTS, (count, _ATTEMPTS)))
        draws["hole_place"] = generator.random((count, 2))
    return draws


def _draw_colours(count: int, generator: np.random.Generator) -> Draws:
    changes = generator.uniform(-1, 1, (count, 4)).astype(np.float32) * _FACTORS
    # A factor of 1, for the hue a shift by 0, leaves an image as it is.
    changes[generator.random(count) >= 0.8] = 0
    return {
        "factors": changes + np.array([1, 1, 1, 0], np.float32),
        "order": generator.permuted(np.tile(np.arange(4), (count, 1)), axis=1),
        "grey": generator.random(count) < 0.2,
    }


def crop(images: Tensor, draws: Draws, recipe: Recipe) -> Tensor:
    """The random crops of images that are as large as the crops shall be.

    Args:
        images: uint8 (N, 3, S, S).
        draws: of these N.
        recipe: that they were drawn for.

    Returns:
        (N, 3, S, S), uint8, or float32 in [0, 1] where the crops were resized.
    """
    if "shift" in draws:
        return shifted(images, torch.from_numpy(draws["shift"]), padding=recipe.crop_padding)
    if "share" in draws:
        size = images.shape[-1]
        return resized_crop(images, torch.from_numpy(crop_boxes(draws, size, size)), size)
    return images


def finish(images: Tensor, draws: Draws) -> Tensor:
    """All that follows the crop: mirror image, colours, blur.

    Args:
        images: (N, 3, S, S), uint8, or float32 in [0, 1].
        draws: of these N.

    Returns:
        The same shape; uint8 in and no colours drawn: uint8; else float32 in [0, 1].
    """
    if "mirrored" in draws:
        images = _where(draws["mirrored"], images.flip(3), images)
    if "factors" in draws:
        images = jittered(unit(images), draws["factors"], draws["order"])
        images = _where(draws["grey"], _grey(images), images)
        rows = np.flatnonzero(draws["blurred"])
        if len(rows):
            picked = _to(rows, images)
            images[picked] = blurred(images[picked], _to(draws["sigma"][rows], images))
    return images


def erase(inputs: Tensor, draws: Draws) -> Tensor:
    """Set a random rectangle of some images to the mean of the normalised pixels, 0.

    Args:
        inputs: (N, 3, H, W), normalised.
        draws: of these N; without "erased" nothing is done.

    Source: Zhong et al. 2020, "Random Erasing Data Augmentation", with timm's shares of the area and aspects.
    """
    if "erased" not in draws:
        return inputs
    height, width = inputs.shape[2:]
    top, left, rows, columns = _to(holes(draws, height, width), inputs).T[..., None]
    down, right = (torch.arange(side, device=inputs.device) for side in (height, width))
    is_row = (down >= top) & (down < top + rows)
    is_column = (right >= left) & (right < left + columns)
    # masked_fill itself would give up channels_last.
    return inputs.clone().masked_fill_((is_row[:, :, None] & is_column[:, None, :])[:, None], 0)


def holes(draws: Draws, height: int, width: int) -> NDArray[np.int64]:
    """Boxes (N, 4), top, left, height, width, of what is erased; of no height where nothing is."""
    area = draws["hole_share"] * height * width
    heights = np.round(np.sqrt(area * draws["hole_aspect"])).astype(np.int64)
    widths = np.round(np.sqrt(area / draws["hole_aspect"])).astype(np.int64)
    fits = (heights < height) & (widths < width)
    first = fits.argmax(1)[:, None]
    sides = np.concatenate([np.take_along_axis(side, first, 1) for side in (heights, widths)], 1)
    corners = np.floor(draws["hole_place"] * (np.array([height, width]) - sides + 1)).astype(np.int64)
    kept = draws["erased"] & fits.any(1)
    return np.concatenate([corners, np.where(kept[:, None], sides, 0)], 1)


def _to(array: NDArray[Any], images: Tensor) -> Tensor:
    return torch.from_numpy(array).to(images.device)


def _where(mask: NDArray[np.bool_], chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(_to(mask, other).view(-1, 1, 1, 1), chosen, other)


def unit(images: Tensor) -> Tensor:
    """uint8, or float in [0, 1] -> float32 in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def shifted(images: Tensor, shift: Tensor, *, padding: int) -> Tensor:
    """Pad with zeros, and crop back to size: by one gather.

    Args:
        images: (N, 3, H, W).
        shift: int64 (N, 2), top and left of the crop in the padded image, 0 to twice the padding.
        padding: pixels on each side.
    """
    count, _, height, width = images.shape
    top, left = shift.to(images.device).T[..., None]
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    padded = F.pad(images, (padding, padding, padding, padding)).permute(0, 2, 3, 1)
    picked = padded[torch.arange(count, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def crop_boxes(draws: Draws, height: int, width: int) -> NDArray[np.int64]:
    """Boxes of random resized crops in images of one size, in torchvision's way.

    Args:
        draws: share and aspect (N, attempts) of the boxes, place (N, 2) in [0, 1).
        height: of the images, in pixels.
        width: of the images, in pixels.

    Returns:
        (N, 4): top, left, height, width. Where no attempt fits, the largest centred box of an aspect in its range.
    """
    area = draws["share"] * height * width
    widths = np.round(np.sqrt(area * draws["aspect"])).astype(np.int64)
    heights = np.round(np.sqrt(area / draws["aspect"])).astype(np.int64)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.argmax(1)[:, None]
    sides = np.concatenate([np.take_along_axis(side, first, 1) for side in (heights, widths)], 1)
    corners = np.floor(draws["place"] * (np.array([height, width]) - sides + 1)).astype(np.int64)
    largest = np.array([min(height, round(width / ASPECTS[0])), min(width, round(height * ASPECTS[1]))])
    centred = np.concatenate([(np.array([height, width]) - largest) // 2, largest])
    return np.where(fits.any(1)[:, None], np.concatenate([corners, sides], 1), centred)


def resized_crop(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut a box out of each image and resize it, bilinearly, with Pillow's antialiasing.

    Resizing is linear along each axis, so that a batch of crops is two batched products of matrices.

    Args:
        images: uint8, or float in [0, 1], (N, 3, H, W).
        boxes: int64 (N, 4), top, left, height and width, inside the images.
        size: side of the results.

    Returns:
        float32 (N, 3, size, size) in [0, 1].
    """
    top, left, height, width = boxes.to(images.device).T
    rows = _resampling(top, height, images.shape[2], size)
    columns = _resampling(left, width, images.shape[3], size)
    return _separable(unit(images), rows, columns)


def _resampling(start: Tensor, length: Tensor, before: int, after: int) -> Tensor:
    """Weights (N, after, before) that take ``length`` pixels from ``start`` on to ``after`` pixels."""
    scale = (length / after)[:, None, None]
    start, end = start[:, None, None], (start + length)[:, None, None]
    pixels = torch.arange(before, device=length.device) + 0.5
    centres = start + (torch.arange(after, device=length.device)[:, None] + 0.5) * scale
    weights = (1 - (pixels - centres).abs() / scale.clamp(min=1)).clamp(min=0) * ((pixels > start) & (pixels < end))
    return weights / weights.sum(2, keepdim=True)


def _separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, 3, H, W) by matrices (N, H', H) and (N, W', W) -> (N, 3, H', W')."""
    count, channels, height, width = images.shape
    flat = images.transpose(1, 2).reshape(count, height, channels * width)
    flat = torch.bmm(rows, flat).view(count, -1, width)
    result = torch.bmm(flat, columns.transpose(1, 2))
    return result.view(count, rows.shape[1], channels, columns.shape[1]).transpose(1, 2)


def _grey(images: Tensor) -> Tensor:
    """ITU-R 601's luma (N, 1, H, W), as Pillow's mode L."""
    red, green, blue = images.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


def jittered(images: Tensor, factors: NDArray[np.float32], order: NDArray[np.int64]) -> Tensor:
    """Change brightness, contrast, saturation and hue, in each image's own order.

    Args:
        images: float32 (N, 3, H, W) in [0, 1].
        factors: (N, 4), of brightness, contrast and saturation, and the hue's shift in turns.
        order: (N, 4), permutations of 0 to 3.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    for turn in range(4):
        change = order[:, turn]
        chosen = np.where(change == _HUE, np.float32(1), np.take_along_axis(factors, change[:, None], 1)[:, 0])
        strength = _to(chosen, images).view(-1, 1, 1, 1)
        grey = _grey(images)
        towards = _where(change == _CONTRAST, grey.mean((2, 3), keepdim=True), torch.zeros_like(grey))
        towards = _where(change == _SATURATION, grey, towards)
        images = (images * strength).add_(towards * (1 - strength)).clamp_(0, 1)
        rows = np.flatnonzero((change == _HUE) & (factors[:, _HUE] != 0))
        if len(rows):
            picked = _to(rows, images)
            images[picked] = hue_shifted(images[picked], _to(factors[rows, _HUE], images))
    return images


def hue_shifted(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of HSV.

    Args:
        images: float32 (N, 3, H, W) in [0, 1].
        turns: (N,), in [-0.5, 0.5].
    """
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    divisor = chroma.clamp(min=1e-12)
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    # Red, green and blue are one trapezium over the hue, in sixths of a turn, at three phases.
    phases = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    sixths = (phases + (hue + 6 * turns.view(-1, 1, 1))[:, None]) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(sixths, 4 - sixths).clamp_(0, 1)


def blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Gaussian blur over a tenth of the side, as in SimCLR, mirrored at the border.

    Args:
        images: float32 (N, 3, S, S).
        sigmas: (N,), in pixels.
    """
    size = images.shape[-1]
    radius = size // 10 // 2
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    taps = (-0.5 * (offsets / sigmas[:, None]) ** 2).exp()
    taps = taps / taps.sum(1, keepdim=True)
    sources = (torch.arange(size, device=images.device)[:, None] + offsets).abs()
    sources = torch.minimum(sources, 2 * (size - 1) - sources)
    weights = torch.einsum("nt,stj->nsj", taps, F.one_hot(sources, size).float())
    return _separable(images, weights, weights)
