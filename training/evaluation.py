"""What a trained model is worth: accuracy, collapse, and cosines at which to call an image unknown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from training.data import Split, StoredSplit, evaluation_batches, load_data, to_input
from training.metrics import neural_collapse
from zoo.bundle import Bundle, Preprocessing, find
from zoo.loading import create_model
from zoo.models.base import PrototypeModel

FALSE_POSITIVE_RATES = (0.01, 0.05, 0.1)
OPEN_SET_DEFINITION = (
    "cosine to the nearest prototype above which at most a share fpr of images of a class without a prototype is "
    "taken for known; estimated on the test images by leaving out, for each, the prototype of its own class. The "
    "classes left out were seen in training, so the estimate is optimistic for classes that were not"
)


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


def collapse(outputs: Outputs, prototypes: Tensor) -> dict[str, float]:
    """Collapse metrics as a mapping of name to value."""
    return asdict(neural_collapse(outputs.embeddings, outputs.labels, prototypes.detach().float().cpu()))


def open_set_thresholds(embeddings: Tensor, labels: Tensor, prototypes: Tensor) -> dict[str, Any]:
    """Thresholds on the cosine to the nearest prototype, by :data:`OPEN_SET_DEFINITION`.

    Args:
        embeddings: (N, d) unit rows of test images.
        labels: (N,).
        prototypes: (K, d) unit rows.

    Returns:
        The definition, and for each rate the cosine and the share of images of known classes that it accepts.
    """
    cosines = embeddings @ prototypes.T
    others = cosines.scatter(1, labels[:, None], -torch.inf).amax(1)
    best = cosines.amax(1)
    thresholds = []
    for rate in FALSE_POSITIVE_RATES:
        # A cosine equal to the threshold is accepted, so the threshold is the next number above the quantile.
        quantile = torch.quantile(others.float(), 1 - rate, interpolation="higher")
        cosine = torch.nextafter(quantile, torch.tensor(1.0))
        accepted = float((best.float() >= cosine).double().mean())
        thresholds.append({"fpr": rate, "cosine": float(cosine), "known_accepted": accepted})
    return {"definition": OPEN_SET_DEFINITION, "thresholds": thresholds}


def evaluate_bundle(name_or_path: str, data: str) -> dict[str, Any]:
    """Accuracy and collapse of a bundle's weights on the test split of ``data``, in float32.

    Raises:
        BundleError: the bundle cannot be used.
        DataError: the data cannot be read, or its classes are not those of the bundle.
    """
    bundle = Bundle.open(find(name_or_path))
    images = load_data(data, bundle.preprocessing)
    images.check_classes(bundle.labels, bundle.name)
    outputs = run_model(create_model(f"local-dir:{bundle.path}"), images.test, bundle.preprocessing)
    return {
        "bundle": bundle.name,
        "data": images.name,
        "test_images": len(images.test.labels),
        "test_accuracy": outputs.accuracy(),
        "test_collapse": collapse(outputs, torch.from_numpy(bundle.prototypes)),
    }
