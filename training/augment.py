"""Random crops and flips of a whole batch at once, by one gather; every image gets its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def random_crop_flip(images: Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Pad with zeros, crop back to size at a random place, and mirror every second image (in the mean).

    torchvision's transforms draw one crop for a whole batch, so they would have to run image by image.

    Args:
        images: uint8 (N, 3, H, W).
        padding: pixels on each side; 0 leaves the crop out.
        flip: whether to mirror.
        generator: source of the offsets, on the CPU.

    Returns:
        uint8 (N, 3, H, W).
    """
    count, _, height, width = images.shape
    top, left = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand((count, 1), generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if flip:
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    padded = F.pad(images, (padding, padding, padding, padding)).permute(0, 2, 3, 1)
    picked = padded[torch.arange(count, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
