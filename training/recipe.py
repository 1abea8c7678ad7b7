"""Recipes: everything about a training that matters, as data. One schema, YAML files, typed overrides."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from zoo.errors import ProtozooError


class RecipeError(ProtozooError):
    """A recipe that does not exist, or a field of one that does not fit."""


class Recipe(BaseModel):
    """What to train and how. The fields are the options of ``protozoo train``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    objective: Literal["ce", "normface", "ntce", "nonl"] = Field(description="training objective")
    architecture: str = Field(description="architecture of the zoo")
    head: Literal["linear", "batchnorm", "mlp", "relu"] = Field(
        default="linear", description="what stands between pooling and the sphere"
    )
    embed_dim: int | None = Field(default=None, ge=1, description="width of the embedding; none: the architecture's")
    temperature: float = Field(default=0.2, gt=0, description="logits are cosines divided by it")
    readout: Literal["cosine", "bayes"] = Field(
        default="cosine", description="nearest prototype, or NTCE's and NONL's most probable class"
    )
    readout_prior: Literal["training", "uniform"] = Field(
        default="training", description="class frequencies to expect, for readout = bayes"
    )
    imbalance: float = Field(
        default=1.0, gt=0, le=1, description="smallest over largest class of a long-tailed training set; 1: all images"
    )
    input_size: int = Field(default=32, ge=8, description="side of the square input in pixels")
    mean: tuple[float, float, float] = Field(default=(0.5, 0.5, 0.5), description="per-channel mean, pixels in [0, 1]")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        default=(0.25, 0.25, 0.25), description="per-channel standard deviation"
    )
    augmentation: Literal["none", "crop", "crop_flip"] = Field(
        default="crop_flip", description="random crop after padding, and horizontal flip"
    )
    crop_padding: int = Field(default=4, ge=0, description="pixels of zero padding before the random crop")
    epochs: int = Field(ge=1, description="passes over the training set")
    batch_size: int = Field(default=256, ge=2, description="images a step")
    micro_batch_size: int | None = Field(
        default=None, ge=1, description="images at a time, of a batch larger than the memory; none: all of a step"
    )
    optimizer: str = Field(default="sgd", description="name of a timm optimiser")
    lr: float = Field(gt=0, description="peak learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of the optimiser")
    weight_decay: float = Field(default=5e-4, ge=0, description="of weights; not of biases, norms and prototypes")
    warmup_epochs: float = Field(default=0, ge=0, description="linear warm-up from 0 before the cosine schedule")
    min_lr: float = Field(default=1e-3, ge=0, le=1, description="final learning rate as a share of the peak")
    precision: Literal["bf16", "fp32"] = Field(default="bf16", description="autocast of the forward pass")
    compile: bool = Field(default=False, description="torch.compile; on a CPU it needs a C++ compiler")
    evaluate_every: int = Field(default=1, ge=1, description="epochs between accuracies on the test set")
    seed: int = Field(default=0, ge=0, description="of initialisation, order and augmentation")

    @model_validator(mode="after")
    def _has_column_denominators(self) -> Recipe:
        if self.readout == "bayes" and self.objective not in ("ntce", "nonl"):
            raise ValueError(f"{self.objective} compares classes as it is; readout = bayes is for ntce and nonl")
        return self

    data_name: str | None = Field(default=None, description="name of the data for the model card")
    data_license: str | None = Field(default=None, description="licence of the data for the model card")


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes inside the package; those that others build on begin with an underscore."""
    found = (Path(entry.name) for entry in files("training").joinpath("recipes").iterdir())
    return tuple(sorted(path.stem for path in found if path.suffix == ".yaml" and not path.stem.startswith("_")))


def _read(path: Path, inheriting: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The fields of a recipe file over those of the file that its ``base`` names, beside it or in the package."""
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(fields, dict):
        raise RecipeError(f"{path} must be a YAML mapping of fields to values")
    base = fields.pop("base", None)
    if base is None:
        return fields
    beside = path.parent / f"{base}.yaml"
    # A file may have the name of the packaged recipe that it builds on.
    source = beside if beside.is_file() and not beside.samefile(path) else _packaged(str(base))
    if source in inheriting:
        raise RecipeError(f"{path}: the base {base!r} builds on this recipe itself")
    return {**_read(source, (*inheriting, path)), **fields}


def _packaged(name: str) -> Path:
    path = Path(str(files("training").joinpath("recipes", f"{name}.yaml")))
    if not path.is_file():
        near = difflib.get_close_matches(name, recipe_names(), n=3, cutoff=0.4) or recipe_names()
        raise RecipeError(f"there is no recipe {name!r} and no such file; did you mean {', '.join(near)}?")
    return path


def load_recipe(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by name or file and lay typed overrides over it.

    Raises:
        RecipeError: no such recipe, an unknown field, or a value of the wrong type; the field is named.
    """
    path = Path(name_or_path)
    fields = {**_read(path if path.is_file() else _packaged(name_or_path)), **(overrides or {})}
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise RecipeError(f"{name_or_path}: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    if not fault["loc"]:
        return fault["msg"]
    field = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(field, Recipe.model_fields, n=1)
        return f"there is no field {field!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if fault["type"] == "missing":
        return f"the field {field!r} is missing"
    return f"{field} = {fault['input']!r}: {fault['msg']}"
