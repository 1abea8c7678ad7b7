"""A prototype head as one linear layer, and a model of timm's own that has it as its classifier.

The zoo's logit of class c is p_c . z / (tau |z|), where z = W x + b is the projection of the pooled features x and p_c
a unit prototype. |z| is one number for all classes, so the linear layer with weight P W and bias P b puts them into the
same order. Divided by tau times a typical |z|, its probabilities are near as well.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel
from zoo.models.heads import PrototypeClassifier, PrototypeHead, unit


@torch.no_grad()
def fold(head: PrototypeHead) -> tuple[Tensor, Tensor]:
    """Projection and prototypes as one linear layer on the pooled features.

    Returns:
        Weight P W (K, C) and bias P b (K,), in float64: what they make of x is its cosines times |z|.

    Raises:
        ProtozooError: no linear layer orders the classes as this head does; the message says why.
    """
    classifier = head.fc
    if not isinstance(classifier, PrototypeClassifier):
        raise ProtozooError(
            "a linear classifier, which ce trains, has no prototypes to fold: train normface, ntce or nonl"
        )
    if classifier.bayes:
        raise ProtozooError(
            "the readout bayes adds its offsets after the division by the embedding's norm, which no linear layer can "
            "do: train with --readout cosine, or export without --plain"
        )
    if head.global_pool.pool_type != "avg":
        raise ProtozooError(
            f"only average pooling can be folded, and this model pools by {head.global_pool.pool_type!r}: create it "
            "with global_pool='avg', or export without --plain"
        )
    weight, bias = _affine(head.projection, head.in_features)
    prototypes = unit(classifier.weight.double())
    return prototypes @ weight, prototypes @ bias


def _affine(projection: nn.Module, width: int) -> tuple[Tensor, Tensor]:
    """What a projection does in evaluation mode: W (d, C) and b (d,), in float64."""
    if isinstance(projection, nn.Identity):
        return torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    if isinstance(projection, nn.Linear):
        return projection.weight.double(), projection.bias.double()
    if isinstance(projection, nn.BatchNorm1d):
        statistics = projection.state_dict()
        scale = projection.weight.double() / (statistics["running_var"].double() + projection.eps).sqrt()
        return scale.diag(), projection.bias.double() - scale * statistics["running_mean"].double()
    raise ProtozooError(
        "an MLP head has a ReLU inside, which no linear layer can do: train with --head linear, or export without "
        "--plain"
    )


def plain_model(model: PrototypeModel, name: str, weight: Tensor, bias: Tensor, **kwargs: Any) -> nn.Module:
    """A model of timm's own with the backbone of ``model`` and a linear classifier, in evaluation mode.

    Args:
        model: of the zoo.
        name: timm's architecture, see :func:`zoo.models.architectures.plain_architecture`.
        weight: of the classifier, (K, C).
        bias: of the classifier, (K,).
        kwargs: for ``timm.create_model``.

    Raises:
        ProtozooError: an argument of ``model`` made its backbone another than timm's.
    """
    plain: nn.Module = timm.create_model(name, num_classes=len(weight), **kwargs).eval()
    classifier = timm.get_pretrained_cfg_value(name, "classifier")
    state = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("head.")}
    try:
        plain.load_state_dict({**state, f"{classifier}.weight": weight, f"{classifier}.bias": bias})
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ProtozooError(f"the weights do not fit timm's {name} ({reason}): export without --plain") from error
    return plain
