"""The model card, rendered from the record in config.json alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
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
    environment.filters["yaml"] = json.dumps  # a JSON string is a YAML string
    template = environment.from_string(files("export").joinpath("card.md.jinja").read_text(encoding="utf-8"))
    record = config["protozoo"]
    text = template.render(
        config=config,
        record=record,
        metrics=record["metrics"],
        name=f"{config['architecture']}.{config['pretrained_cfg']['tag']}",
        collapse=_COLLAPSE,
        size=config["pretrained_cfg"]["input_size"][-1],
    )
    return text.rstrip() + "\n"
