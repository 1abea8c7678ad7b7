"""What a frozen model makes of images, and how many it has seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from training.data import Split, StoredSplit, evaluation_batches, to_input
from zoo.bundle import Preprocessing
from zoo.models.base import PrototypeModel
from zoo.models.heads import unit

Features = Literal["projection", "encoder"]
Batches = Iterable[tuple[Tensor, Tensor]]

_BATCH_SIZE = 256


class FrozenEncoder:
    """A model that only answers: no gradient, and evaluation mode inside :meth:`frozen`.

    Args:
        model: stays as it is, bit for bit.
        features: "projection", the unit embeddings on which the model was trained; or "encoder", the globally pooled
            features before the projection, as they are (non-negative where the backbone ends in a ReLU).

    Attributes:
        device: the model's.
        dim: width d of the features.
        passes: times that :meth:`run` went over its batches.
        images: images that went through the model.
    """

    def __init__(self, model: PrototypeModel, features: Features) -> None:
        self.model = model
        self.features = features
        self.device = next(model.parameters()).device
        head = model.head
        pooled = head.in_features * head.global_pool.feat_mult()
        self.dim: int = head.num_features if features == "projection" else pooled
        self.passes = 0
        self.images = 0

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Evaluation mode, so that BatchNorm's statistics rest; the mode of before comes back."""
        was_training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(was_training)

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Normalised images (M, 3, H, W) -> features (M, d), float32."""
        self.images += len(inputs)
        maps = self.model.forward_features(inputs)
        if self.features == "projection":
            return self.model.forward_head(maps, pre_logits=True)
        pooled: Tensor = self.model.head.global_pool(maps)
        return pooled

    def run(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and labels of one pass over pairs of inputs and labels on the model's device."""
        self.passes += 1
        for inputs, labels in batches:
            yield self(inputs), labels

    def evaluate(self, split: Split | StoredSplit, preprocessing: Preprocessing) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and labels of every image of a split, in order, without augmentation."""
        images = evaluation_batches(split, preprocessing, _BATCH_SIZE)
        inputs = (to_input(batch.to(self.device), preprocessing) for batch in images)
        return self.run(zip(inputs, torch.from_numpy(split.labels).to(self.device).split(_BATCH_SIZE), strict=True))

    def all(self, split: Split | StoredSplit, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
        """Features (N, d) and labels (N,) of :meth:`evaluate` in one piece, on the model's device."""
        with self.frozen():
            features, labels = zip(*self.evaluate(split, preprocessing), strict=True)
        return torch.cat(features), torch.cat(labels)

    @torch.no_grad()
    def projected(self, pooled: Tensor) -> Tensor:
        """Features "projection" (N, d), of unit norm, from the features "encoder" of the same images: no other pass."""
        with self.frozen():
            return torch.cat([unit(self.model.head.projection(rows)) for rows in pooled.split(_BATCH_SIZE)])
