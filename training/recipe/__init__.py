"""Recipes: everything about a training that matters, as data. One schema, YAML files, typed overrides."""

from training.recipe.effects import check_effects
from training.recipe.files import load_recipe, recipe_names
from training.recipe.parsing import parse_option
from training.recipe.printing import printed
from training.recipe.schema import Recipe, RecipeError

__all__ = ["Recipe", "RecipeError", "check_effects", "load_recipe", "parse_option", "printed", "recipe_names"]
