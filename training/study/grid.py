"""What a study is made of, as a YAML file has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.probes.protocols import PROTOCOLS, SCALING
from training.recipe import Recipe, RecipeError, load_recipe
from training.recipe.parsing import RecipeLoader
from training.robustness.corruptions import CORRUPTIONS
from training.study.inequality import cells_of, parse_test, prototypes_of
from training.study.prototypes import largest_cosine
from zoo.errors import ProtozooError

_GRIDS = Path(str(files("training").joinpath("study", "grids")))


def _identifier(word: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", word):
        raise ValueError(f"{word!r} must be small letters, digits and underscores, for claims name it")
    return word


def _corruption(word: str) -> str:
    if word not in CORRUPTIONS:
        raise ValueError(f"there is no corruption {word!r}; there are {', '.join(CORRUPTIONS)}")
    return word


Name = Annotated[str, AfterValidator(_identifier)]
Corruption = Annotated[str, AfterValidator(_corruption)]
Severity = Annotated[int, Field(ge=1, le=5)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProbeEvaluation(_Strict):
    """A classifier on the frozen encoder, of the cell's data or, for transfer, of other data."""

    kind: Literal["probe"]
    probe: Literal["prototypes", "linear", "normalized", "cached"]
    data: Name | None = Field(default=None, description="name of the data; none: the cell's own")
    options: dict[str, Any] = Field(default_factory=dict, description="as the options of `protozoo probe`")

    @model_validator(mode="after")
    def _known_options(self) -> ProbeEvaluation:
        known = {"features", "shots"} if self.probe == "prototypes" else {"protocol", *Recipe.model_fields}
        unknown = sorted(set(self.options) - known)
        if unknown:
            raise ValueError(f"the probe {self.probe} has no option {unknown[0]}")
        if self.options.get("features", "encoder") not in ("projection", "encoder", "whitened"):
            raise ValueError("features must be projection, encoder or whitened")
        if self.options.get("protocol", "cifar") not in PROTOCOLS:
            raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}")
        return self


class CorruptionEvaluation(_Strict):
    """Errors on corrupted test images of the cell's data."""

    kind: Literal["corruptions"]
    images: int | None = Field(default=None, ge=1, description="of the test images; none: all")
    corruptions: tuple[Corruption, ...] | None = Field(default=None, min_length=1, description="none: all fifteen")
    severities: tuple[Severity, ...] | None = Field(default=None, min_length=1, description="none: all five")
    baseline: str | None = Field(default=None, description="cell of the same data, after its dot, for mCE")


class ReadoutEvaluation(_Strict):
    """NTCE or NONL read out by Bayes' rule, as in :mod:`training.readout`."""

    kind: Literal["readout"]
    prior: Literal["training", "uniform"] = Field(description="class frequencies to expect")


class ConvergenceEvaluation(_Strict):
    """How soon collapse was reached, from what the training has logged."""

    kind: Literal["convergence"]
    baseline: str = Field(description="cell of the same data, after its dot")
    images: Literal["train", "test"] | None = None
    smoothing: float = Field(default=0.0, ge=0, lt=1)


Evaluation = Annotated[
    ProbeEvaluation | CorruptionEvaluation | ReadoutEvaluation | ConvergenceEvaluation,
    Field(discriminator="kind"),
]


class Block(_Strict):
    """Every recipe, in every variant, with every seed."""

    data: Name = Field(description="name of the data; `--data NAME=FOLDER` says where they are")
    recipes: dict[Name, str] = Field(min_length=1, description="name in cells -> recipe")
    variants: dict[Name, dict[str, Any]] = Field(default_factory=dict, description="name in cells -> fields")
    fields: dict[str, Any] = Field(default_factory=dict, description="of all recipes of the block")
    seeds: tuple[int, ...] = Field(min_length=1)
    evaluations: tuple[Name, ...] = ()


class Table(_Strict):
    """A table of the report: a row for each cell that has one of the metrics."""

    title: str
    columns: dict[str, str] = Field(description="metric -> heading")
    decimals: int | None = Field(default=None, ge=0, description="none: by the size of each number")


class Claim(_Strict):
    """What a paper says, and what of ours would show it."""

    claim: str
    source: str
    theirs: str
    test: str | None = Field(default=None, description="an inequality, see training.study.inequality")
    not_tested: str | None = Field(default=None, description="why there is no test")


class Grid(_Strict):
    """A study. A file with ``base``, the name of another grid, has from there all that it does not say itself."""

    name: str
    about: str = Field(default="", description="what a reader of the report must know first, Markdown")
    blocks: tuple[Block, ...] = Field(min_length=1)
    fields: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="data, or data.recipe -> fields of all their trainings, over those of the blocks; the second wins",
    )
    epochs_factor: float = Field(default=1, gt=0, description="over the epochs that blocks and recipes have")
    evaluations: dict[Name, Evaluation] = Field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Cell:
    """Trainings that differ in their seeds alone.

    Attributes:
        name: ``<data>.<recipe>`` or ``<data>.<recipe>.<variant>``.
        data: name of the data.
        recipe: name of the recipe.
        fields: over it, but for the seed.
        seeds: one training each.
        evaluations: of each of them, by name.
    """

    name: str
    data: str
    recipe: str
    fields: Mapping[str, Any]
    seeds: tuple[int, ...]
    evaluations: Mapping[str, Evaluation]

    def load(self, seed: int) -> Recipe:
        """The recipe of one training."""
        return load_recipe(self.recipe, {**self.fields, "seed": seed})

    def asked(self, evaluation: str) -> dict[str, Any]:
        """How an evaluation measures, for JSON: numbers of others are not its own."""
        measures = self.evaluations[evaluation]
        # The baseline is what it is compared with afterwards, and no part of the measurement.
        asked = measures.model_dump(mode="json", exclude={"baseline"})
        if isinstance(measures, ProbeEvaluation) and measures.probe in ("linear", "cached"):
            asked["scaling"] = SCALING  # those of before were trained on features as they are, and diverged on many
        return asked

    @property
    def baselines(self) -> dict[str, str]:
        """Evaluation -> the cell that it is compared with, after its dot, of those that are."""
        found = {name: getattr(evaluation, "baseline", None) for name, evaluation in self.evaluations.items()}
        return {name: cell for name, cell in found.items() if cell is not None}


def load_grid(name_or_path: str) -> tuple[Grid, tuple[Cell, ...]]:
    """Read a grid, a file or the name of one inside the package, and check all that can be checked before the work.

    Raises:
        ProtozooError: no such grid, a field that does not fit, a recipe that does not exist, or a name that nothing
            has; the fault is named.
    """
    path = _file(name_or_path)
    try:
        settings = _read(path)
        grid = Grid.model_validate(_inherited(path, settings))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ProtozooError(f"{path.name}: {_fault(error)}") from error
    cells = tuple(cell for block in grid.blocks for cell in _cells(block, grid))
    # What a base has more is no mistake of this file.
    _check(grid, cells, written=settings.get("fields") or ())
    return grid, shortened(cells, epochs_factor=grid.epochs_factor)


def _file(name_or_path: str) -> Path:
    path, packaged = Path(name_or_path), _GRIDS / f"{name_or_path}.yaml"
    if not path.is_file() and not packaged.is_file():
        names = ", ".join(sorted(file.stem for file in _GRIDS.glob("*.yaml")))
        raise ProtozooError(f"there is no grid {name_or_path!r}: give a YAML file or one of {names}")
    return path if path.is_file() else packaged


def _inherited(path: Path, settings: Mapping[str, Any], seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What a grid says, and what its base says beside it, and that one's."""
    own = {name: value for name, value in settings.items() if name != "base"}
    if settings.get("base") is None:
        return own
    seen, base = (*seen, path), _file(str(settings["base"]))
    if base in seen:
        raise ProtozooError(f"{base.name} is its own base: give one that stands by itself")
    return _inherited(base, _read(base), seen) | own


def _read(path: Path) -> dict[str, Any]:
    settings = yaml.load(path.read_text(encoding="utf-8"), RecipeLoader)
    if not isinstance(settings, dict):
        raise ValueError("a grid is a mapping of names to values")
    return settings


def shortened(cells: Sequence[Cell], *, epochs_factor: float = 1.0, seeds: int | None = None) -> tuple[Cell, ...]:
    """The same cells for less time.

    Args:
        cells: of a grid.
        epochs_factor: over the grid's epochs, those of warm-up and milestones; a training has one epoch at least.
        seeds: how many of a cell's, the first ones; None: all.
    """
    return tuple(
        replace(cell, fields={**cell.fields, **_shorter(cell, epochs_factor)}, seeds=cell.seeds[:seeds])
        for cell in cells
    )


def _shorter(cell: Cell, factor: float) -> dict[str, Any]:
    if factor == 1:
        return {}
    recipe = cell.load(cell.seeds[0])
    fields: dict[str, Any] = {"epochs": max(1, round(recipe.epochs * factor))}
    fields["warmup_epochs"] = recipe.warmup_epochs * factor
    if recipe.milestones:
        fields["milestones"] = tuple(epoch * factor for epoch in recipe.milestones)
    return fields


def data_names(cells: Sequence[Cell]) -> set[str]:
    """Names of all data that cells are trained or evaluated on."""
    own = {cell.data for cell in cells}
    others = {getattr(one, "data", None) for cell in cells for one in cell.evaluations.values()}
    return own | {name for name in others if name is not None}


def _fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return " ".join(str(error).split())


def _cells(block: Block, grid: Grid) -> Sequence[Cell]:
    unknown = [name for name in block.evaluations if name not in grid.evaluations]
    if unknown:
        raise ProtozooError(f"there is no evaluation {unknown[0]!r}; the grid has {', '.join(grid.evaluations)}")
    evaluations = {name: grid.evaluations[name] for name in block.evaluations}
    variants: dict[str, dict[str, Any]] = {f".{name}": fields for name, fields in block.variants.items()} or {"": {}}
    return [
        Cell(
            f"{block.data}.{short}{suffix}",
            block.data,
            recipe,
            {
                **block.fields,
                **grid.fields.get(block.data, {}),
                **grid.fields.get(f"{block.data}.{short}", {}),
                **fields,
            },
            block.seeds,
            evaluations,
        )
        for short, recipe in block.recipes.items()
        for suffix, fields in variants.items()
    ]


def _check_convergence(cell: Cell, cells: Sequence[Cell]) -> None:
    """Images that are asked for must be logged; else each run alone chooses, and a baseline's must be the same."""
    for name, evaluation in cell.evaluations.items():
        if isinstance(evaluation, ConvergenceEvaluation):
            baseline = next(one for one in cells if one.name == f"{cell.data}.{evaluation.baseline}")
            logged = [one.load(one.seeds[0]).collapse_images for one in (cell, baseline)]
            if evaluation.images == "train" and logged[0] != "both":
                raise ProtozooError(
                    f"{cell.name}: {name} is of the training images, whose collapse is logged with "
                    "collapse_images: both alone: give it to the block"
                )
            if evaluation.images is None and logged[0] != logged[1]:
                raise ProtozooError(
                    f"{cell.name}: {name} is against {baseline.name}, which has collapse_images {logged[1]} and not "
                    f"{logged[0]}: give the evaluation images, train or test"
                )


def _check(grid: Grid, cells: Sequence[Cell], *, written: Iterable[str]) -> None:
    evaluated = {cell.name: cell.evaluations for cell in cells}
    names = set(evaluated)
    trained = {".".join(cell.name.split(".")[:count]) for cell in cells for count in (1, 2)}
    strangers = sorted(set(written) - trained)
    if strangers:
        raise ProtozooError(f"{grid.name} has fields for {strangers[0]}, which is no data, nor data.recipe, of a block")
    if len(names) < len(cells) or any(len(set(cell.seeds)) < len(cell.seeds) for cell in cells):
        raise ProtozooError(f"{grid.name}: a cell or a seed of it stands there twice")
    for cell in cells:
        try:
            cell.load(cell.seeds[0])
        except RecipeError as error:
            raise ProtozooError(f"{cell.name}: {error}") from error
        for name, evaluation in cell.evaluations.items():
            baseline = getattr(evaluation, "baseline", None)
            if baseline is not None and name not in evaluated.get(f"{cell.data}.{baseline}", ()):
                raise ProtozooError(
                    f"{cell.name}: {name} is against {cell.data}.{baseline}, and no cell of that name has it too"
                )
            if isinstance(evaluation, ReadoutEvaluation) and cell.load(cell.seeds[0]).objective not in ("ntce", "nonl"):
                raise ProtozooError(f"{cell.name}: {name} is a readout, which NTCE and NONL alone have")
        _check_convergence(cell, cells)
    for claim in grid.claims:
        if (claim.test is None) == (claim.not_tested is None):
            raise ProtozooError(f"{claim.claim!r}: give either test or not_tested")
        test = None if claim.test is None else parse_test(claim.test)
        for name in cells_of(test) if test else ():
            if name not in names:
                raise ProtozooError(f"{claim.claim!r} names {name}, which is no cell of the grid")
        for prototypes in prototypes_of(test) if test else ():
            largest_cosine(*prototypes)
