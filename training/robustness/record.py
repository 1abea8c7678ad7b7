"""The record of a model's errors on corrupted images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.data import ImageData, load_data
from training.pretrained import open_pretrained
from training.provenance import code_revision
from training.robustness.conditions import (
    Condition,
    chosen,
    corrupted_images,
    decoded,
    images_digest,
    read_conditions,
)
from training.robustness.corruptions import CORRUPTIONS, SEVERITIES, check_installed
from training.robustness.errors import check_comparable, corruption_errors, summary, top1_error, with_baseline
from training.robustness.saved_images import SavedImages
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError


@dataclass(frozen=True)
class CorruptionOptions:
    """What to measure.

    Attributes:
        corruptions: names.
        severities: of each.
        images: test images, or images of each condition that is read; None: all.
        corrupted: ImageNet-C's folders to read; None: corruptions are made.
        keep: folder that keeps what is made, for other models.
        seed: of what is drawn where corruptions are made.
        device: of torch.
    """

    corruptions: Sequence[str] = CORRUPTIONS
    severities: Sequence[int] = SEVERITIES
    images: int | None = None
    corrupted: Path | None = None
    keep: Path | None = None
    seed: int = 0
    device: str = "cpu"


def record_corruptions(
    name_or_path: str,
    data: str,
    options: CorruptionOptions | None = None,
    *,
    baseline: Mapping[str, Any] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """A bundle's or run's errors on corrupted test images.

    Args:
        name_or_path: bundle (folder, zoo name or hf-hub:owner/name) or folder of a finished run.
        data: as for :func:`training.data.load_data`, with the model's classes; the test split is taken.
        options: what to measure.
        baseline: another model's record of the same, to normalise by.
        command: what was typed, for the record.

    Returns:
        Names, "images" (count, of how many, their digest), "clean_error", "errors" (see :func:`corruption_errors`),
        :func:`summary`, and "baseline" (:func:`with_baseline`, or None), ready for JSON.

    Raises:
        ProtozooError: model, data, folders, device or baseline cannot be used.
    """
    options = options or CorruptionOptions()
    _check(options)
    pretrained = open_pretrained(name_or_path)
    images = load_data(data, pretrained.preprocessing, storage="disk").warn_left_out()
    images = images.for_model(pretrained.labels, pretrained.name)
    described, conditions = _conditions(images, pretrained.preprocessing, options)
    record: dict[str, Any] = {
        "command": command,
        "code_revision": code_revision(),
        "model": pretrained.name,
        "weights_sha256": pretrained.weights_sha256,
        "data": images.name,
        "input_size": pretrained.preprocessing.size,
        **described,
        "errors": {name: dict.fromkeys(map(str, options.severities)) for name in options.corruptions},
    }
    if baseline is not None:
        # Before the work and not after it.
        check_comparable(record, baseline)
    model = pretrained.to(options.device)
    test = images.test.subset(chosen(images.test.labels, None if options.corrupted else options.images))
    record["clean_error"] = top1_error(model, test, pretrained.preprocessing)
    total = len(options.corruptions) * len(options.severities)
    errors = corruption_errors(model, pretrained.preprocessing, _progress(conditions, total))
    # They may have come in another order.
    record["errors"] = {name: {key: errors[name][key] for key in keys} for name, keys in record["errors"].items()}
    record |= summary(record["errors"])
    return {**record, "baseline": None if baseline is None else with_baseline(record, baseline)}


def _check(options: CorruptionOptions) -> None:
    unknown = [name for name in options.corruptions if name not in CORRUPTIONS]
    if options.corrupted is None:
        if unknown:
            raise ProtozooError(f"there is no corruption {unknown[0]!r}; there are {', '.join(CORRUPTIONS)}")
        check_installed()
    for names in (options.corruptions, options.severities):
        if len(set(names)) < len(names):
            raise ProtozooError(f"{', '.join(map(str, names))}: give each corruption and severity once")


def _conditions(
    images: ImageData, preprocessing: Preprocessing, options: CorruptionOptions
) -> tuple[dict[str, Any], Iterable[Condition]]:
    """What a record says of the corrupted images, and the images."""
    kinds = options.corruptions, options.severities
    if options.corrupted is not None:
        read, digest = read_conditions(options.corrupted, images.classes, *kinds, options.images)
        labels = read[0].images().labels
        described = {"count": len(labels), "of": "each condition", "sha256": digest}
        return {"source": f"read from {options.corrupted.resolve().name}", "images": described}, read
    total = len(images.test.labels)
    clean = decoded(images.test.subset(chosen(images.test.labels, options.images)), preprocessing)
    digest = images_digest(clean)
    source = f"made by corrupt-tta {version('corrupt-tta')}, seed {options.seed}"
    saved = SavedImages(options.keep, hashlib.sha256(f"{digest} {source}".encode()).hexdigest())
    described = {"count": len(clean.labels), "of": total, "sha256": digest}
    made = corrupted_images(clean, *kinds, seed=options.seed, saved=saved)
    return {"source": source, "images": described}, made


def _progress(conditions: Iterable[Condition], total: int) -> Iterator[Condition]:
    with tqdm(conditions, total=total, unit="condition", dynamic_ncols=True, disable=None) as bar:
        for condition in bar:
            bar.set_postfix_str(f"{condition.corruption} {condition.severity}", refresh=True)
            yield condition
