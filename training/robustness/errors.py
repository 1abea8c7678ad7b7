"""From errors by corruption and severity to the benchmark's summaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any

from training.data import Split, StoredSplit
from training.evaluation import run_model
from training.robustness.conditions import Condition
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel

Errors = Mapping[str, Mapping[str, float]]


def corruption_errors(
    model: PrototypeModel, preprocessing: Preprocessing, conditions: Iterable[Condition]
) -> dict[str, dict[str, float]]:
    """Corruption -> severity, as JSON has it ("1" to "5") -> top-1 error in [0, 1]."""
    errors: dict[str, dict[str, float]] = {}
    for condition in conditions:
        found = top1_error(model, condition.images(), preprocessing)
        errors.setdefault(condition.corruption, {})[str(condition.severity)] = found
    return errors


def top1_error(model: PrototypeModel, split: Split | StoredSplit, preprocessing: Preprocessing) -> float:
    """Share of the images whose class has not the largest logit."""
    outputs = run_model(model, split, preprocessing)
    return float((outputs.logits.argmax(1) != outputs.labels).double().mean())


def summary(errors: Errors) -> dict[str, Any]:
    """Means over the severities by corruption, "mean_errors", and theirs, "mean_corruption_error", not normalised."""
    means = {name: mean(values.values()) for name, values in errors.items()}
    return {"mean_errors": means, "mean_corruption_error": mean(means.values())}


def with_baseline(record: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    r"""What a record says against that of another model.

    .. math:: CE_c = \frac{\sum_s E_{s,c}(f)}{\sum_s E_{s,c}(b)}, \qquad
        RCE_c = \frac{\sum_s (E_{s,c}(f) - E(f))}{\sum_s (E_{s,c}(b) - E(b))}

    with f the model, b the baseline and E the error on clean images; mCE and relative mCE are means over corruptions.

    Args:
        record: of :func:`training.robustness.record_corruptions`.
        baseline: likewise, of the same data, images, corruptions and severities.

    Returns:
        "model", "weights_sha256", "ce", "mce", "relative_ce" and "relative_mce" as shares: 1 is the baseline's own.
        A corruption that does not raise the baseline's error has no relative CE; then, or where a clean error was not
        measured, relative mCE is None.

    Raises:
        ProtozooError: the baseline is of something else, or makes no error, so that nothing can be divided by it.

    Source: Hendrycks & Dietterich 2019 (arXiv 1903.12261), section 4.
    """
    check_comparable(record, baseline)
    ce, relative = {}, {}
    clean, theirs_clean = record.get("clean_error"), baseline.get("clean_error")
    for name, values in record["errors"].items():
        own, theirs = sum(values.values()), sum(baseline["errors"][name].values())
        ce[name] = own / theirs
        if clean is not None and theirs_clean is not None:
            rise = theirs - len(values) * theirs_clean
            relative[name] = (own - len(values) * clean) / rise if rise > 0 else None
    known = [value for value in relative.values() if value is not None]
    return {
        "model": baseline["model"],
        "weights_sha256": baseline["weights_sha256"],
        "ce": ce,
        "mce": mean(ce.values()),
        "relative_ce": relative,
        "relative_mce": mean(known) if len(known) == len(ce) else None,
    }


def check_comparable(record: Mapping[str, Any], baseline: Mapping[str, Any]) -> None:
    """Refuse a baseline that was measured on something else, or that nothing can be divided by.

    Raises:
        ProtozooError: it was, or it makes no error on a corruption, or it is no such record.
    """
    try:
        differences = {
            "data": (baseline["data"], record["data"]),
            "corrupted images": (baseline["source"], record["source"]),
            "images": (baseline["images"], record["images"]),
            "corruptions": (_kinds(baseline), _kinds(record)),
        }
        _ = baseline["model"], baseline["weights_sha256"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ProtozooError(f"the baseline is no record of `protozoo corruptions` ({error!r})") from error
    for what, (theirs, own) in differences.items():
        if theirs != own:
            raise ProtozooError(
                f"the baseline is of other {what}, {theirs} and not {own}: measure it by the same command"
            )
    faultless = [name for name, values in baseline["errors"].items() if not any(values.values())]
    if faultless:
        raise ProtozooError(
            f"the baseline makes no error on {', '.join(faultless)}, so that none can be measured against it: measure "
            "both by --corruption of the others, or without --baseline"
        )


def _kinds(record: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: sorted(values) for name, values in sorted(record["errors"].items())}
