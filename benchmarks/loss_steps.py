"""What benchmarks/losses.py measures: one forward and backward pass of a head and a loss, of every loss by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import backward
from torch.nn import functional as F

from training import losses
from zoo.models.heads import PrototypeClassifier, unit

TEMPERATURE = 0.1
BASE = "cross-entropy"
LARGEST_CONTRAST = 2048

Loss = Callable[[Tensor, Tensor], Tensor]


class Size(NamedTuple):
    """M samples, K classes, d coordinates."""

    batch: int
    classes: int
    dim: int

    def __str__(self) -> str:
        return f"{self.batch} x {self.classes} x {self.dim}"


class UnitHead(nn.Module):
    """Features (M, d) -> unit embeddings -> logits (M, K): all of a model but its backbone."""

    def __init__(self, size: Size, device: torch.device) -> None:
        super().__init__()
        self.classifier = PrototypeClassifier(size.dim, size.classes, temperature=TEMPERATURE, device=device)

    def forward(self, features: Tensor, classes: Tensor | None = None) -> Tensor:
        logits: Tensor = self.classifier(unit(features), classes)
        return logits


class Inputs(NamedTuple):
    """What every loss is given; features and prototypes get a gradient."""

    features: Tensor
    labels: Tensor
    head: UnitHead
    running: nn.Module


def draw(size: Size, device: torch.device) -> Inputs:
    """Normal features, uniform labels and a new head, from a fixed seed."""
    torch.manual_seed(0)
    features = torch.randn(size.batch, size.dim, device=device, requires_grad=True)
    labels = torch.randint(0, size.classes, (size.batch,), device=device)
    running = losses.RunningDenominators(torch.ones(size.classes)).to(device)
    return Inputs(features, labels, UnitHead(size, device), running)


def naive_ntce(logits: Tensor, labels: Tensor) -> Tensor:
    """NTCE as eq. 4 of "Neural Collapse by Design" writes it: over the (M, M) logits of sample j for i's class.

    Row i holds the samples' logits for class y_i. Of the ways to write it, this takes the least time and memory:
    ``logits[:, labels].logsumexp(0)`` needs a multiple of both.
    """
    return F.cross_entropy(logits.T[labels], torch.arange(len(labels), device=labels.device))


def _of_logits(loss: Loss) -> Callable[[Inputs], None]:
    return lambda inputs: backward(loss(inputs.head(inputs.features), inputs.labels))


def _of_present_classes(loss: Loss) -> Callable[[Inputs], None]:
    def run(inputs: Inputs) -> None:
        classes, positions = losses.present_classes(inputs.labels)
        backward(loss(inputs.head(inputs.features, classes), positions))

    return run


def _of_embeddings(loss: Callable[[Tensor, Inputs], Tensor]) -> Callable[[Inputs], None]:
    return lambda inputs: backward(loss(unit(inputs.features), inputs))


def _in_four_parts(inputs: Inputs) -> None:
    rows = (part.requires_grad_() for part in inputs.features.detach().chunk(4))
    losses.accumulate(inputs.head, list(zip(rows, inputs.labels.chunk(4), strict=True)), "nonl")


CLASSIFIER: dict[str, Callable[[Inputs], None]] = {
    BASE: _of_logits(F.cross_entropy),
    "normface": _of_logits(losses.normface),
    "decoupled normface": _of_logits(losses.decoupled_normface),
    "ntce": _of_logits(losses.ntce),
    "nonl": _of_logits(losses.nonl),
    "nonl, running": lambda inputs: backward(inputs.running(inputs.head(inputs.features), inputs.labels)),
    "nonl, in 4 parts": _in_four_parts,
    "dot regression": _of_logits(lambda logits, labels: losses.dot_regression(logits * TEMPERATURE, labels)),
}
NAIVE: dict[str, Callable[[Inputs], None]] = {"ntce, M x M": _of_logits(naive_ntce)}
PRESENT: dict[str, Callable[[Inputs], None]] = {
    "ntce, present classes": _of_present_classes(losses.ntce),
    "nonl, present classes": _of_present_classes(losses.nonl),
}
CONTRASTIVE: dict[str, Callable[[Inputs], None]] = {
    "scl": _of_embeddings(lambda rows, inputs: losses.scl(rows, inputs.labels, temperature=TEMPERATURE)),
    "scl with prototypes": _of_embeddings(
        lambda rows, inputs: losses.scl_with_prototypes(
            rows, inputs.labels, inputs.head.classifier.prototypes.detach(), temperature=TEMPERATURE, copies=10
        )
    ),
    "prototype contrast": _of_embeddings(
        lambda rows, inputs: losses.prototype_contrast(rows, inputs.labels, temperature=TEMPERATURE)
    ),
}
STEPS = {**CLASSIFIER, **NAIVE, **PRESENT, **CONTRASTIVE}


def candidates(size: Size, memory: float) -> list[str]:
    """Names of the steps that say something at this size, cross-entropy first.

    Args:
        size: M, K, d.
        memory: bytes that the M x M form may take.
    """
    # Three M x M tensors at the peak, and some room.
    naive = NAIVE if 16 * size.batch**2 <= memory else {}
    present = PRESENT if size.classes > size.batch else {}
    contrastive = CONTRASTIVE if size.batch <= LARGEST_CONTRAST else {}
    return [*CLASSIFIER, *naive, *present, *contrastive]


def step(name: str, inputs: Inputs) -> Callable[[], None]:
    """One forward and backward pass over ``inputs``, with gradients set to None before."""

    def run() -> None:
        inputs.features.grad = None
        inputs.head.zero_grad()
        STEPS[name](inputs)

    return run
