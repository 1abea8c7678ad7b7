from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.augment import random_crop_flip


def pictures(count: int = 40, height: int = 7, width: int = 9) -> Tensor:
    """Noise without a zero, so that padding can be told from picture and no two crops are equal."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    outputs = random_crop_flip(images, padding=padding, flip=flip, generator=seeded())
    assert outputs.shape == images.shape
    assert outputs.dtype == torch.uint8
    places = [which(output, image, padding) for output, image in zip(outputs, images, strict=True)]
    assert {mirrored for *_, mirrored in places} == ({False, True} if flip else {False})
    assert {top for top, *_ in places} == {left for _, left, _ in places} == set(range(2 * padding + 1))


def test_every_image_draws_its_own_crop_and_flip() -> None:
    same = pictures(1).expand(60, -1, -1, -1)
    outputs = random_crop_flip(same, padding=2, flip=True, generator=seeded())
    places = [which(output, same[0], 2) for output in outputs]
    assert len(set(places)) > 20
    assert 15 < sum(mirrored for *_, mirrored in places) < 45
    assert any(top != left for top, left, _ in places)


def test_no_padding_and_no_flip_is_the_identity() -> None:
    images = pictures()
    assert torch.equal(random_crop_flip(images, padding=0, flip=False, generator=seeded()), images)


def test_generator_alone_decides() -> None:
    images = pictures()
    first, again, other = (random_crop_flip(images, padding=2, flip=True, generator=seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_input_stays_as_it_was() -> None:
    images = pictures()
    before = images.clone()
    random_crop_flip(images, padding=2, flip=True, generator=seeded())
    assert torch.equal(images, before)
