"""The table of docs/migrating.md, where pytorch-metric-learning is installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses import normface, scl

theirs: Any = pytest.importorskip("pytorch_metric_learning.losses", reason="pip install pytorch-metric-learning")

CLASSES, DIM = 5, 16
CLASSIFIERS: dict[str, tuple[dict[str, float], float]] = {
    "NormalizedSoftmaxLoss": ({"temperature": 0.07}, 0.07),
    "CosFaceLoss": ({"margin": 0.0, "scale": 20}, 1 / 20),
    "ArcFaceLoss": ({"margin": 0.0, "scale": 20}, 1 / 20),
    "ProxyNCALoss": ({"softmax_scale": 5}, 1 / 10),
}


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(32, DIM, dtype=torch.float64), torch.randint(CLASSES, (32,))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_loss_that_holds_weights_is_normface_of_the_model_s(name: str, batch: tuple[Tensor, Tensor]) -> None:
    arguments, temperature = CLASSIFIERS[name]
    rows, labels = batch
    loss = getattr(theirs, name)(num_classes=CLASSES, embedding_size=DIM, **arguments).double()
    weights = loss.proxies if name == "ProxyNCALoss" else loss.W.T
    logits = F.normalize(rows, dim=1) @ F.normalize(weights, dim=1).T / temperature
    torch.testing.assert_close(loss(rows, labels), normface(logits, labels), rtol=1e-12, atol=1e-12)


def test_supcon_is_scl(batch: tuple[Tensor, Tensor]) -> None:
    rows, labels = batch
    ours = scl(F.normalize(rows, dim=1), labels, temperature=0.1)
    torch.testing.assert_close(theirs.SupConLoss(temperature=0.1)(rows, labels), ours, rtol=1e-12, atol=1e-12)
