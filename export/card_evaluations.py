"""What a card says of evaluations that were added after the training, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = tuple[str, Sequence[str]]
"""The row's head, and a cell for each column."""

_KINDS = {
    "tests": "test",
    "corruptions": "corruptions",
    "transfers": "transfer",
    "probes": "probe",
    "convergences": "convergence",
}
_WEAKEST = 3
_PROBES = {
    "linear": "linear probe",
    "normalized": "probe by cosine",
    "cached": "linear probe of features computed once",
}
_REACHED = {
    "weight_instance_alignment": "squared distance of embeddings and their prototypes",
    "instance_alignment": "squared distance within a class",
    "weight_alignment": "squared distance of prototypes and means",
    "weight_erank": "effective rank of the prototypes",
    "intra_erank": "effective rank within a class",
    "inter_erank": "effective rank of the class means",
}


@dataclass(frozen=True)
class Formats:
    """How the card writes a share in [0, 1] and another number."""

    percent: Callable[[float], str]
    number: Callable[[float], str]


def evaluations(record: Mapping[str, Any], collapse: Mapping[str, str], formats: Formats) -> dict[str, Any]:
    """What the card's template needs of a record's "evaluations".

    Args:
        record: the key ``protozoo`` of config.json.
        collapse: metric of collapse -> what it is, in the card's order.
        formats: of numbers.

    Returns:
        The evaluations by kind, and the rows of the tables that are made here: "test_rows" of ``tests``, "probe_rows"
        of ``probes``, and "reached_rows" of one of the ``convergences``; "probe_note", "transfer_note" of one of the
        ``transfers``, and "interval_note": see :func:`interval_note`.
    """
    found = record.get("evaluations", [])
    kinds = {name: [row for row in found if row["kind"] == kind] for name, kind in _KINDS.items()}
    return {
        **kinds,
        "test_rows": _test_rows(kinds["tests"], collapse, formats),
        "probe_rows": _probe_rows(kinds["probes"], formats),
        "probe_note": interval_note((row["test_accuracy"], row["test_accuracy_interval"]) for row in kinds["probes"]),
        "transfer_note": lambda one: interval_note(
            (method["value"], method["interval"]) for row in one["sets"] for method in row["methods"].values()
        ),
        "interval_note": interval_note,
        "reached_rows": lambda one: _reached_rows(one, formats),
    }


def _test_rows(tests: Sequence[Mapping[str, Any]], collapse: Mapping[str, str], formats: Formats) -> list[Row]:
    """A column a test; what none of them measured has no row."""
    note = interval_note([(test["test_accuracy"], test["test_accuracy_interval"]) for test in tests])
    columns = [_of_test(test, collapse, formats, note) for test in tests]
    # A dictionary for the order: a test that lacks a row of another must not move it to the end.
    longest = max(columns, key=len, default={})
    heads = dict.fromkeys([*longest, *(head for column in columns for head in column)])
    return [(head, [column.get(head, "not measured") for column in columns]) for head in heads]


def interval_note(found: Iterable[tuple[float, Sequence[float]]]) -> str:
    """What to add to "bootstrap interval" of these accuracies and intervals: nothing where all are by bootstrap."""
    exact = any(accuracy in (0, 1) and low < high for accuracy, (low, high) in found)
    return "; exact (Clopper and Pearson) where all or none are right" if exact else ""


def _of_test(test: Mapping[str, Any], collapse: Mapping[str, str], formats: Formats, note: str) -> dict[str, str]:
    percent, number = formats.percent, formats.number
    low, high = test["test_accuracy_interval"]
    return {
        "test images": str(test["test_images"]),
        "top-1 accuracy": percent(test["test_accuracy"]),
        f"its 95 % bootstrap interval{note}": f"{percent(low)} to {percent(high)}",
        **_classes(test, percent),
        **_calibration(test["test_calibration"], percent, number),
        **_unknown(test, percent, number),
        **{
            meaning: number(test["test_collapse"][key])
            for key, meaning in collapse.items()
            if test.get("test_collapse", {}).get(key) is not None
        },
    }


def _classes(test: Mapping[str, Any], percent: Callable[[float], str]) -> dict[str, str]:
    weakest = sorted(test.get("test_accuracy_per_class", {}).items(), key=lambda pair: pair[1])[:_WEAKEST]
    rows = {
        f"weakest classes, {place}": f"{label}: {percent(value)}" for place, (label, value) in enumerate(weakest, 1)
    }
    for kinds in test.get("test_accuracy_long_tail", {}).get("by_readout", {}).values():
        for kind, groups in kinds.items():
            for group, found in groups.items():
                classes = f"{found['classes']} class{'es' if found['classes'] > 1 else ''}"
                rows[f"{group} {kind.replace('_', ' ')}"] = f"{percent(found['accuracy'])} ({classes})"
    return rows


def _calibration(
    found: Mapping[str, Any], percent: Callable[[float], str], number: Callable[[float], str]
) -> dict[str, str]:
    rows = {"expected calibration error, 15 bins of equal width": percent(found["ece"])}
    if "nll" in found:
        rows["negative log-likelihood, nats"] = number(found["nll"])
    if scaling := found.get("scaling"):
        ece, nll = scaling["ece_before"], scaling["nll_before"]
        rows |= {
            "temperature that fits a random half of the images best": f"{scaling['temperature']:g}",
            "calibration error of the other half, logits divided by it": (
                f"{percent(scaling['ece_after'])} (else {percent(ece)})"
            ),
            "negative log-likelihood of the other half, logits divided by it": (
                f"{number(scaling['nll_after'])} (else {number(nll)})"
            ),
        }
    return rows


def _unknown(
    test: Mapping[str, Any], percent: Callable[[float], str], number: Callable[[float], str]
) -> dict[str, str]:
    rows = {}
    if foreign := test.get("foreign"):
        rows["AUROC against other images"] = f"{number(foreign['auroc'])} ({foreign['images']} of {foreign['data']})"
        rows["of those, above the cosine that 95 % of the test images reach"] = percent(foreign["fpr_at_95_tpr"])
    for row in test.get("thresholds", []):
        head = f"threshold for at most {100 * row['fpr']:g} % false positives"
        rows[head] = f"{number(row['cosine'])} ({percent(row['known_accepted'])} of the test images pass)"
    for row in test.get("rejections", []):
        rows[f"threshold for at most {100 * row['frr']:g} % false rejections"] = number(row["cosine"])
    return rows


def _probe_rows(probes: Sequence[Mapping[str, Any]], formats: Formats) -> list[Row]:
    """Data, training images, accuracy with its interval, passes, seconds, and these over those of fixed prototypes."""
    return [(_probe_name(probe), _of_probe(probe, probes, formats.percent)) for probe in probes]


def _probe_name(probe: Mapping[str, Any]) -> str:
    settings = probe["settings"]
    if probe["probe"] == "prototypes":
        return f"fixed prototypes ({settings['features']})"
    return f"{_PROBES[probe['probe']]}, {settings['epochs']} epoch{'s' if settings['epochs'] != 1 else ''}"


def _of_probe(
    probe: Mapping[str, Any], probes: Sequence[Mapping[str, Any]], percent: Callable[[float], str]
) -> list[str]:
    cost, (low, high) = probe["cost"], probe["test_accuracy_interval"]
    fixed = [other["cost"] for other in probes if other["probe"] == "prototypes" and _alike(other, probe)]
    return [
        probe["data"],
        str(probe["train_images"]),
        f"{percent(probe['test_accuracy'])} ({percent(low)} to {percent(high)})",
        str(cost["passes"]),
        f"{cost['seconds']:.2f} ({cost['device']})",
        # Of prototypes themselves, too, which may be of several kinds of features.
        f"{cost['seconds'] / fixed[0]['seconds']:.1f}" if fixed else "not measured",
    ]


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Of the same images on the same kind of device: only then do seconds compare."""
    keys = ("data", "train_images")
    return all(one[key] == other[key] for key in keys) and one["cost"]["device"] == other["cost"]["device"]


def _reached_rows(found: Mapping[str, Any], formats: Formats) -> list[Row]:
    """By metric the shares until collapse and until the baseline's final value."""
    run = found["run"]
    return [
        (meaning, [_reached(run[part].get(metric), formats.percent) for part in ("targets", "baseline")])
        for metric, meaning in _REACHED.items()
    ]


def _reached(found: Mapping[str, Any] | None, percent: Callable[[float], str]) -> str:
    if found is None:
        return "not logged"
    if found["share"] is None:
        return "not reached"
    # At the first evaluation it may have been so for long.
    return f"{'≤ ' if found['first'] else ''}{percent(found['share'])}"
