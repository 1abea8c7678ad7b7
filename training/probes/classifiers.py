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


# Of the mean square, and far below what float32 tells apart: what is less is left by rounding.
_SMALLEST_VARIANCE = 1e-14


@dataclass(frozen=True)
class Scaling:
    """Features of mean zero and of a mean squared norm of one: (x - centre) factor; centre (d,).

    A learning rate suits features of one size. The papers' 5 suits those of a ResNet that ends in average pooling; of
    maxima over the map, with norms of 20 to 40, the loss diverges by it: to 20 and more, finite, and with an accuracy
    points below what the features are worth.
    """

    centre: Tensor
    factor: float

    def __call__(self, features: Tensor) -> Tensor:
        """(M, d) -> (M, d)."""
        return (features - self.centre) * self.factor

    def undone(self, classifier: LinearClassifier) -> LinearClassifier:
        """The classifier of features as they are that is one of scaled features."""
        weight = classifier.weight * self.factor
        return LinearClassifier(weight, classifier.bias - weight @ self.centre)


def scaling_of(batches: Batches) -> Scaling:
    """The scaling of all features (M, d) of some batches; features that do not vary are moved alone."""
    count, total, squares = 0, torch.zeros(()), 0.0
    for features, _ in batches:
        rows = features.cpu().double()  # which not every device has
        count, total, squares = count + len(rows), total + rows.sum(0), squares + float(rows.square().sum())
        device = features.device
    centre, square = total / count, squares / count
    variance = square - float(centre.square().sum())
    varies = variance > _SMALLEST_VARIANCE * square
    return Scaling(centre.float().to(device), variance**-0.5 if varies else 1.0)


def fit_linear(features: Tensor, labels: Tensor, num_classes: int, recipe: Recipe) -> TrainedClassifier:
    """Train a classifier on features that do not change.

    Args:
        features: (N, d) float32.
        labels: (N,) int64 in [0, K).
        num_classes: K.
        recipe: its objective is "ce" for a linear classifier with bias, or "normface" for cosines over the
            temperature; batch size, epochs, SGD and step schedule are what :func:`training.probes.probe_recipe` has.

    Returns:
        The classifier after the last step, of features as they are, on their device. A linear one is trained on
        features of mean zero and unit mean squared norm: see :class:`Scaling`.

    Raises:
        ProtozooError: the loss diverges.
    """
    classes = labels.cpu().numpy()

    def batches(epoch: int) -> Batches:
        order = epoch_order(classes, recipe.batch_size, batches=recipe.batches, seed=recipe.seed, epoch=epoch)
        for rows in torch.from_numpy(order).to(features.device):
            yield features[rows], labels[rows]

    start = initial(features.shape[1], num_classes, recipe, features.device)
    return train(start, batches, recipe, lambda: [(features, labels)])


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


def train(
    classifier: TrainedClassifier,
    batches: Callable[[int], Batches],
    recipe: Recipe,
    unaugmented: Callable[[], Batches],
) -> TrainedClassifier:
    """SGD on the classifier's tensors, in place, with the recipe's step schedule; a linear one's on scaled features.

    Args:
        classifier: to start from.
        batches: epoch, from 0 on -> pairs of features (M, d) and labels (M,), on the classifier's device.
        recipe: epochs, optimiser and schedule.
        unaugmented: the training images' features, of which a linear classifier's :class:`Scaling` is.

    Returns:
        The classifier of features as they are.

    Raises:
        ProtozooError: the loss is no longer a number, or ends far above that of a classifier that knows nothing.
    """
    scaling = scaling_of(unaugmented()) if isinstance(classifier, LinearClassifier) else None
    parameters = [tensor.requires_grad_() for tensor in vars(classifier).values() if isinstance(tensor, Tensor)]
    optimizer = torch.optim.SGD(parameters, recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    # A milestone within an epoch counts from the next one on.
    schedule = MultiStepLR(optimizer, [math.ceil(epoch) for epoch in recipe.milestones], recipe.step_decay)
    # Twice the loss of equal probabilities, and some for few classes; cosines over a temperature cannot diverge.
    largest = 2 * math.log(len(classifier.weight)) + 1 if scaling is not None else math.inf
    for epoch in tqdm(range(recipe.epochs), unit="epoch", dynamic_ncols=True, disable=None):
        losses = []
        for features, labels in batches(epoch):
            loss = cross_entropy(classifier(features if scaling is None else scaling(features)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        last = epoch + 1 == recipe.epochs
        if not math.isfinite(mean) or (last and mean > largest):
            raise ProtozooError(f"the probe diverges, with a loss of {mean:.3g} in epoch {epoch + 1}: lower --lr")
        schedule.step()
    for tensor in parameters:
        tensor.requires_grad_(False)
    if scaling is None or isinstance(classifier, CosineClassifier):
        return classifier
    return scaling.undone(classifier)
