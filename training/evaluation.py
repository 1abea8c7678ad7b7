"""What a trained model is worth: accuracy, calibration and collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.calibration import accuracy_interval, calibration
from training.data import Split, StoredSplit, evaluation_batches, to_input
from training.metrics import neural_collapse
from training.tails import class_accuracies
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel


@dataclass(frozen=True)
class Outputs:
    """A model's answers for one split, on the CPU.

    Attributes:
        logits: (N, K) float32.
        embeddings: (N, d) float32, unit rows.
        labels: (N,) int64.
    """

    logits: Tensor
    embeddings: Tensor
    labels: Tensor

    def accuracy(self) -> float:
        """Top-1 accuracy in [0, 1]."""
        return float((self.logits.argmax(1) == self.labels).double().mean())

    def class_accuracies(self) -> NDArray[np.float64]:
        """(K,) accuracy of each class, NaN for classes without images."""
        correct = self.logits.argmax(1) == self.labels
        return class_accuracies(correct.numpy(), self.labels.numpy(), self.logits.shape[1])


@torch.inference_mode()
def run_model(
    model: PrototypeModel, split: Split | StoredSplit, preprocessing: Preprocessing, *, batch_size: int = 500
) -> Outputs:
    """Logits and embeddings of every image, in evaluation mode and in the caller's autocast state."""
    was_training = model.training
    model.eval()
    device, dtype = next((parameter.device, parameter.dtype) for parameter in model.parameters())
    logits, embeddings = [], []
    try:
        for images in evaluation_batches(split, preprocessing, batch_size):
            features = model.forward_features(to_input(images.to(device), preprocessing).to(dtype))
            logits.append(model.forward_head(features).float().cpu())
            embeddings.append(model.forward_head(features, pre_logits=True).float().cpu())
    finally:
        model.train(was_training)
    return Outputs(torch.cat(logits), torch.cat(embeddings), torch.from_numpy(split.labels))


def judge(outputs: Outputs, prototypes: Tensor) -> dict[str, Any]:
    """What a record tells of the test images, ``outputs``: accuracy with its interval, calibration and collapse."""
    accuracy = outputs.accuracy()
    return {
        "test_accuracy": accuracy,
        "test_accuracy_interval": accuracy_interval(accuracy, len(outputs.labels)),
        "test_calibration": calibration(outputs.logits, outputs.labels),
        "test_collapse": collapse(outputs, prototypes),
    }


def per_class(outputs: Outputs, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy by class; a class without images is left out, as JSON has no number for it."""
    pairs = zip(classes, outputs.class_accuracies().tolist(), strict=True)
    return {name: accuracy for name, accuracy in pairs if not math.isnan(accuracy)}


def collapse(outputs: Outputs, prototypes: Tensor) -> dict[str, float]:
    """Collapse metrics as a mapping of name to value."""
    return asdict(neural_collapse(outputs.embeddings, outputs.labels, prototypes.detach().float().cpu()))
