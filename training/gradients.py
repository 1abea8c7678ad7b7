"""From one batch to gradients: at once, or in micro-batches where it is larger than the memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.losses import accumulate

Objective = Callable[[Tensor, Tensor], Tensor]
Gradients = Callable[[Tensor, Tensor], Tensor]
"""Images (M, 3, H, W), normalised, and labels (M,) -> the batch's loss without a graph; adds to the gradients."""


def at_once(model: nn.Module, objective: Objective, accelerator: Accelerator) -> Gradients:
    """Gradients of the whole batch in one pass."""

    def gradients(images: Tensor, labels: Tensor) -> Tensor:
        with accelerator.autocast():
            logits = model(images)
        loss = objective(logits, labels)
        accelerator.backward(loss)
        return loss.detach()

    return gradients


def in_parts(model: nn.Module, name: str, objective: Objective, accelerator: Accelerator, size: int) -> Gradients:
    """The same gradients over micro-batches of ``size``, but for BatchNorm, which normalises each by itself.

    NTCE and NONL need two forward passes for it (:func:`training.losses.accumulate`); of objectives whose terms do not
    depend on the other samples the parts add up as they are.
    """

    def outside_autocast(loss: Tensor) -> None:
        with torch.autocast(loss.device.type, enabled=False):
            accelerator.backward(loss)

    def exact(images: Tensor, labels: Tensor) -> Tensor:
        batches = list(zip(images.split(size), labels.split(size), strict=True))
        with accelerator.autocast():
            return accumulate(model, batches, name, backward=outside_autocast)  # type: ignore[arg-type]

    def additive(images: Tensor, labels: Tensor) -> Tensor:
        part = at_once(model, lambda logits, own: objective(logits, own) * len(own) / len(labels), accelerator)
        return torch.stack([part(i, y) for i, y in zip(images.split(size), labels.split(size), strict=True)]).sum()

    return exact if name in ("ntce", "nonl") else additive
