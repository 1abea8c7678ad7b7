"""From one batch to gradients: at once, or in micro-batches where it is larger than the memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.losses import accumulate
from training.losses.ranks import Group
from training.objectives import Objective, Output
from zoo.models.base import PrototypeModel

Gradients = Callable[[Tensor, Tensor], Tensor]
"""Images (M, 3, H, W), normalised, and labels (M,) -> the loss, detached; adds to the gradients."""


class Forward(nn.Module):
    """A model as its objective sees it: what DistributedDataParallel and torch.compile wrap."""

    def __init__(self, model: PrototypeModel, output: Output) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, images: Tensor) -> Tensor:
        """(M, 3, H, W) -> logits (M, K) or unit embeddings (M, d)."""
        if self.output == "embeddings":
            return self.model.embed(images)
        logits: Tensor = self.model(images)
        return logits


def at_once(forward: nn.Module, objective: Callable[[Tensor, Tensor], Tensor], accelerator: Accelerator) -> Gradients:
    """Gradients of the whole batch in one pass. ``forward`` is prepared by the accelerator."""

    def gradients(images: Tensor, labels: Tensor) -> Tensor:
        loss = objective(forward(images), labels)
        accelerator.backward(loss)
        return loss.detach()

    return gradients


def in_parts(
    forward: nn.Module, name: str, objective: Objective, accelerator: Accelerator, size: int, group: Group | None
) -> Gradients:
    """The same gradients over micro-batches of ``size``, but for BatchNorm, which normalises each by itself.

    NTCE and NONL need two forward passes for it (:func:`training.losses.accumulate`); of additive objectives the parts
    add up as they are.
    """

    def exact(images: Tensor, labels: Tensor) -> Tensor:
        batches = list(zip(images.split(size), labels.split(size), strict=True))
        return accumulate(forward, batches, name, group=group, backward=accelerator.backward)  # type: ignore[arg-type]

    def additive(images: Tensor, labels: Tensor) -> Tensor:
        part = at_once(forward, lambda out, own: objective(out, own) * len(own) / len(labels), accelerator)
        return torch.stack([part(i, y) for i, y in zip(images.split(size), labels.split(size), strict=True)]).sum()

    return additive if objective.additive else exact
