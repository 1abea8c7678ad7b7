"""The verbs that every model of the zoo has besides its backbone's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch
from timm.layers import get_device_dtype
from torch import Tensor, nn

from zoo.models.heads import PrototypeClassifier, PrototypeHead

# Arguments of a model that belong to its head, by the names that recipes and configurations give them.
HEAD_ARGS = ("head", "embed_dim", "temperature", "prototypes", "readout", "classifier")

_NO_PROTOTYPES = "this model has no prototypes: create it with num_classes > 0 and classifier='cosine' (the default)"


def split_head_args(kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's keyword arguments -> those of its head, and those of timm's class."""
    head = {key: value for key, value in kwargs.items() if key in HEAD_ARGS}
    return head, {key: value for key, value in kwargs.items() if key not in HEAD_ARGS}


class PrototypeModel(nn.Module):
    """Mixed in before one of timm's classes: replaces its classifier by a :class:`~zoo.models.heads.PrototypeHead`.

    Every subclass takes, beside timm's own keyword arguments (an unknown name is a TypeError):

    Args:
        head: "linear", "batchnorm", "mlp" or "relu": see :class:`~zoo.models.heads.PrototypeHead`.
        embed_dim: width d of the embedding; None keeps that of the features.
        temperature, prototypes, readout, classifier: see :class:`~zoo.models.heads.PrototypeHead`.

    Attributes:
        head: pooling, projection and prototypes.
        head_hidden_size: width d of the embedding.
    """

    __jit_unused_properties__ = ("prototypes", "temperature", "offsets")

    if TYPE_CHECKING:  # torch.jit reads annotations of a class
        head: PrototypeHead
        head_hidden_size: int
        num_classes: int
        num_features: int
        pretrained_cfg: dict[str, Any]

        def forward_features(self, x: Tensor) -> Tensor:
            """Images -> feature map, by timm's class."""
            raise AssertionError

    def _build_head(self, num_classes: int, pool_type: str, *, head: str = "linear", **kwargs: Any) -> None:
        self.num_classes = num_classes
        self.head = PrototypeHead(self.num_features, num_classes, kind=head, pool_type=pool_type, **kwargs)
        self.head_hidden_size = self.head.num_features

    def __getattr__(self, name: str) -> Any:
        # torch's own would say only that there is no such attribute, where a property raises AttributeError.
        if name in self.__jit_unused_properties__:
            raise AttributeError(_NO_PROTOTYPES)
        return super().__getattr__(name)

    @property
    def prototypes(self) -> Tensor:
        """(K, d) unit rows, at least float32.

        Raises:
            AttributeError: the model has no prototype classifier (``num_classes=0``, or cross-entropy's linear one).
        """
        return self._classifier().prototypes

    @property
    def temperature(self) -> float:
        """tau: logits are cosines divided by it."""
        # The shortest decimal that rounds to the stored float32 is the number that was asked for.
        return float(str(np.float32(self._classifier().temperature.item())))

    @property
    def offsets(self) -> Tensor:
        """(K,) float32, what the readout adds to cosine / temperature; zeros where the nearest prototype wins."""
        classifier = self._classifier()
        return classifier.offsets if classifier.bayes else torch.zeros_like(classifier.offsets)

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def set_offsets(self, offsets: Tensor) -> None:
        """Make the readout "bayes" with these offsets, (K,): see :class:`~zoo.models.heads.PrototypeClassifier`."""
        self._classifier().set_offsets(offsets)
        self.head.readout = "bayes"

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def set_prototypes(self, prototypes: Tensor) -> None:
        """Put (K, d) unit rows in the place of the prototypes, learned or fixed.

        Raises:
            ValueError: other shapes or norms.
        """
        self._classifier().set_prototypes(prototypes)

    def _classifier(self) -> PrototypeClassifier:
        if not isinstance(self.head.fc, PrototypeClassifier):
            raise AttributeError(_NO_PROTOTYPES)
        return self.head.fc

    def embed(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W), normalised -> (N, d) unit embeddings, at least float32."""
        return self.forward_head(self.forward_features(x), pre_logits=True)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Feature map -> (N, K) logits = cosine / temperature + offsets; with ``pre_logits`` (N, d) unit embeddings."""
        answer: Tensor = self.head(x, pre_logits)
        return answer

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """The module (or its name) that turns embeddings into logits."""
        return "head.fc" if name_only else self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Give the model new prototypes for ``num_classes`` classes (0: none); None keeps the pooling.

        The projection before them is drawn anew only where the pooled features are more or fewer than they were.
        """
        self.num_classes = num_classes
        # A head of buffers alone has no parameter to read device and dtype from: the model has.
        self.head.reset(num_classes, global_pool, in_features=self.num_features, **get_device_dtype(self))
        self.head_hidden_size = self.head.num_features


def timm_model(name: str, **kwargs: Any) -> PrototypeModel:
    """``timm.create_model`` for what must be a model of the zoo.

    Raises:
        TypeError: it is another model of timm.
    """
    model = timm.create_model(name, **kwargs)
    if kwargs.get("features_only"):
        raise TypeError(f"features_only gives feature maps and no prototypes: timm.create_model({name!r}, ...) has it")
    if not isinstance(model, PrototypeModel):
        raise TypeError(f"{name} is not a model of the zoo: `protozoo list` prints them")
    return model


def for_classes(args: Mapping[str, Any], num_classes: int | None) -> dict[str, Any]:
    """Arguments of a model with weights, for a model of ``num_classes`` classes (None: as many) that begins with them.

    Fixed prototypes stand where the weights' own classes are. Those of other classes are learned: a classifier without
    parameters is nothing to begin with.
    """
    other = num_classes not in (None, args.get("num_classes"))
    return {**args, "prototypes": "learned"} if other and args.get("prototypes") == "fixed" else {**args}


def size_args(architecture: str, size: int) -> dict[str, Any]:
    """What an architecture that is built for one size of images must be told; others take any."""
    return {"img_size": size} if timm.get_pretrained_cfg_value(architecture, "fixed_input_size") else {}
