from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from training.calibration import calibration
from training.evaluation import Outputs
from training.plots.card import card_pictures, in_256_colours
from training.plots.figures import to_png
from training.plots.gram import gram, gram_figure
from training.plots.reliability import reliability_figure


def drawn(classes: int, dim: int, count: int) -> dict[str, bytes]:
    generator = torch.Generator().manual_seed(0)
    prototypes = F.normalize(torch.randn(classes, dim, generator=generator), dim=1)
    labels = torch.randint(classes, (count,), generator=generator)
    embeddings = F.normalize(prototypes[labels] + torch.randn(count, dim, generator=generator) / dim**0.5, dim=1)
    logits = embeddings @ prototypes.T / 0.1
    names = [f"class {label}" for label in range(classes)]
    return card_pictures(Outputs(logits, embeddings, labels), prototypes, names, calibration(logits, labels))


@pytest.mark.parametrize(("classes", "dim", "count"), [(2, 1, 1), (10, 64, 3000), (200, 64, 1500)])
def test_three_light_pictures_of_1200_pixels_and_together_200_kilobytes(classes: int, dim: int, count: int) -> None:
    pictures = drawn(classes, dim, count)
    assert list(pictures) == ["reliability.png", "prototypes.png", "embeddings.png"]
    for png in pictures.values():
        with Image.open(io.BytesIO(png)) as picture:
            # No date or version beside the pixels, and light also on a dark page.
            assert (picture.format, picture.width, picture.info) == ("PNG", 1200, {})
            assert min(picture.convert("RGB").getpixel((2, 2))) >= 250
    assert sum(map(len, pictures.values())) < 200_000


def test_the_same_outputs_give_the_same_bytes() -> None:
    assert drawn(3, 2, 20) == drawn(3, 2, 20)


def test_fewer_colours_keep_both_ends_of_the_scale() -> None:
    generator = np.random.default_rng(0)
    figure = gram_figure([gram("prototypes", unit_rows(generator.standard_normal((200, 64))))], ["class"] * 200)
    with Image.open(io.BytesIO(in_256_colours(to_png(figure)))) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for end in (0.0, 1.0):
        colour = np.array(colormaps["RdBu_r"](end)[:3]) * 255
        assert np.abs(pixels - colour).max(1).min() <= 10


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_diagram_has_a_bar_at_the_bin_and_height_of_each_row() -> None:
    rows = [
        {"bin": 7, "count": 4, "confidence": 0.5, "accuracy": 0.25},
        {"bin": 14, "count": 36, "confidence": 0.98, "accuracy": 0.9},
    ]
    diagram, histogram = reliability_figure({"ece": 0.097, "bins": rows}).axes
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in diagram.patches]
    assert bars == [pytest.approx((7 / 15, 1 / 15, 0.25)), pytest.approx((14 / 15, 1 / 15, 0.9))]
    assert [bar.get_height() for bar in histogram.patches] == [4, 36]
    assert diagram.get_title().endswith("9.70%")
    assert histogram.get_title().startswith("40 test images")
