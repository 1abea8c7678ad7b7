"""Telling unknown images from known ones by the cosine to the nearest prototype."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from training.data import DataError, ImageData, load_data
from training.evaluation import Outputs, run_model
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel

FOREIGN = "patches"
"""Whose images a model is to tell from its own where nothing else is asked for."""
RATES = (0.01, 0.05, 0.1)
DEFINITION = (
    "cosine to the nearest prototype above which at most a share fpr of images of a class without a prototype is "
    "taken for known; estimated on the test images by leaving out, for each, the prototype of its own class. The "
    "classes left out were seen in training, so the estimate is optimistic for classes that were not"
)
REJECTION_DEFINITION = (
    "cosine to the nearest prototype under which at most a share frr of the test images lies, which training did not "
    "see: a threshold there rejects that share of images of known classes"
)


def open_set_record(outputs: Outputs, prototypes: Tensor, foreign: dict[str, Any] | None) -> dict[str, Any]:
    """What a bundle says about unknown images.

    Args:
        outputs: of the test images, which training did not see.
        prototypes: (K, d) unit rows.
        foreign: of :func:`measure_foreign`.
    """
    return {
        "definition": DEFINITION,
        "thresholds": thresholds(outputs.embeddings, outputs.labels, prototypes),
        "rejection_definition": REJECTION_DEFINITION,
        "rejections": rejections(outputs.embeddings, prototypes),
        "foreign": foreign,
    }


def thresholds(embeddings: Tensor, labels: Tensor, prototypes: Tensor) -> list[dict[str, float]]:
    """Thresholds by false positives, see :data:`DEFINITION`.

    Args:
        embeddings: (N, d) unit rows of test images.
        labels: (N,).
        prototypes: (K, d) unit rows.

    Returns:
        For each rate "fpr" the "cosine", and the share of images of known classes that it accepts.
    """
    cosines = embeddings @ prototypes.T
    others = cosines.scatter(1, labels[:, None], -torch.inf).amax(1)
    best = cosines.amax(1)
    found = []
    for rate in RATES:
        # A cosine equal to the threshold is accepted, so the threshold is the next number above the quantile.
        quantile = torch.quantile(others.float(), 1 - rate, interpolation="higher")
        cosine = torch.nextafter(quantile, torch.tensor(1.0))
        accepted = float((best.float() >= cosine).double().mean())
        found.append({"fpr": rate, "cosine": float(cosine), "known_accepted": accepted})
    return found


def rejections(embeddings: Tensor, prototypes: Tensor) -> list[dict[str, float]]:
    """Thresholds by false rejections, see :data:`REJECTION_DEFINITION`: for each rate "frr" the "cosine".

    Args:
        embeddings: (N, d) unit rows of test images.
        prototypes: (K, d) unit rows.
    """
    best = nearest(embeddings, prototypes)
    return [{"frr": rate, "cosine": float(torch.quantile(best, rate, interpolation="lower"))} for rate in RATES]


def nearest(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """(N, d), (K, d) -> (N,) float32, cosines to the nearest prototypes."""
    return (embeddings @ prototypes.T).amax(1).float()


def load_foreign(data: str | None, preprocessing: Preprocessing, known: str | None = None) -> ImageData | None:
    """Images of other classes, read before the work that they are to judge; None: no such measurement.

    Args:
        data: where they are; where the default is what is known itself, there are none.
        preprocessing: of the model.
        known: where the images are that they are to be told from.

    Raises:
        DataError: they cannot be read, or are the known ones.
    """
    if data is None or data == known == FOREIGN:
        return None
    if data == known:
        raise DataError(f"foreign = {data!r} is what the model is to know: give data of other classes, or none")
    return load_data(data, preprocessing, storage="disk").warn_left_out()  # as only the test split is needed


def measure_foreign(
    model: PrototypeModel, preprocessing: Preprocessing, known: Outputs, prototypes: Tensor, images: ImageData
) -> dict[str, Any]:
    """How well the nearest cosine tells test images from those of a foreign data set.

    Args:
        model: in evaluation, on any device.
        preprocessing: of the model.
        known: its answers for the test images.
        prototypes: (K, d) unit rows, on the CPU.
        images: of :func:`load_foreign`; the test split is taken.

    Returns:
        "data", "images", "auroc" (1: told apart without error; 0.5: not at all), and "fpr_at_95_tpr", the share of
        foreign images above the cosine that 95 % of the test images reach.
    """
    from sklearn.metrics import roc_auc_score

    foreign = nearest(run_model(model, images.test, preprocessing).embeddings, prototypes)
    own = nearest(known.embeddings, prototypes)
    is_known = torch.cat([torch.ones(len(own)), torch.zeros(len(foreign))])
    threshold = torch.quantile(own, 0.05, interpolation="lower")
    return {
        "data": images.name,
        "images": len(foreign),
        "auroc": float(roc_auc_score(is_known.numpy(), torch.cat([own, foreign]).numpy())),
        "fpr_at_95_tpr": float((foreign >= threshold).double().mean()),
    }
