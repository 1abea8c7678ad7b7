"""Prototypes read from a model, and written into one."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from training.data import ImageData
from training.evaluation import Outputs, run_model
from training.prototypes import ClassMeans
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel


def prototypes_of(model: PrototypeModel) -> torch.Tensor:
    """(K, d) unit rows on the CPU; of cross-entropy the directions of its classifier's rows."""
    return F.normalize(model.get_classifier().weight.detach().float().cpu(), dim=1)


def check_finite(outputs: Outputs) -> None:
    """Refuse what a training that diverged gives.

    Raises:
        ProtozooError: an embedding is not finite.
    """
    if not outputs.embeddings.isfinite().all():
        raise ProtozooError(
            "the training has diverged, embeddings are not finite: lower --lr or raise --temperature in a new run"
        )


def set_class_means(model: PrototypeModel, data: ImageData, preprocessing: Preprocessing) -> None:
    """Make the unit class means of the training images' embeddings the prototypes: one pass, evaluation transform.

    Raises:
        ProtozooError: the embeddings are not finite.
    """
    outputs = run_model(model, data.train, preprocessing)
    check_finite(outputs)
    means = ClassMeans(len(data.classes), outputs.embeddings.shape[1])
    means.update(outputs.embeddings, outputs.labels)
    model.set_prototypes(means.compute().float())
