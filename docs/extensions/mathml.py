"""Formulas as MathML, which browsers draw by themselves: a page asks no other host for a script."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from docutils.utils.math.latex2mathml import tex2mathml  # type: ignore[import-untyped]

_SIZES = re.compile(r"\\[bB]igg?(?![a-z])")  # docutils does not know them


def mathml(node: nodes.math | nodes.math_block) -> str:
    """A formula of TeX.

    Raises:
        MathError: docutils cannot read it.
    """
    text: str = tex2mathml(_SIZES.sub("", node.astext()), as_block=isinstance(node, nodes.math_block))
    return text


def inline(translator: Any, node: nodes.math) -> None:
    """A formula within a line."""
    translator.body.append(mathml(node))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """A formula of its own."""
    translator.body.append(f'<div class="math">{mathml(node)}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
