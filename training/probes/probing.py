"""Fixed prototypes and linear probes of a model: the classifier, and what it cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from torch import Tensor

from training.data import ImageData, Split, StoredSplit, training_batches
from training.metrics import NeuralCollapseAccumulator
from training.probes.classifiers import Classifier, TrainedClassifier, fit_linear, initial, train
from training.probes.closed_form import ClosedForm, FixedFeatures, closed_form
from training.probes.features import Batches, Features, FrozenEncoder
from training.recipe import Recipe
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel
from zoo.models.heads import unit


@dataclass(frozen=True)
class Cost:
    """What a classifier took beside the encoder's own training.

    Attributes:
        passes: over the training set, forward through the encoder.
        images: training images that went through the encoder; a shuffled epoch leaves its incomplete last batch out.
        seconds: of the passes and the classifier's training.
    """

    passes: int
    images: int
    seconds: float


@dataclass(frozen=True)
class Probe:
    """A classifier on a frozen encoder.

    Attributes:
        classifier: features (M, d) -> logits (M, K).
        features: which ones it takes.
        cost: of making it.
        weight_alignment: of a trained one, the mean over classes of the squared distance of its unit weights from the
            unit means of the unit features of the training images, without augmentation, in [0, 4]; None of prototypes,
            which are those means. Source: table 3 of "Neural Collapse by Design" (arXiv 2605.20302).
    """

    classifier: Classifier
    features: Features
    cost: Cost
    weight_alignment: float | None = None


def fixed_prototypes(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, *, features: FixedFeatures = "projection"
) -> Probe:
    """Class means as the classifier: unit means of the unit features of all training images, one pass, no training.

    Args:
        model: with a projection head that the contrastive objective has trained.
        data: whose training split gives the means, by the evaluation transform.
        preprocessing: of the model.
        features: "projection"; "encoder" to leave the projection head out; or "whitened", the encoder's so mapped that
            they scatter alike in all directions, for other classes than those the model was trained on.

    Raises:
        ProtozooError: the features of a class are not finite, cancel, or do not vary.

    Source: the classifier FP of "Neural Collapse by Design" (arXiv 2605.20302), section 4.2. Its code takes a moving
    average over augmented batches instead (:func:`training.prototypes.ema_class_means`).
    """
    encoder, started = FrozenEncoder(model, encoder_features(features)), time.perf_counter()
    rows, labels = encoder.all(data.train, preprocessing)
    return _probe(closed_form_of(data, rows, labels, features), encoder, started)


def encoder_features(features: FixedFeatures) -> Features:
    """Which of the model's features prototypes in closed form are made of."""
    return "projection" if features == "projection" else "encoder"


def closed_form_of(data: ImageData, rows: Tensor, labels: Tensor, features: FixedFeatures) -> ClosedForm:
    """:func:`closed_form`, with the data named where it cannot be.

    Raises:
        ProtozooError: the features of a class are not finite, cancel, or do not vary.
    """
    try:
        return closed_form(rows, labels, len(data.classes), features)
    except ValueError as error:
        raise ProtozooError(f"{data.name} gives no prototypes: {error}") from error


def probe_linear(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, recipe: Recipe, *, workers: int = 0
) -> Probe:
    """Train a classifier on the encoder's features of images that are augmented anew in each epoch.

    Args:
        model: whose projection head is left out.
        data: whose training split to train on.
        preprocessing: of the model.
        recipe: of :func:`training.probes.probe_recipe`; "ce" trains standard linear probing, a linear classifier with
            bias on the pooled features, scaled to mean zero and unit mean squared norm, for which they pass once more,
            without augmentation (:class:`training.probes.classifiers.Scaling`); "normface" the normalised one, without
            bias on unit features.
        workers: processes that decode images which are not in memory.

    Returns:
        The classifier after the last epoch; the released code reports the best epoch on the test set.

    Raises:
        ProtozooError: the loss diverges.

    Source: LP and NLP of "Neural Collapse by Design" (arXiv 2605.20302), appendix E.2 and table 2.
    """
    encoder, started = FrozenEncoder(model, "encoder"), time.perf_counter()

    def batches(epoch: int) -> Batches:
        return encoder.run(
            training_batches(data.train, recipe, preprocessing, epoch=epoch, device=encoder.device, workers=workers)
        )

    with encoder.frozen():
        start = initial(encoder.dim, len(data.classes), recipe, encoder.device)
        classifier = train(start, batches, recipe, lambda: encoder.evaluate(data.train, preprocessing))
    probe = _probe(classifier, encoder, started)
    # A pass that measures is no cost of the probe.
    again = FrozenEncoder(model, "encoder")
    with again.frozen():
        alignment = _weight_alignment(classifier, again.evaluate(data.train, preprocessing))
    return replace(probe, weight_alignment=alignment)


def probe_cached(model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, recipe: Recipe) -> Probe:
    """:func:`probe_linear` on features that are computed once, without augmentation.

    Source: "cached LP" of "Neural Collapse by Design" (arXiv 2605.20302), table 14.
    """
    encoder, started = FrozenEncoder(model, "encoder"), time.perf_counter()
    features, labels = encoder.all(data.train, preprocessing)
    classifier = fit_linear(features, labels, len(data.classes), recipe)
    probe = _probe(classifier, encoder, started)
    return replace(probe, weight_alignment=_weight_alignment(classifier, [(features, labels)]))


def _probe(classifier: Classifier, encoder: FrozenEncoder, started: float) -> Probe:
    cost = Cost(encoder.passes, encoder.images, time.perf_counter() - started)
    return Probe(classifier, encoder.features, cost)


def _weight_alignment(classifier: TrainedClassifier, batches: Batches) -> float:
    weight = classifier.weight.cpu()  # in float64, which not every device has
    accumulator = NeuralCollapseAccumulator(*weight.shape, intra="none")
    for features, labels in batches:
        accumulator.update(unit(features).cpu(), labels.cpu())
    return accumulator.compute(weight).weight_alignment


def top1_accuracy(
    probe: Probe, model: PrototypeModel, split: Split | StoredSplit, preprocessing: Preprocessing
) -> float:
    """Share of the images whose class has the largest logit, in [0, 1]."""
    encoder, correct = FrozenEncoder(model, probe.features), 0
    with encoder.frozen():
        for features, labels in encoder.evaluate(split, preprocessing):
            correct += int((probe.classifier(features).argmax(1) == labels).sum())
    return correct / len(split.labels)
