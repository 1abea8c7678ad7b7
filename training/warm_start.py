"""A training that begins with another's weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate.utils import broadcast
from torch import Tensor

from training.data import ImageData
from training.model_prototypes import set_class_means
from training.pretrained import Pretrained
from training.recipe import RecipeError
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel

_HEAD = "head."


def load_weights(model: PrototypeModel, pretrained: Pretrained) -> None:
    """Copy the backbone, and the projection where it has the same shape; prototypes stay the model's own.

    Raises:
        RecipeError: they are weights of another architecture.
    """
    classifier = f"{model.get_classifier(name_only=True)}."
    theirs, own = (_by_part(model.state_dict(), classifier) for model in (pretrained.model, model))
    if _shapes(theirs["backbone"]) != _shapes(own["backbone"]):
        raise RecipeError(
            f"{pretrained.name} has not the layers of the recipe's architecture: pass --architecture "
            f"{pretrained.architecture}"
        )
    same = _shapes(theirs["projection"]) == _shapes(own["projection"])
    loaded = {**theirs["backbone"], **(theirs["projection"] if same else {})}
    model.load_state_dict({**model.state_dict(), **loaded})


def _by_part(state: Mapping[str, Tensor], classifier: str) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {"backbone": {}, "projection": {}, "classifier": {}}
    for name, tensor in state.items():
        behind = "classifier" if name.startswith(classifier) else "projection"
        parts[behind if name.startswith(_HEAD) else "backbone"][name] = tensor
    return parts


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def freeze_backbone(model: PrototypeModel) -> None:
    """Leave gradients to the head alone."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(_HEAD))


def train_mode(model: PrototypeModel) -> None:
    """Training mode; a frozen backbone keeps BatchNorm's statistics and drops nothing."""
    model.train()
    backbone = [child for child in model.children() if child is not model.head]
    if not any(parameter.requires_grad for child in backbone for parameter in child.parameters()):
        for child in backbone:
            child.eval()


def start_from_class_means(model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, ranks: int) -> None:
    """Make the class means of the training images the learned prototypes, the same on every rank."""
    set_class_means(model, data, preprocessing)
    if ranks > 1:
        broadcast(model.get_classifier().weight.data)
