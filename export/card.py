"""The model card, rendered from the record in config.json alone.

Its metadata block holds the measured accuracy as a ``model-index``. The Hub's newer ``.eval_results/*.yaml`` are not
written: an entry must name a data set of the Hub that is registered there as a benchmark, and a task that this
benchmark defines (https://huggingface.co/docs/hub/eval-results), and a record knows of neither.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

from jinja2 import UndefinedError

from export.card_evaluations import Formats, evaluations
from export.template import render
from zoo.errors import BundleError

_COLLAPSE = {
    "intra_erank": "effective rank within a class",
    "trace_ratio": "scatter within over between classes",
    "cdnv": "class-distance normalised variance (CDNV)",
    "inter_erank": "effective rank of the class means",
    "weight_erank": "effective rank of the prototypes",
    "etf_cosine_error": "largest deviation of the means' cosines from the simplex",
    "etf_gram_distance": "distance of the means' Gram matrix from the simplex's",
    "weight_alignment": "squared distance of prototypes and means",
    "weight_instance_alignment": "squared distance of prototypes and embeddings",
    "instance_alignment": "squared distance within a class",
    "mir": "mutual information ratio (MIR)",
    "hdr": "entropy difference ratio (HDR)",
}


def render_card(config: Mapping[str, Any], *, pictures: str | None = "") -> str:
    """Markdown with the Hub's metadata block, from a bundle's ``config.json``.

    Args:
        config: of the bundle. What an older record does not have is left out, or said not to have been measured.
        pictures: what to put before the names of the bundle's pictures to link them; None leaves them out.

    Raises:
        BundleError: the record lacks what every card tells.
    """
    # A JSON string is a YAML string, but for characters that JSON escapes as two.
    filters: dict[str, Callable[..., str]] = {"yaml": partial(json.dumps, ensure_ascii=False), **_FORMATS}
    try:
        return render("card.md.jinja", _variables(config, pictures), filters)
    except (UndefinedError, KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"the record in config.json is not what a card is made of ({error}): export the run again"
        ) from error


def _variables(config: Mapping[str, Any], pictures: str | None) -> dict[str, Any]:
    record = config["protozoo"]
    repeats = record.get("repeats", [])
    return {
        "config": config,
        "record": record,
        "metrics": record["metrics"],
        # Without test images nothing was measured.
        "enrolled": "examples_per_class" in record["data"],
        "name": f"{config['architecture']}.{config['pretrained_cfg']['tag']}",
        "collapse": _COLLAPSE,
        "size": config["pretrained_cfg"]["input_size"][-1],
        "hub": _hub_ids(record),
        # A folder that the record cannot name: it lay on somebody's machine.
        "base_below": ", whose folder is BASE below" if "BASE" in shlex.split(record["command"]) else "",
        "pictures": {} if pictures is None else {name: pictures + name for name in record.get("pictures", ())},
        "spread": bool(repeats),
        "seeds": 1 + len(repeats),
        **evaluations(record, _COLLAPSE, Formats(_percent, _number)),
        "over_seeds": partial(_over_seeds, [record["metrics"], *(repeat["metrics"] for repeat in repeats)]),
    }


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _number(value: float) -> str:
    return f"{value:.4f}"


_FORMATS: dict[str, Callable[[float], str]] = {"percent": _percent, "number": _number}


def _over_seeds(runs: Sequence[Mapping[str, Any]], form: str, *path: str) -> str:
    """A cell with mean and standard deviation of a metric over runs; none where there is one run."""
    if len(runs) == 1:
        return ""
    values = [_at(metrics, path) for metrics in runs]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return " not measured |"
    write = _FORMATS[form]
    return f" {write(mean(known))} ± {write(stdev(known))} |"


def _at(metrics: Mapping[str, Any], path: Iterable[str]) -> float | None:
    """The metric at the end of ``path``; None where an older run has none."""
    found: Any = metrics
    for name in path:
        found = found.get(name, {})
    return found if isinstance(found, int | float) else None


def _hub_ids(record: Mapping[str, Any]) -> dict[str, str | None]:
    """What of the Hub the model was made from: ``dataset`` and ``base_model``, as the recorded command names them."""
    words = shlex.split(record["command"])
    data = [word for option, word in pairwise(words) if option == "--data"]
    bases = words if "base" in record else []
    return {"dataset": _hub_id("hfds/", data), "base_model": _hub_id("hf-hub:", bases)}


def _hub_id(prefix: str, words: Iterable[str]) -> str | None:
    """``owner/name`` of the first word that is that after ``prefix``, without its revision."""
    found = (re.fullmatch(rf"{prefix}([\w.-]+/[\w.-]+)(@.*)?", word) for word in words)
    return next((match[1] for match in found if match), None)
