"""A complete recipe as a file that people can read, keep and train from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from training.recipe.files import load_with_origins
from training.recipe.parsing import RecipeDumper
from training.recipe.schema import Recipe


def printed(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> str:
    """YAML of every field of a recipe, each with what it means and who set it.

    Returns:
        Lines such as ``lr: 0.2  # peak learning rate (_small.yaml)``; as a file they load as the same recipe.

    Raises:
        RecipeError: as :func:`training.recipe.load_recipe`.
    """
    recipe, origins = load_with_origins(name_or_path, overrides)
    values = recipe.model_dump(mode="json")
    lines = []
    for name, field in Recipe.model_fields.items():
        # In a list of one, so that PyYAML writes neither line breaks nor its end of a document.
        value = yaml.dump([values[name]], Dumper=RecipeDumper, default_flow_style=True, width=float("inf"))
        origin = f" ({origins[name]})" if name in origins else ""
        lines.append(f"{name}: {value.strip()[1:-1]}  # {field.description}{origin}\n")
    return "".join(lines)
