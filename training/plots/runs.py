"""What pictures need of the folder of a run, and what a run is called in them."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from training.recipe import Recipe
from training.recipe.schema import Objective
from zoo.errors import ProtozooError

_NAMES: dict[Objective, str] = {
    "ce": "CE",
    "normface": "NormFace",
    "ntce": "NTCE",
    "nonl": "NONL",
    "etf_dr": "ETF+DR",
    "scl": "SCL",
    "scl_prototypes": "SCL with prototypes",
    "dynamic": "dynamic assignment",
}
_LONGEST_NAME = 32
_WEIGHTS = "model.head.fc.weight"


@dataclass(frozen=True)
class RunHistory:
    """A run as far as it has come.

    Attributes:
        path: its folder.
        data: what it was trained on, as it was asked for.
        recipe: what was asked.
        rows: metrics.csv, a mapping of column to value an epoch; what was not measured is left out.
        num_classes: K; None where neither a record nor a checkpoint tells it.
        finished: whether the training came to its end.
    """

    path: Path
    data: str
    recipe: Recipe
    rows: tuple[dict[str, float], ...]
    num_classes: int | None
    finished: bool


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds alone, and what they are called in a legend."""

    label: str
    runs: tuple[RunHistory, ...]


def read_run(path: Path) -> RunHistory:
    """Read a run, finished or not.

    Raises:
        ProtozooError: it is no run, it has no metrics yet, or a file of it is damaged.
    """
    if not (path / "recipe.yaml").is_file():
        raise ProtozooError(f"{path} is no run: give a folder that `protozoo train` has written")
    data, recipe = _read_recipe(path / "recipe.yaml")
    rows = _read_rows(path / "metrics.csv")
    if not rows:
        raise ProtozooError(f"{path} has no metrics yet: wait until its first epoch is over")
    finished = (path / "result.json").is_file()
    num_classes = _classes_of_record(path / "result.json") if finished else _classes_of_checkpoint(path)
    return RunHistory(path, data, recipe, rows, num_classes, finished)


def _read_recipe(path: Path) -> tuple[str, Recipe]:
    try:
        settings = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        data = str(settings.pop("data"))
        settings.pop("code_revision", None)
        return data, Recipe.model_validate(settings)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        raise ProtozooError(f"{path} is not of this version of protozoo: {field} {fault['msg']}") from error
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError, KeyError) as error:
        raise ProtozooError(f"{path} is damaged: train the run again") from error


def _read_rows(path: Path) -> tuple[dict[str, float], ...]:
    if not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return tuple({name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file))
        except (ValueError, TypeError) as error:
            raise ProtozooError(f"{path} is damaged: a cell is not a number ({error})") from error


def _classes_of_record(path: Path) -> int:
    try:
        return len(json.loads(path.read_bytes())["label_names"])
    except (ValueError, KeyError, TypeError) as error:
        raise ProtozooError(f"{path} is damaged: train the run again") from error


def _classes_of_checkpoint(run: Path) -> int | None:
    """Rows of the classifier in the newest checkpoint, from its header; None without a checkpoint."""
    # Runs of before the folder had one file.
    found = [*run.glob("checkpoint.safetensors"), *sorted(run.glob("checkpoints/*.safetensors"))]
    if not found:
        return None
    try:
        with safe_open(found[-1], framework="np") as file:
            return int(file.get_slice(_WEIGHTS).get_shape()[0])
    except (SafetensorError, OSError) as error:
        raise ProtozooError(f"{found[-1]} cannot be read ({error}): run the `protozoo train` of it again") from error


def common_num_classes(runs: Sequence[RunHistory]) -> int | None:
    """K of runs that are drawn together; None where none of them says.

    Raises:
        ProtozooError: they have different numbers of classes.
    """
    known = {run.num_classes: run.path for run in runs if run.num_classes is not None}
    if len(known) > 1:
        (one, first), (other, second) = list(known.items())[:2]
        raise ProtozooError(f"{first} has {one} classes and {second} has {other}: draw them one at a time")
    return next(iter(known), None)


def grouped(runs: Sequence[RunHistory]) -> tuple[Group, ...]:
    """Runs that differ in their seeds alone together, in the order of their first; labels tell groups apart."""
    found: dict[tuple[str, Recipe, int], list[RunHistory]] = {}
    twins: Counter[tuple[str, Recipe]] = Counter()
    for run in runs:
        # A second run of the same seed is no further seed: it stands in a group of its own.
        twin = twins[run.data, run.recipe]
        twins[run.data, run.recipe] += 1
        found.setdefault((run.data, run.recipe.model_copy(update={"seed": 0}), twin), []).append(run)
    times = Counter(recipe.objective for _, recipe, _ in found)
    above = os.path.commonpath([run.path.resolve().parent for run in runs])
    groups = []
    for (_, recipe, _), members in found.items():
        label = _NAMES[recipe.objective]
        if times[recipe.objective] > 1:
            label += f", {shortened(members[0].path.resolve().relative_to(above).as_posix())}"
        groups.append(Group(label, tuple(members)))
    return tuple(groups)


def names(runs: Sequence[RunHistory]) -> dict[Path, str]:
    """What each run is called: its group's label, with the seed where the group has several."""
    return {
        run.path: group.label + (f", seed {run.recipe.seed}" if len(group.runs) > 1 else "")
        for group in grouped(runs)
        for run in group.runs
    }


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name for a picture, of at most ``longest`` characters; both ends stay, which tell names apart."""
    if len(name) > longest:
        end = (longest - 1) // 2
        name = f"{name[: longest - 1 - end]}…{name[-end:]}"
    # Between two of them Matplotlib would read a formula.
    return name.replace("$", r"\$")
