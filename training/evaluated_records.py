"""Records of other commands, as evaluations of the bundle that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.record_files import read_record
from zoo.bundle import Bundle
from zoo.errors import ProtozooError

_NEEDED = {
    "corruptions": ("data", "source", "images", "errors", "mean_errors", "mean_corruption_error", "baseline"),
    "transfer": ("data", "settings", "sets", "means", "baseline"),
    "probe": (
        *("data", "probe", "features", "train_images", "test_images"),
        *("test_accuracy", "test_accuracy_interval", "cost", "settings"),
    ),
    "convergence": ("runs", "images", "over", "smoothing", "baseline"),
}


def read_evaluations(bundle: Bundle, files: Mapping[str, Sequence[Path]]) -> list[dict[str, Any]]:
    """What commands have measured of a bundle, or of the run that it was exported from.

    Args:
        bundle: whose weights are to be the records'.
        files: by kind, which is the command's name, the files that its ``--out`` has written: "corruptions",
            "transfer", "probe" and "convergence".

    Returns:
        The records, each with its "kind", "command" and "data", as they stand in the bundle's record.

    Raises:
        ProtozooError: a file cannot be read, or its record is another model's, another command's or not finished.
    """
    return [_of_this_model(bundle, kind, path) for kind, paths in files.items() for path in paths]


def _of_this_model(bundle: Bundle, kind: str, path: Path) -> dict[str, Any]:
    record = read_record(path)
    missing = [name for name in ("command", *_NEEDED[kind]) if name not in record]
    if missing:
        raise ProtozooError(f"{path} is no record of `protozoo {kind}`: it has no {missing[0]}")
    if kind == "convergence":
        return _convergence_of(bundle, record, path)
    if record.get("weights_sha256") not in _digests(bundle):
        raise _other_weights(bundle, kind, path)
    if kind == "transfer" and record["means"] is None:
        raise ProtozooError(f"{path} lacks data sets: the same `protozoo transfer` goes on from it")
    # Whose they are the bundle says itself.
    kept = {name: value for name, value in record.items() if name not in ("model", "weights_sha256")}
    return {**kept, "kind": kind}


def _digests(bundle: Bundle) -> list[str]:
    """Of the bundle's weights, and of the run's that they were exported from: bundles of before that do not tell."""
    weights = bundle.record["weights"]
    return [weights[name] for name in ("sha256", "run_sha256") if name in weights]


def _convergence_of(bundle: Bundle, record: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The record with the one run that the bundle was exported from, as "run"."""
    own = next((run for run in record["runs"] if run.get("weights_sha256") in _digests(bundle)), None)
    if own is None:
        raise _other_weights(bundle, "convergence", path)
    told = {name: value for name, value in record.items() if name != "runs"}
    kept = {name: value for name, value in own.items() if name not in ("run", "data", "weights_sha256")}
    return {**told, "kind": "convergence", "data": own["data"], "run": kept}


def _other_weights(bundle: Bundle, kind: str, path: Path) -> ProtozooError:
    own, *of_run = _digests(bundle)
    remedy = {
        (True, True): "the run that it was exported from",
        (True, False): "its run, and export that again: this bundle, an earlier version's, does not tell which it was",
        (False, True): "this bundle, or the run that it was exported from",
        (False, False): "this bundle; which run it was exported from it, an earlier version's, does not tell",
    }[kind == "convergence", bool(of_run)]
    return ProtozooError(
        f"{path} is of other weights than {bundle.name}'s, {own[:16]}: give `protozoo {kind}` {remedy}"
    )
