"""Fields that have an effect beside certain others alone: asked for without them, they are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from training.recipe.schema import Recipe, RecipeError

_Holds = Callable[[Recipe], bool]


def _objective(*names: str) -> tuple[str, _Holds]:
    return f"objective = {' or '.join(names)}", lambda recipe: recipe.objective in names


_STEP: tuple[str, _Holds] = ("schedule = step", lambda recipe: recipe.schedule == "step")

# What a field needs, in words, and whether a recipe has it. What depends on the machine or the optimiser is not here.
_NEEDS: Mapping[str, tuple[str, _Holds]] = {
    "copies": _objective("scl_prototypes"),
    "negatives": _objective("ntce", "nonl", "scl", "scl_prototypes"),
    "assign_every": _objective("dynamic"),
    "representative_momentum": _objective("dynamic"),
    "readout_prior": _objective("ntce", "nonl"),
    "initial_prototypes": (
        "learned prototypes",
        lambda recipe: recipe.prototype_kind == "learned" and recipe.objective != "ce",
    ),
    "crop_padding": ("augmentation = crop or crop_flip", lambda recipe: recipe.augmentation in ("crop", "crop_flip")),
    "crop_scale": ("augmentation = resized_crop or contrastive", lambda recipe: recipe.resizes_crops),
    "blur": ("augmentation = contrastive", lambda recipe: recipe.augmentation == "contrastive"),
    "milestones": _STEP,
    "step_decay": _STEP,
    "min_lr": ("schedule = cosine", lambda recipe: recipe.schedule == "cosine"),
    "warmup_lr": ("warmup_epochs", lambda recipe: recipe.warmup_epochs > 0),
}


def check_effects(recipe: Recipe, typed: Iterable[str]) -> None:
    """Refuse what was typed for nothing; a field's default asks for nothing.

    Args:
        recipe: what is to be trained.
        typed: names of the fields that an option of the command line set.

    Raises:
        RecipeError: such a field does nothing in this recipe; it is named, and what it needs.
    """
    for field in typed:
        needed, holds = _NEEDS.get(field, ("", lambda _: True))
        value = getattr(recipe, field)
        if not holds(recipe) and value != Recipe.model_fields[field].default:
            raise RecipeError(f"--{field} = {value!r}: it does nothing without {needed}; add that, or leave it out")
