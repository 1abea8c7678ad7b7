"""YAML as recipes are written in it: plain words as YAML 1.2 reads them, and the line of every field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from training.recipe.schema import Recipe, RecipeError

_NULL = re.compile(r"(?:~|null|Null|NULL|)$")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")


class Setting(NamedTuple):
    """A value, and who set it: a file in one of its lines, or an option of the command line."""

    value: Any
    source: str
    line: int | None = None


class RecipeLoader(yaml.SafeLoader):
    """YAML 1.1, PyYAML's, reads ``1e-3`` as a word, ``yes`` as true, ``010`` as 8 and ``1:30`` as 90; this does not."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute


class RecipeDumper(yaml.SafeDumper):
    """Puts in quotes what either version would read as something else than a word."""


# What PyYAML raises at a value that its explicit tag does not fit, such as ``!!int many``.
_MISFITS = (ValueError, KeyError, AttributeError)
_TAG = "tag:yaml.org,2002:"
RecipeLoader.add_implicit_resolver(f"{_TAG}null", _NULL, ["~", "n", "N", ""])
RecipeLoader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
RecipeLoader.add_implicit_resolver(f"{_TAG}int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789"))
RecipeLoader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))
RecipeLoader.add_constructor(f"{_TAG}int", lambda loader, node: int(node.value))
RecipeDumper.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+.0123456789"))


def parse_value(word: str) -> Any:
    """A word of the command line as a recipe's file would read it; what is no YAML stays the word."""
    try:
        return yaml.load(word, RecipeLoader)
    except (yaml.YAMLError, *_MISFITS):
        return word


def parse_option(field: str, word: str) -> Any:
    """What a word of the command line means for a field: a text is itself, ``#`` and ``:`` in it too, but for null."""
    annotation = Recipe.model_fields[field].annotation
    if annotation is str or (annotation == str | None and not _NULL.match(word)):
        return word
    return parse_value(word)


def parse_file(path: Path, source: str) -> dict[str, Setting]:
    """The fields that a file sets itself.

    Args:
        path: of the file.
        source: what the file is called in messages.

    Raises:
        RecipeError: it cannot be read, is not UTF-8 or not YAML, is no mapping, or sets a field twice.
    """
    text = _read(path, source)
    try:
        loader = RecipeLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise RecipeError(f"{source} must be a YAML mapping of fields to values, one to a line")
        return _fields(loader, node, source)
    except yaml.YAMLError as error:
        raise RecipeError(_not_yaml(error, text, source)) from error


def _read(path: Path, source: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{source}, line {line}: is not UTF-8; save the file in that encoding") from error
    except OSError as error:
        raise RecipeError(f"{source} cannot be read ({error.strerror})") from error


def _fields(loader: RecipeLoader, node: yaml.MappingNode, source: str) -> dict[str, Setting]:
    fields: dict[str, Setting] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise RecipeError(f"{source}, line {line}: a field's name must stand before the colon")
        if key.value in fields:
            earlier = fields[key.value].line
            raise RecipeError(f"{source}, line {line}: {key.value} is set in line {earlier} already; keep one of them")
        try:
            fields[key.value] = Setting(loader.construct_object(value, deep=True), source, line)
        except _MISFITS as error:
            raise RecipeError(f"{source}, line {line}: the value of {key.value} does not fit its tag") from error
    return fields


def _not_yaml(error: yaml.YAMLError, text: str, source: str) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return f"{source}, line {mark.line + 1}: is not YAML: {getattr(error, 'problem', None) or error}"
    # A character that YAML does not allow has a position and no mark.
    line = text.count("\n", 0, getattr(error, "position", 0)) + 1
    return f"{source}, line {line}: is not YAML: {getattr(error, 'reason', error)}"
