"""``fit``: a classifier of new classes in one pass through a frozen encoder."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from training.calibration import fitted_temperature
from training.data import ImageData, OnBadImage, Storage, load_data
from training.evaluation import Outputs
from training.few_shot import with_shots
from training.model_prototypes import prototypes_of
from training.open_set import FOREIGN, load_foreign
from training.pretrained import Pretrained, open_pretrained
from training.probes import ClosedForm, FixedFeatures, FrozenEncoder, WhitenedClassifier
from training.probes.probing import closed_form_of, encoder_features
from training.provenance import code_revision
from training.record import describe_model, machine, measure
from zoo.bundle import Bundle
from zoo.exporter import check_exporter, export_run
from zoo.files import check_free
from zoo.models.base import PrototypeModel, size_args, timm_model

_TEMPERATURES = (1e-3, 10.0)


@dataclass(frozen=True)
class FitOptions:
    """How to fit.

    Attributes:
        features: "whitened", "encoder" or "projection": see :func:`training.probes.fixed_prototypes`.
        shots: training images of each class; None: all.
        seed: of their choice.
        foreign: data of other classes, from which to tell the known ones; None: not measured.
        device: of torch.
        storage: see :func:`training.data.load_data`.
        on_bad_image: see :func:`training.data.load_data`.
        data_name: of the data, for record and card; None: that of the folder or data set.
        data_license: likewise.
    """

    features: FixedFeatures = "whitened"
    shots: int | None = None
    seed: int = 0
    foreign: str | None = FOREIGN
    device: str = "cpu"
    storage: Storage = "auto"
    on_bad_image: OnBadImage = "fail"
    data_name: str | None = None
    data_license: str | None = None


def fit(
    name_or_path: str,
    data: str,
    out: Path,
    *,
    tag: str,
    command: str,
    say: Callable[[str], None],
    options: FitOptions | None = None,
) -> Bundle:
    """Write a bundle whose encoder is another's and whose prototypes are the class means of new images.

    Its temperature is the one at which the probabilities fit the held-out images best; thresholds for unknown images
    are calibrated on the same images.

    Args:
        name_or_path: bundle or run with the encoder, which stays as it is.
        data: see :func:`training.data.load_data`; the test split is held out.
        out: folder of the bundle; must not exist.
        tag: of the weights.
        command: what was typed, for the record.
        say: takes lines for the user.
        options: how to fit.

    Raises:
        ProtozooError: model, data or device cannot be used, a class gives no prototype, or ``out`` exists.
    """
    # Matplotlib is needed by this command, not by the others of the package.
    from training.plots.card import card_pictures

    options = options or FitOptions()
    check_free(out)
    check_exporter("bundle")
    pretrained = open_pretrained(name_or_path)
    # Every image is read once, and of few shots most are not read at all.
    storage = "disk" if options.shots and options.storage == "auto" else options.storage
    images = load_data(data, pretrained.preprocessing, storage=storage, on_bad_image=options.on_bad_image)
    images.check_test()
    for line in images.left_out:
        say(line)
    images = with_shots(images, options.shots, seed=options.seed)
    images = replace(images, name=options.data_name or images.name, license=options.data_license or images.license)
    foreign = load_foreign(options.foreign, pretrained.preprocessing, data)
    say(f"{images.name}: {len(images.train.labels)} images of {len(images.classes)} classes, one pass each")
    started = time.perf_counter()
    train, test = encode(pretrained, images, options)
    form = closed_form_of(images, *train, options.features)
    seconds = time.perf_counter() - started
    temperature = calibrated_temperature(form(test[0]), test[1])
    head = _head_args(pretrained, temperature, options.features)
    model = with_closed_form(pretrained, form, head, len(images.classes))
    outputs = [_outputs(form, *split, temperature) for split in (train, test)]
    measured = measure(model, outputs[0], outputs[1], images, pretrained.preprocessing, foreign)
    calibration = measured["metrics"]["test_calibration"]
    pictures = card_pictures(outputs[1], prototypes_of(model), images.classes, calibration)
    result = {
        **_described(model, head, pretrained, images, options),
        **measured,
        "cost": {"train_seconds": round(seconds, 1), **machine(torch.device(options.device))},
        "tag": tag,
        "command": command,
        "code_revision": code_revision(),
    }
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        (run / "pictures").mkdir()
        for name, picture in pictures.items():
            (run / "pictures" / name).write_bytes(picture)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, run / "model.safetensors")
        (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return export_run(run, out)


def encode(
    pretrained: Pretrained, images: ImageData, options: FitOptions
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Features (N, d) and labels (N,) of both splits, on the CPU."""
    encoder = FrozenEncoder(pretrained.to(options.device), encoder_features(options.features))
    found = [encoder.all(split, pretrained.preprocessing) for split in (images.train, images.test)]
    pretrained.model.cpu()
    train, test = ((features.cpu(), labels.cpu()) for features, labels in found)
    return train, test


def calibrated_temperature(cosines: Tensor, labels: Tensor) -> float:
    """The temperature at which softmax(cosine / temperature) gives the labels the largest likelihood.

    The labels are taken for right but for one image of N + 2, as by Platt: where all images are classified rightly, as
    of few easy classes, no temperature would be low enough, and whatever is unknown would be certain to be known.

    Args:
        cosines: (N, K) of images that gave no prototype.
        labels: (N,).

    Returns:
        A number in [0.001, 10].

    Source: temperature scaling, Guo et al. 2017, "On Calibration of Modern Neural Networks"; the targets, Platt 1999.
    """
    return fitted_temperature(cosines, labels, _TEMPERATURES, doubt=1 / (len(labels) + 2))


def _head_args(pretrained: Pretrained, temperature: float, features: FixedFeatures) -> dict[str, Any]:
    """Every argument that fixes what the new head means."""
    kind = {"projection": pretrained.model.head.kind, "encoder": "relu", "whitened": "linear"}[features]
    return {
        "head": kind,
        "temperature": temperature,
        "prototypes": "fixed",
        "classifier": "cosine",
        **size_args(pretrained.architecture, pretrained.preprocessing.size),
    }


def with_closed_form(
    pretrained: Pretrained, form: ClosedForm, head: Mapping[str, Any], num_classes: int
) -> PrototypeModel:
    """The pretrained backbone with the prototypes, and with the head that leads to them."""
    prototypes = form.prototypes.weight if isinstance(form, WhitenedClassifier) else form.weight
    model = timm_model(pretrained.architecture, num_classes=num_classes, embed_dim=prototypes.shape[1], **head)
    classifier, own = f"{model.get_classifier(name_only=True)}.", model.state_dict()
    # A head that is not the pretrained one's has a projection of its own, or none.
    theirs = {
        name: tensor
        for name, tensor in pretrained.model.state_dict().items()
        if name in own and not name.startswith(classifier)
    }
    if isinstance(form, WhitenedClassifier):
        theirs |= {"head.projection.weight": form.projection.weight, "head.projection.bias": form.projection.bias}
    model.load_state_dict({**own, **theirs})
    model.set_prototypes(prototypes)
    return model.eval()


def _outputs(form: ClosedForm, features: Tensor, labels: Tensor, temperature: float) -> Outputs:
    rows = form.projection(features) if isinstance(form, WhitenedClassifier) else features
    return Outputs(form(features) / temperature, F.normalize(rows, dim=1), labels)


def _described(
    model: PrototypeModel, head: Mapping[str, Any], pretrained: Pretrained, images: ImageData, options: FitOptions
) -> dict[str, Any]:
    return {
        **describe_model(model, pretrained.architecture, head, images, pretrained.preprocessing),
        "objective": "class_means",
        "prototypes": "class_means",
        "readout": {"kind": "cosine"},
        "recipe": {"features": options.features, "shots": options.shots, "seed": options.seed},
        "base": pretrained.lineage,
    }
