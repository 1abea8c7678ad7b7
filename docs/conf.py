"""How Sphinx builds these pages: ``sphinx-build -W docs docs/_build`` must not warn."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import zoo

sys.path.insert(0, os.fspath(Path(__file__).parent / "extensions"))

project = "protozoo"
author = "the protozoo authors"
version = release = zoo.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml"]
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"protozoo {version}"
html_show_copyright = html_show_sphinx = False
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "set_partial_fit_request, set_score_request"}
napoleon_custom_sections = [("Source", "notes_style")]
python_display_short_literal_types = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True

# The pages of other projects are not read at a build, which needs no network; what follows are their names, this
# project's private ones, and shapes that napoleon takes for types.
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|np|PIL|timm|sklearn|nn|collections|pathlib|os|httpx|importlib)(\..*)?"),
    (r"py:.*", r"(.*\.)?(_\w+|T|Tensor|NDArray|ArrayLike|Group|Picture|Pictures|Keep|Negatives|NoPositive)"),
    (r"py:.*", r"training\.metrics\.collapse\.ClassStatistics|zoo\.bundle\.images|open_rgb|effective_ranks"),
    (r"py:mod", r"serving\.client\.(calls|answers|http)"),
    (r"py:class", r"K|tau|Precision -> ONNX file|int64 on the representatives' device"),
]


def setup(app: Any) -> None:
    """Leave out what a verb of the client returns where it is a type variable: its description says it."""
    app.connect("autodoc-process-signature", _without_type_variable)


def _without_type_variable(*given: Any) -> tuple[str, None] | None:
    *_, signature, returns = given
    return (signature, None) if str(returns).rpartition(".")[2] == "T" else None
