"""Recipes as YAML files: where they stand, what they build on, typed overrides, faults with the line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from training.recipe.parsing import Setting, parse_file
from training.recipe.schema import Objective, Recipe, RecipeError

_PACKAGED = Path(str(files("training").joinpath("recipes")))
# Where a recipe has no small version, its name means the papers'.
_FOLDERS = (_PACKAGED, _PACKAGED / "papers")
# What else people call a field.
_SYNONYMS = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "tau": "temperature",
    "loss": "objective",
    "model": "architecture",
    "backbone": "architecture",
    "scheduler": "schedule",
}


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes inside the package, the papers' as ``papers/<name>``; those to build on are left out."""
    found = (path.relative_to(_PACKAGED).with_suffix("") for path in _PACKAGED.rglob("*.yaml"))
    return tuple(sorted(path.as_posix() for path in found if not path.name.startswith("_")))


def load_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by name or file and lay typed overrides over it.

    A file's ``base`` names what it builds on, beside it or in the package: one recipe, or a list of which later ones
    win. Its own fields win over all of them.

    Raises:
        RecipeError: no such recipe, an unknown field, a value that does not fit; with the file and line, or the option.
    """
    return load_with_origins(name_or_path, overrides)[0]


def load_with_origins(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> tuple[Recipe, dict[str, str]]:
    """As :func:`load_recipe`, with the file or option that sets each field which is not left at its default."""
    path = Path(name_or_path)
    settings = _inherited(path if path.is_file() else _packaged(name_or_path))
    settings |= {field: Setting(value, f"--{field}") for field, value in (overrides or {}).items()}
    return _validated(settings, name_or_path), {field: setting.source for field, setting in settings.items()}


def _validated(settings: Mapping[str, Setting], name: str) -> Recipe:
    for field, setting in settings.items():
        # To pydantic true is 1.
        if _holds_truth(setting.value) and not _is_truth_field(field):
            raise RecipeError(_at_fault(setting, f"{field} = {setting.value!r}", "Input should not be true or false"))
    try:
        return Recipe.model_validate({field: setting.value for field, setting in settings.items()})
    except ValidationError as error:
        raise RecipeError(_first_fault(error.errors()[0], settings, name)) from error


def _inherited(path: Path, building: tuple[Path, ...] = ()) -> dict[str, Setting]:
    """The fields of a file over those of its bases; ``building`` are the files that build on it."""
    building = (*building, path.resolve())
    own = parse_file(path, _label(path))
    base = own.pop("base", None)
    if base is None:
        return own
    inherited: dict[str, Setting] = {}
    for name in _base_names(base):
        source = _base_file(name, path, base)
        if source.resolve() in building:
            raise RecipeError(_at_fault(base, f"base = {name!r}", "it builds on this recipe itself"))
        inherited |= _inherited(source, building)
    return inherited | own


def _label(path: Path) -> str:
    return path.relative_to(_PACKAGED).as_posix() if path.is_relative_to(_PACKAGED) else str(path)


def _base_names(base: Setting) -> list[str]:
    names = base.value if isinstance(base.value, list) else [base.value]
    if not names or not all(isinstance(name, str) for name in names):
        raise RecipeError(_at_fault(base, f"base = {base.value!r}", "it must be a recipe's name, or a list of names"))
    return names


def _base_file(name: str, path: Path, base: Setting) -> Path:
    beside = path.parent / f"{name}.yaml"
    # A file may have the name of the packaged recipe that it builds on.
    if beside.is_file() and not beside.samefile(path):
        return beside
    try:
        return _packaged(name)
    except RecipeError as error:
        raise RecipeError(_at_fault(base, f"base = {name!r}", str(error))) from error


def _packaged(name: str) -> Path:
    for folder in _FOLDERS:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    raise RecipeError(f"there is no recipe {name!r} and no such file; {_instead_of(name)}")


def _instead_of(name: str) -> str:
    names = recipe_names()
    if near := difflib.get_close_matches(name, names, n=3):
        return f"did you mean {', '.join(near)}?"
    data = sorted({known.partition("ce_")[2] for known in names if known.rpartition("/")[2].startswith("ce_")})
    return f"names are OBJECTIVE_DATA: {', '.join(get_args(Objective))} and {', '.join(data)}"


def _holds_truth(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, (list, tuple)) and any(map(_holds_truth, value)))


def _is_truth_field(field: str) -> bool:
    return field in Recipe.model_fields and Recipe.model_fields[field].annotation is bool


def _first_fault(fault: ErrorDetails, settings: Mapping[str, Setting], name: str) -> str:
    if not fault["loc"]:
        return f"{name}: {fault['msg'].removeprefix('Value error, ')}"
    field, *inside = map(str, fault["loc"])
    if fault["type"] == "missing" and not inside:
        return f"{name}: the field {field!r} is missing"
    if fault["type"] == "extra_forbidden":
        return _at_fault(settings[field], field, _unknown(field))
    if fault["type"] == "missing":
        return _at_fault(settings[field], f"{field} = {fault['input']!r}", "Input has too few values")
    shown = field + "".join(f"[{index}]" for index in inside)
    return _at_fault(settings[field], f"{shown} = {fault['input']!r}", fault["msg"])


def _unknown(field: str) -> str:
    near = [_SYNONYMS[field]] if field in _SYNONYMS else difflib.get_close_matches(field, Recipe.model_fields, n=1)
    return f"there is no field {field!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _at_fault(setting: Setting, subject: str, message: str) -> str:
    if setting.line is None:
        return f"--{subject}: {message}"
    return f"{setting.source}, line {setting.line}: {subject}: {message}"
