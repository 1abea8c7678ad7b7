"""A probe by name: what to probe, on what, how; and the record of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

from training.calibration import accuracy_interval
from training.data import ImageData
from training.few_shot import with_shots
from training.pretrained import Pretrained, open_pretrained
from training.probes.closed_form import FixedFeatures
from training.probes.probing import Probe, fixed_prototypes, probe_cached, probe_linear, top1_accuracy
from training.probes.protocols import SCALING, probe_recipe
from training.provenance import code_revision

TrainedKind = Literal["linear", "normalized", "cached"]

SGD_SETTINGS = ("epochs", "batch_size", "lr", "milestones", "step_decay", "momentum", "weight_decay", "shots", "seed")
_AUGMENTED = (*SGD_SETTINGS, "augmentation", "crop_padding", "crop_scale")
_SETTINGS = {"linear": _AUGMENTED, "normalized": (*_AUGMENTED, "temperature"), "cached": SGD_SETTINGS}


def record_prototypes(
    name_or_path: str,
    data: str,
    *,
    features: FixedFeatures,
    device: str,
    shots: int | None = None,
    seed: int = 0,
    command: str = "",
) -> dict[str, Any]:
    """Fixed prototypes of a bundle or run, measured on the test split: see :func:`record_trained`."""
    pretrained = open_pretrained(name_or_path)

    def make(images: ImageData) -> Probe:
        return fixed_prototypes(pretrained.model, images, pretrained.preprocessing, features=features)

    named = _named("prototypes", pretrained, command)
    measured = _measured(make, pretrained, data, device, shots, seed)
    return {**named, **measured, "settings": {"features": features, "shots": shots, "seed": seed}}


def record_trained(
    kind: TrainedKind,
    name_or_path: str,
    data: str,
    *,
    protocol: str,
    overrides: Mapping[str, Any],
    device: str,
    workers: int,
    command: str = "",
) -> dict[str, Any]:
    """A linear probe of a bundle or run, measured on the test split.

    Args:
        kind: "linear", "normalized" or "cached".
        name_or_path: bundle (folder, zoo name or hf-hub:owner/name) or folder of a finished run.
        data: as for :func:`training.data.load_data`, of any classes; of the model's own it is what the model was
            trained on, long-tailed where that was.
        protocol: of :data:`training.probes.PROTOCOLS`.
        overrides: fields of the recipe.
        device: of torch.
        workers: processes that decode images which are not in memory.
        command: what was typed, for the record.

    Returns:
        Names, accuracy in [0, 1] with its interval, cost and settings, ready for JSON.

    Raises:
        ProtozooError: model, data, device or settings cannot be used.
    """
    pretrained = open_pretrained(name_or_path)
    recipe = probe_recipe("normface" if kind == "normalized" else "ce", pretrained, protocol, overrides)

    def make(images: ImageData) -> Probe:
        if kind == "cached":
            return probe_cached(pretrained.model, images, pretrained.preprocessing, recipe)
        return probe_linear(pretrained.model, images, pretrained.preprocessing, recipe, workers=workers)

    settings = {name: getattr(recipe, name) for name in _SETTINGS[kind]}
    if kind != "normalized":
        settings["scaling"] = SCALING
    return {
        **_named(kind, pretrained, command),
        **_measured(make, pretrained, data, device, recipe.shots, recipe.seed),
        "settings": settings,
    }


def _named(kind: str, pretrained: Pretrained, command: str) -> dict[str, Any]:
    return {
        "kind": "probe",
        "probe": kind,
        "command": command,
        "code_revision": code_revision(),
        "model": pretrained.name,
        "weights_sha256": pretrained.weights_sha256,
    }


def _measured(
    make: Callable[[ImageData], Probe], pretrained: Pretrained, data: str, device: str, shots: int | None, seed: int
) -> dict[str, Any]:
    pretrained.to(device)
    # Of few shots most images are not read at all.
    images = with_shots(pretrained.load(data, "disk" if shots else "auto"), shots, seed=seed)
    probe = make(images)
    accuracy = top1_accuracy(probe, pretrained.model, images.test, pretrained.preprocessing)
    return {
        "data": images.name,
        "features": probe.features,
        "train_images": len(images.train.labels),
        "test_images": len(images.test.labels),
        "test_accuracy": accuracy,
        "test_accuracy_interval": accuracy_interval(accuracy, len(images.test.labels)),
        "cost": {**asdict(probe.cost), "device": device},
        **({} if probe.weight_alignment is None else {"weight_alignment": probe.weight_alignment}),
    }
