"""Classifiers over features, and how those that are trained are trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import MultiStepLR
from tqdm import tqdm

from training.data import epoch_order
from training.losses import cross_entropy
from training.probes.features import Batches
from training.recipe import Recipe
from zoo.errors import ProtozooError
from zoo.models.heads import unit


@dataclass(frozen=True)
class LinearClassifier:
    """Logits = features . weight + bias; weight (K, d), bias (K,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(M, d) -> (M, K)."""
        return F.linear(features, self.weight, self.bias)


@dataclass(frozen=True)
class CosineClassifier:
    """Logits = cosines of features and rows of weight (K, d), over the temperature."""

    weight: Tensor
    temperature: float

    def __call__(self, features: Tensor) -> Tensor:
        """(M, d) -> (M, K)."""
        return F.linear(unit(features), unit(self.weight)) / self.temperature


@dataclass(frozen=True)
class WhitenedClassifier:
    """Cosines of linearly mapped features to prototypes."""

    projection: LinearClassifier
    prototypes: CosineClassifier

    def __call__(self, features: Tensor) -> Tensor:
        """(M, d) -> (M, K)."""
        return self.prototypes(self.projection(features))


TrainedClassifier = LinearClassifier | CosineClassifier
Classifier = TrainedClassifier | WhitenedClassifier


def fit_linear(features: Tensor, labels: Tensor, num_classes: int, recipe: Recipe) -> TrainedClassifier:
    """Train a classifier on features that do not change.

    Args:
        features: (N, d) float32.
        labels: (N,) int64 in [0, K).
        num_classes: K.
        recipe: its objective is "ce" for a linear classifier with bias, or "normface" for cosines over the
            temperature; batch size, epochs, SGD and step schedule are what :func:`training.probes.probe_recipe` has.

    Returns:
        The classifier after the last step, on the features' device.

    Raises:
        ProtozooError: the loss is no longer a number.
    """
    classes = labels.cpu().numpy()

    def batches(epoch: int) -> Batches:
        order = epoch_order(classes, recipe.batch_size, batches=recipe.batches, seed=recipe.seed, epoch=epoch)
        for rows in torch.from_numpy(order).to(features.device):
            yield features[rows], labels[rows]

    return train(initial(features.shape[1], num_classes, recipe, features.device), batches, recipe)


def initial(dim: int, num_classes: int, recipe: Recipe, device: torch.device) -> TrainedClassifier:
    """Random weights that depend on the recipe's seed alone: as in ``nn.Linear``, or random directions."""
    generator = torch.Generator().manual_seed(recipe.seed)
    if recipe.objective == "normface":
        weight = unit(torch.randn(num_classes, dim, generator=generator))
        return CosineClassifier(weight.to(device), recipe.temperature)
    bound = dim**-0.5
    weight, bias = (
        torch.empty(shape).uniform_(-bound, bound, generator=generator)
        for shape in ((num_classes, dim), (num_classes,))
    )
    return LinearClassifier(weight.to(device), bias.to(device))


def train(classifier: TrainedClassifier, batches: Callable[[int], Batches], recipe: Recipe) -> TrainedClassifier:
    """SGD on the classifier's tensors, in place, with the recipe's step schedule.

    Args:
        classifier: to start from.
        batches: epoch, from 0 on -> pairs of features (M, d) and labels (M,), on the classifier's device.
        recipe: epochs, optimiser and schedule.

    Raises:
        ProtozooError: the loss is no longer a number.
    """
    parameters = [tensor.requires_grad_() for tensor in vars(classifier).values() if isinstance(tensor, Tensor)]
    optimizer = torch.optim.SGD(parameters, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    # A milestone within an epoch counts from the next one on.
    schedule = MultiStepLR(optimizer, [math.ceil(epoch) for epoch in recipe.milestones], recipe.step_decay)
    for epoch in tqdm(range(recipe.epochs), unit="epoch", dynamic_ncols=True, disable=None):
        for features, labels in batches(epoch):
            loss = cross_entropy(classifier(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if not math.isfinite(loss.item()):
            raise ProtozooError(f"the loss of the probe became {loss.item()} in epoch {epoch + 1}: lower --lr")
        schedule.step()
    for tensor in parameters:
        tensor.requires_grad_(False)
    return classifier
