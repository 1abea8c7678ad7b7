"""The record of a model's transfer, which grows by a data set at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from tqdm import tqdm

from training.data import ImageData
from training.downstream.comparison import check_comparable, with_baseline
from training.downstream.measuring import METHODS, Method, measure
from training.downstream.sets import open_sets
from training.pretrained import Pretrained, open_pretrained
from training.probes import probe_recipe
from training.probes.protocols import SCALING
from training.probes.record import SGD_SETTINGS
from training.provenance import code_revision
from training.recipe import Recipe
from zoo.errors import ProtozooError

Record = dict[str, Any]


@dataclass(frozen=True)
class TransferOptions:
    """How to measure.

    Attributes:
        methods: of :data:`training.downstream.METHODS`.
        protocol: of :data:`training.probes.PROTOCOLS`, for the linear probe.
        epochs: of the linear probe; None: the protocol's.
        lr: learning rate of the linear probe; None: the protocol's.
        shots: training images of each class; None: all.
        seed: of all that is drawn.
        device: of torch.
    """

    methods: Sequence[Method] = METHODS
    protocol: str = "cifar"
    epochs: int | None = None
    lr: float | None = None
    shots: int | None = None
    seed: int = 0
    device: str = "cpu"


def record_transfer(
    name_or_path: str,
    specs: Sequence[str],
    options: TransferOptions | None = None,
    *,
    baseline: Mapping[str, Any] | None = None,
    earlier: Mapping[str, Any] | None = None,
    save: Callable[[Record], None] = lambda record: None,
    command: str = "",
) -> Record:
    """What a bundle's or run's frozen encoder is worth on data sets.

    Args:
        name_or_path: bundle (folder, zoo name or hf-hub:owner/name) or folder of a finished run.
        specs: data sets, as for :func:`training.downstream.open_sets`.
        options: how to measure.
        baseline: another model's record with the same settings, of these data sets or more.
        earlier: record of the same model and options, to go on from: what it has is not measured again.
        save: gets the record before the first data set and after each.
        command: what was typed, for the record.

    Returns:
        Names and "settings"; "sets", in the order of ``specs``, each with its "data", counts of images and classes,
        "code_revision" and what :func:`training.downstream.measure` gives; "means" over the data sets by method, None
        as long as one is missing; and "baseline" (:func:`training.downstream.comparison.with_baseline`) or None. Ready
        for JSON.

    Raises:
        ProtozooError: model, data, device or settings cannot be used, or a record that is given is of something else.
    """
    options = options or TransferOptions()
    pretrained = open_pretrained(name_or_path)
    recipe = _recipe(pretrained, options)
    sets = open_sets(specs, pretrained.preprocessing, shots=options.shots, seed=options.seed)
    record: Record = {
        "kind": "transfer",
        "command": command,
        "model": pretrained.name,
        "weights_sha256": pretrained.weights_sha256,
        "input_size": pretrained.preprocessing.size,
        "data": "; ".join(data.name for data in sets),
        "settings": _settings(recipe, options),
    }
    described = [_described(data) for data in sets]
    done = {} if earlier is None else _done(record, described, earlier)
    if baseline is not None:
        check_comparable(record["settings"], described, baseline)
    model = pretrained.to(options.device)

    def progress() -> Record:
        found = [done[data.name] for data in sets if data.name in done]
        if len(found) < len(sets):
            return {**record, "sets": found, "means": None, "baseline": None}
        compared = None if baseline is None else with_baseline(found, baseline)
        return {**record, "sets": found, "means": _means(found, options.methods), "baseline": compared}

    save(progress())
    for data, names in tqdm(list(zip(sets, described, strict=True)), unit="set", dynamic_ncols=True, disable=None):
        if data.name not in done:
            measured = measure(model, data, pretrained.preprocessing, options.methods, recipe)
            measured["cost"]["device"] = options.device
            done[data.name] = {**names, "code_revision": code_revision(), **measured}
            save(progress())
    return progress()


def _recipe(pretrained: Pretrained, options: TransferOptions) -> Recipe:
    given = {name: getattr(options, name) for name in ("epochs", "lr", "shots", "seed")}
    overrides = {name: value for name, value in given.items() if value is not None}
    return probe_recipe("ce", pretrained, options.protocol, overrides)


def _settings(recipe: Recipe, options: TransferOptions) -> Record:
    names = SGD_SETTINGS if "linear" in options.methods else ("shots", "seed")
    values = {name: getattr(recipe, name) for name in names}
    # As JSON gives them back.
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    scaling = {"scaling": SCALING} if "linear" in options.methods else {}
    return {"methods": list(options.methods), **lists, **scaling}


def _described(data: ImageData) -> Record:
    return {
        "data": data.name,
        "license": data.license,
        "classes": len(data.classes),
        "train_images": len(data.train.labels),
        "test_images": len(data.test.labels),
    }


def _done(record: Record, described: Sequence[Record], earlier: Mapping[str, Any]) -> dict[str, Record]:
    """What the earlier record has, by the names of the data sets.

    Raises:
        ProtozooError: it is of another model, of other settings or of other data.
    """
    if earlier.get("kind") != "transfer":
        raise ProtozooError("what stands in the record's file is no record of `protozoo transfer`: choose another file")
    for name, what in (("weights_sha256", "another model"), ("settings", "other settings")):
        if earlier.get(name) != record[name]:
            raise ProtozooError(
                f"the record of {earlier.get('model')} that stands there is of {what}: choose another file, or give "
                "the command that began it"
            )
    for found in earlier["sets"]:
        if not any(names.items() <= found.items() for names in described):
            raise ProtozooError(
                f"the record that stands there has {found['data']}, with {found['train_images']} training and "
                f"{found['test_images']} test images, which is none of these data sets: choose another file"
            )
    return {found["data"]: found for found in earlier["sets"]}


def _means(sets: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> dict[str, float]:
    return {method: mean(found["methods"][method]["value"] for found in sets) for method in methods}
