"""The fields of a recipe as options of a command."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click

_WORDS = {str: "TEXT", int: "INTEGER", float: "FLOAT", bool: "[true|false]"}


class RecipeCommand(click.Command):
    """A command with one option for each field of a recipe."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters and the recipe's fields, read from the schema when they are needed."""
        from training.recipe import Recipe

        fields: list[click.Parameter] = [
            click.Option(
                [f"--{name}", *([f"--{name.replace('_', '-')}"] if "_" in name else [])],
                metavar=values(field.annotation),
                type=_listed if get_origin(field.annotation) is tuple else str,
                help=f"{field.description}{limits(field.metadata)}",
            )
            for name, field in Recipe.model_fields.items()
        ]
        return [*super().get_params(ctx), *fields]


def _listed(word: str) -> str:
    """A list as YAML has it, of words with commas too."""
    return word if word.lstrip().startswith("[") else f"[{word}]"


def values(annotation: Any) -> str:
    """What a field takes, in click's words: its choices, or its type."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"[{'|'.join(inner)}]"
    if origin in (Union, UnionType):
        return values(next(kind for kind in inner if kind is not NoneType))
    if origin is tuple:
        return ",".join("..." if kind is Ellipsis else "FLOAT" for kind in inner)
    return _WORDS[annotation]


def limits(metadata: Iterable[Any]) -> str:
    """The range of a number, as click writes it: ``  [0<=x<1]`` or ``  [x>=1]``; empty where all go.

    Args:
        metadata: of a field; what is not of the package annotated_types has none of the four.
    """
    found = {
        name: getattr(limit, name) for limit in metadata for name in ("gt", "ge", "lt", "le") if hasattr(limit, name)
    }
    lower = [f"{found[name]}{sign}" for name, sign in (("gt", "<"), ("ge", "<=")) if name in found]
    upper = [f"{sign}{found[name]}" for name, sign in (("lt", "<"), ("le", "<=")) if name in found]
    return f"  [{''.join(lower)}x{''.join(upper)}]" if lower or upper else ""
