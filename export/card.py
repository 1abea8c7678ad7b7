"""The model card, rendered from the record in config.json alone.

Its metadata block holds the measured accuracy as a ``model-index``. The Hub's newer ``.eval_results/*.yaml`` are not
written: an entry must name a data set of the Hub that is registered there as a benchmark, and a task that this
benchmark defines (https://huggingface.co/docs/hub/eval-results), and a record knows of neither.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, StrictUndefined

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


def render_card(config: Mapping[str, Any]) -> str:
    """Markdown with the Hub's metadata block, from a bundle's ``config.json``."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    # A JSON string is a YAML string, but for characters that JSON escapes as two.
    environment.filters["yaml"] = partial(json.dumps, ensure_ascii=False)
    template = environment.from_string(files("export").joinpath("card.md.jinja").read_text(encoding="utf-8"))
    record = config["protozoo"]
    text = template.render(
        config=config,
        record=record,
        metrics=record["metrics"],
        name=f"{config['architecture']}.{config['pretrained_cfg']['tag']}",
        collapse=_COLLAPSE,
        size=config["pretrained_cfg"]["input_size"][-1],
        hub=_hub_ids(record),
    )
    return text.rstrip() + "\n"


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
