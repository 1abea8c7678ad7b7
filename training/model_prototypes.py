"""Prototypes read from a model, and written into one."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from training.data import ImageData
from training.evaluation import run_model
from training.prototypes import ClassMeans
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel


def prototypes_of(model: PrototypeModel) -> torch.Tensor:
    """(K, d) unit rows on the CPU; of cross-entropy the directions of its classifier's rows."""
    return F.normalize(model.get_classifier().weight.detach().float().cpu(), dim=1)


def set_class_means(model: PrototypeModel, data: ImageData, preprocessing: Preprocessing) -> None:
    """Make the unit class means of the training images' embeddings the prototypes: one pass, evaluation transform."""
    outputs = run_model(model, data.train, preprocessing)
    means = ClassMeans(len(data.classes), outputs.embeddings.shape[1])
    means.update(outputs.embeddings, outputs.labels)
    model.set_prototypes(means.compute().float())
