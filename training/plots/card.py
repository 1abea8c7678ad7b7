"""The pictures of a model card."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from training.evaluation import Outputs
from training.plots.embedding import embedding_figure, embedding_map
from training.plots.figures import to_png
from training.plots.gram import gram, gram_figure
from training.plots.reliability import reliability_figure

_SHOWN_IMAGES = 1000


def card_pictures(
    outputs: Outputs, prototypes: Tensor, classes: Sequence[str], calibration: Mapping[str, Any]
) -> dict[str, bytes]:
    """File name -> PNG: ``reliability.png``, ``prototypes.png`` and ``embeddings.png``.

    Args:
        outputs: of the test images, of which up to 1,000 are drawn: a random choice, and always the same.
        prototypes: (K, d) unit rows.
        classes: (K,) names.
        calibration: of :func:`training.calibration.calibration`.
    """
    points = prototypes.double().numpy()
    shown = np.random.default_rng(0).permutation(len(outputs.labels))[:_SHOWN_IMAGES]
    embeddings, labels = outputs.embeddings.double().numpy()[shown], outputs.labels.numpy()[shown]
    drawn = embedding_map(f"{len(shown)} test images", embeddings, labels, points)
    figures = {
        "reliability.png": reliability_figure(calibration),
        "prototypes.png": gram_figure([gram(f"{len(classes)} prototypes", points)], classes),
        "embeddings.png": embedding_figure([drawn], classes),
    }
    return {name: in_256_colours(to_png(figure)) for name, figure in figures.items()}


def in_256_colours(png: bytes) -> bytes:
    """The same picture at a third of the size; colours move by less than one sees."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        # The method that keeps the ends of a colour scale.
        reduced = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    reduced.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
