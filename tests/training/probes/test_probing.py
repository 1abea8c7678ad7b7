from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from training.data import ImageData, Split, load_data
from training.probes import (
    CosineClassifier,
    Cost,
    LinearClassifier,
    Probe,
    fit_linear,
    fixed_prototypes,
    probe_cached,
    probe_linear,
    top1_accuracy,
)
from training.recipe import Recipe
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel

Sgd = Callable[..., Recipe]
Make = Callable[[PrototypeModel, ImageData, Preprocessing, Sgd], Probe]

PROBES: dict[str, Make] = {
    "prototypes": lambda model, data, preprocessing, sgd: fixed_prototypes(model, data, preprocessing),
    "linear": lambda model, data, preprocessing, sgd: probe_linear(model, data, preprocessing, sgd()),
    "normalized": lambda model, data, preprocessing, sgd: probe_linear(
        model, data, preprocessing, sgd(objective="normface")
    ),
    "cached": lambda model, data, preprocessing, sgd: probe_cached(model, data, preprocessing, sgd()),
}


class Seen:
    """What goes into a model's first convolution, and in which mode its first BatchNorm is then."""

    def __init__(self, model: PrototypeModel) -> None:
        self.batches: list[Tensor] = []
        self.training: list[bool] = []
        model.get_submodule("conv1").register_forward_hook(lambda _, inputs, __: self.batches.append(inputs[0].clone()))
        model.get_submodule("bn1").register_forward_hook(lambda module, _, __: self.training.append(module.training))


@torch.no_grad()
def naive_features(
    model: PrototypeModel, split: Split, preprocessing: Preprocessing
) -> tuple[list[Tensor], list[Tensor]]:
    """Pooled encoder outputs and unit projections, an image an entry."""
    model.eval()
    pixels = (split.images / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    maps = model.forward_features(torch.from_numpy(pixels).float().permute(0, 3, 1, 2))
    encoder = [image.flatten(1).mean(1) for image in maps]
    projected = [model.head.projection(row[None])[0] for row in encoder]
    return encoder, [row / row.norm() for row in projected]


@pytest.mark.parametrize("kind", PROBES)
def test_weights_are_compared_with_the_class_means_of_unit_features(
    kind: str, model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, sgd: Sgd
) -> None:
    probe = PROBES[kind](model, data, preprocessing, sgd)
    if kind == "prototypes":
        assert probe.weight_alignment is None
        return
    encoder, _ = naive_features(model, data.train, preprocessing)
    distances = []
    for label in range(3):
        members = [row / row.norm() for row, own in zip(encoder, data.train.labels, strict=True) if own == label]
        mean = sum(members, torch.zeros_like(members[0])) / len(members)
        weight = probe.classifier.weight[label]  # type: ignore[union-attr]
        distances.append(float((weight / weight.norm() - mean / mean.norm()).square().sum()))
    assert probe.weight_alignment == pytest.approx(np.mean(distances), rel=1e-4)


@pytest.mark.parametrize("features", ["projection", "encoder"])
def test_fixed_prototypes_are_unit_means_of_unit_features(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, features: str
) -> None:
    probe = fixed_prototypes(model, data, preprocessing, features=features)  # type: ignore[arg-type]
    encoder, projection = naive_features(model, data.train, preprocessing)
    rows = projection if features == "projection" else [row / row.norm() for row in encoder]
    for label in range(3):
        members = [row for row, own in zip(rows, data.train.labels, strict=True) if own == label]
        mean = sum(members, torch.zeros_like(rows[0])) / len(members)
        torch.testing.assert_close(probe.classifier.weight[label], mean / mean.norm(), atol=1e-5, rtol=1e-5)
    _, tests = naive_features(model, data.test, preprocessing)
    if features == "projection":
        nearest = [int((probe.classifier.weight @ row).argmax()) for row in tests]
        expected = np.mean(np.array(nearest) == data.test.labels)
        assert top1_accuracy(probe, model, data.test, preprocessing) == pytest.approx(expected)


@pytest.mark.parametrize("kind", PROBES)
@pytest.mark.parametrize("training", [True, False])
def test_the_encoder_stays_as_it_is_bit_for_bit(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, sgd: Sgd, kind: str, training: bool
) -> None:
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen = Seen(model)
    probe = PROBES[kind](model, data, preprocessing, sgd)
    top1_accuracy(probe, model, data.test, preprocessing)
    assert seen.training
    assert not any(seen.training)
    assert model.training is training
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert not changed
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("kind", "passes", "images"), [("prototypes", 1, 50), ("linear", 4, 170), ("normalized", 3, 120), ("cached", 1, 50)]
)
def test_the_cost_is_what_went_through_the_encoder(
    model: PrototypeModel,
    data: ImageData,
    preprocessing: Preprocessing,
    sgd: Sgd,
    kind: str,
    passes: int,
    images: int,
) -> None:
    seen = Seen(model)
    cost = PROBES[kind](model, data, preprocessing, sgd).cost
    assert (cost.passes, cost.images) == (passes, images)
    # One pass more measures where the weights lie; features computed once are there for that too.
    assert sum(map(len, seen.batches)) == images + (50 if kind in ("linear", "normalized") else 0)
    assert cost.seconds > 0


def test_linear_probing_augments_anew_in_each_epoch_and_cached_probing_never(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, sgd: Sgd
) -> None:
    def pictures(kind: str) -> list[bytes]:
        seen = Seen(model)
        PROBES[kind](model, data, preprocessing, sgd)
        return [image.contiguous().numpy().tobytes() for batch in seen.batches for image in batch]

    plain = set(pictures("cached"))
    assert len(plain) == 50
    augmented = pictures("linear")[50:170]  # after the pass that scales, before the one that measures
    assert len(set(augmented)) > 0.9 * len(augmented)
    assert len(set(augmented) & plain) < 10


def test_without_augmentation_linear_probing_is_cached_probing(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, sgd: Sgd
) -> None:
    recipe = sgd(augmentation="none")
    linear, cached = (make(model, data, preprocessing, recipe) for make in (probe_linear, probe_cached))
    torch.testing.assert_close(linear.classifier.weight, cached.classifier.weight, atol=1e-4, rtol=1e-4)


def test_linear_probing_takes_the_encoders_raw_features_with_a_bias(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, sgd: Sgd
) -> None:
    cached = probe_cached(model, data, preprocessing, sgd())
    features = torch.stack(naive_features(model, data.train, preprocessing)[0])
    expected = fit_linear(features, torch.from_numpy(data.train.labels), 3, sgd())
    assert isinstance(cached.classifier, LinearClassifier)
    assert isinstance(expected, LinearClassifier)
    torch.testing.assert_close(cached.classifier.weight, expected.weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cached.classifier.bias, expected.bias, atol=1e-4, rtol=1e-4)
    assert cached.features == "encoder"


def test_accuracy_is_the_share_of_the_largest_logits(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing
) -> None:
    encoder, _ = naive_features(model, data.test, preprocessing)
    weight, bias = torch.randn(3, 64, generator=torch.Generator().manual_seed(5)), torch.tensor([0.1, 0.0, -0.1])
    right = sum(
        int((weight @ row + bias).argmax()) == label for row, label in zip(encoder, data.test.labels, strict=True)
    )
    probe = Probe(LinearClassifier(weight, bias), "encoder", Cost(0, 0, 0.0))
    assert top1_accuracy(probe, model, data.test, preprocessing) == right / 20


def test_each_probe_tells_the_colours_apart(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing, sgd: Sgd
) -> None:
    for make in PROBES.values():
        probe = make(model, data, preprocessing, sgd)
        assert top1_accuracy(probe, model, data.test, preprocessing) > 0.9


def test_features_that_cancel_or_are_no_numbers_are_refused_by_class(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing
) -> None:
    with torch.no_grad():
        model.get_submodule("bn1").weight.fill_(torch.nan)
    with pytest.raises(ProtozooError, match=r"classes \[0, 1, 2\] are not finite"):
        fixed_prototypes(model, data, preprocessing)


def test_a_class_without_an_image_is_refused(
    model: PrototypeModel, data: ImageData, preprocessing: Preprocessing
) -> None:
    with pytest.raises(ProtozooError, match=r"classes \[3\] have no sample"):
        fixed_prototypes(model, replace(data, classes=(*data.classes, "none")), preprocessing)


@pytest.mark.parametrize("kind", PROBES)
def test_images_on_the_disk_are_probed_as_those_in_memory(
    model: PrototypeModel, colours: Path, preprocessing: Preprocessing, sgd: Sgd, kind: str
) -> None:
    memory, disk = (load_data(str(colours), preprocessing, storage=storage) for storage in ("memory", "disk"))  # type: ignore[arg-type]
    first, second = (PROBES[kind](model, data, preprocessing, sgd).classifier.weight for data in (memory, disk))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


def test_prototypes_classify_by_cosine(model: PrototypeModel, data: ImageData, preprocessing: Preprocessing) -> None:
    classifier = fixed_prototypes(model, data, preprocessing).classifier
    assert isinstance(classifier, CosineClassifier)
    torch.testing.assert_close(classifier.weight.norm(dim=1), torch.ones(3))
