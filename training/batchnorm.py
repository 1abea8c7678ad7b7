"""What BatchNorm asks of a batch: more than one value a channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.warm_start import train_mode
from zoo.models.base import PrototypeModel


@torch.no_grad()
def norms_of_one_value(model: PrototypeModel, size: int) -> tuple[str, ...]:
    """Names of the BatchNorms that a lone image leaves one value a channel, of which there is no deviation.

    Those of a backbone that stays as it is are not among them, for they normalise by what they know.

    Args:
        model: to train; it is left in evaluation mode.
        size: side of the square image in pixels.
    """
    found: list[str] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            found.append(names[norm])

    train_mode(model)
    names: dict[nn.Module, str] = {
        norm: name for name, norm in model.named_modules() if isinstance(norm, _BatchNorm) and norm.training
    }
    hooks = [norm.register_forward_pre_hook(look) for norm in names]
    weight = next(model.parameters())
    model.eval()
    model(torch.zeros(1, 3, size, size, device=weight.device, dtype=weight.dtype))
    for hook in hooks:
        hook.remove()
    return tuple(found)
