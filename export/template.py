"""Texts from the templates of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined


def render(name: str, values: Mapping[str, Any], filters: Mapping[str, Callable[..., str]] | None = None) -> str:
    """The text of a template, with one line break at its end.

    Args:
        name: of the file in this package.
        values: what it may name.
        filters: by the names that it has for them.

    Raises:
        jinja2.UndefinedError: it names something that there is not.
    """
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters |= filters or {}
    template = environment.from_string(files("export").joinpath(name).read_text(encoding="utf-8"))
    return template.render(values).rstrip() + "\n"
