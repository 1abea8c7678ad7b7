from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from training import losses
from training.build import build_model
from training.objectives import DynamicAssignment, build_objective
from training.recipe import Recipe, RecipeError

COUNTS = torch.tensor([4.0, 2.0, 2.0])
STEPS = 4  # an epoch
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])


def built(tiny: Callable[..., Recipe], **fields: Any) -> tuple[Recipe, Any, Any, torch.Tensor]:
    recipe = tiny(**fields)
    model = build_model(recipe, torch.ones(3))
    embeddings = F.normalize(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    return recipe, model, build_objective(recipe, model, COUNTS, STEPS, None), embeddings


@pytest.mark.parametrize("name", ["ce", "normface", "ntce", "nonl"])
def test_objectives_of_logits_are_the_functions_of_their_name(tiny: Callable[..., Recipe], name: str) -> None:
    _, _, objective, _ = built(tiny, objective=name)
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    function = {"ce": losses.cross_entropy}.get(name) or getattr(losses, name)
    assert objective.output == "logits"
    torch.testing.assert_close(objective(logits, LABELS), function(logits, LABELS))


def test_regression_is_of_cosines_and_not_of_logits(tiny: Callable[..., Recipe]) -> None:
    recipe, model, objective, embeddings = built(tiny, objective="etf_dr", temperature=0.3)
    cosines = embeddings @ model.prototypes.T
    expected = (0.5 * (1 - cosines.gather(1, LABELS[:, None])) ** 2).mean()
    torch.testing.assert_close(objective(cosines / recipe.temperature, LABELS), expected)


def test_fixed_prototypes_are_a_simplex_and_no_parameter(tiny: Callable[..., Recipe]) -> None:
    _, model, _, _ = built(tiny, objective="etf_dr")
    cosines = model.prototypes @ model.prototypes.T
    torch.testing.assert_close(cosines, torch.full((3, 3), -0.5).fill_diagonal_(1), rtol=0, atol=1e-6)
    assert not any(parameter.shape == (3, 8) for parameter in model.parameters())


def test_frequent_cosine_sets_the_rarer_half_of_the_classes_farther_apart(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(objective="etf_dr", frequent_cosine=0.1)
    model = build_model(recipe, torch.tensor([5.0, 90.0, 5.0, 80.0, 6.0]))
    cosines = model.prototypes @ model.prototypes.T
    frequent, rare = torch.tensor([1, 3, 4]), torch.tensor([0, 2])
    for one, other in ((1, 3), (1, 4), (3, 4)):
        assert cosines[one, other].item() == pytest.approx(0.1, abs=1e-6)
    of_rare = torch.cat([cosines[rare][:, frequent].flatten(), cosines[0, 2][None]])
    assert of_rare.max() - of_rare.min() < 1e-6
    assert of_rare.max() < -1 / 4, "farther than in the simplex of five"


@pytest.mark.parametrize("fields", [{"objective": "nonl"}, {"objective": "scl"}, {"objective": "dynamic"}])
def test_frequent_cosine_needs_prototypes_that_are_fixed(tiny: Callable[..., Recipe], fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="add prototypes = fixed, or leave it out"):
        tiny(**fields, frequent_cosine=0.0)


def test_frequent_cosine_is_refused_where_no_class_is_rarer(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(objective="nonl", prototypes="fixed", frequent_cosine=0.0)
    with pytest.raises(RecipeError, match="differ in size"):
        build_model(recipe, torch.full((3,), 7.0))


def test_contrast_with_prototypes_uses_copies_and_temperature_of_the_recipe(tiny: Callable[..., Recipe]) -> None:
    _, model, objective, embeddings = built(tiny, objective="scl_prototypes", copies=7.0, temperature=0.3)
    assert objective.output == "embeddings"
    expected = losses.scl_with_prototypes(embeddings, LABELS, model.prototypes, temperature=0.3, copies=7.0)
    torch.testing.assert_close(objective(embeddings, LABELS), expected)


def test_running_denominators_know_the_class_frequencies_and_travel_in_the_state(tiny: Callable[..., Recipe]) -> None:
    _, _, objective, _ = built(tiny, denominators="running")
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        objective(logits, LABELS), losses.RunningDenominators(COUNTS, objective="nonl")(logits, LABELS)
    )
    assert any(name.endswith("log_means") for name in objective.state_dict())


def test_dynamic_assignment_moves_labels_to_the_prototypes_that_fit_and_tells_the_model(
    tiny: Callable[..., Recipe],
) -> None:
    _, model, objective, _ = built(tiny, objective="dynamic", assign_every=2, representative_momentum=0.0)
    assert isinstance(objective, DynamicAssignment)
    before = model.prototypes.clone()
    turned = before[[1, 2, 0]]  # class c stands where the prototype of class c + 1 is
    loss = objective(turned, torch.arange(3))
    torch.testing.assert_close(loss, torch.tensor(0.5 * 1.5**2))
    for step in range(1, 8):
        objective.end_step(model, step)
    assert objective.end_epoch() == {"reassigned": 0}
    assert torch.equal(model.prototypes, before)
    objective.end_step(model, 8)
    assert objective.end_epoch() == {"reassigned": 3}
    assert objective.end_epoch() == {"reassigned": 0}
    torch.testing.assert_close(model.prototypes, turned)
    torch.testing.assert_close(objective(turned, torch.arange(3)), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 4), (0.5, 2), (0.1, 1), (2.5, 10)])
def test_labels_are_assigned_every_so_many_epochs_or_parts_of_one(
    tiny: Callable[..., Recipe], epochs: float, steps: int
) -> None:
    _, model, objective, _ = built(tiny, objective="dynamic", assign_every=epochs, representative_momentum=0.0)
    changed = []
    for step in range(1, 21):
        # Each class stands where the next one's prototype is, whenever it was assigned.
        objective(model.prototypes[[1, 2, 0]], torch.arange(3))
        objective.end_step(model, step)
        changed.append(objective.end_epoch()["reassigned"])
    assert [step for step, count in enumerate(changed, 1) if count] == list(range(steps, 21, steps))


def test_representatives_move_at_every_step_and_not_only_where_labels_are_assigned(tiny: Callable[..., Recipe]) -> None:
    _, model, objective, _ = built(tiny, objective="dynamic", assign_every=2, representative_momentum=0.9)
    expected = torch.zeros(3, 8)
    for step in range(1, 8):
        rows = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(step)), dim=1)
        objective(rows, torch.arange(3))
        objective.end_step(model, step)
        expected = F.normalize(rows if step == 1 else 0.9 * expected + 0.1 * rows, dim=1)
    torch.testing.assert_close(objective.representatives.representatives, expected)


def test_dynamic_assignment_works_with_fewer_dimensions_than_classes(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(objective="dynamic", embed_dim=3)
    model = build_model(recipe, torch.ones(12))
    objective = build_objective(recipe, model, torch.ones(12), STEPS, None)
    labels = torch.arange(12)
    objective(model.prototypes.flip(0), labels)
    objective.end_step(model, STEPS)
    assert objective.end_epoch()["reassigned"] == 12


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "normface", "denominators": "running"}, "has no column denominators"),
        ({"denominators": "running", "micro_batch_size": 4}, "takes its batches whole"),
        ({"objective": "scl", "micro_batch_size": 4}, "contrasts all images of a batch"),
        ({"objective": "scl", "augmentation": "none"}, "two views of an image"),
        ({"objective": "etf_dr", "prototypes": "learned"}, "which takes fixed"),
        ({"schedule": "step"}, "needs milestones"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(
    tiny: Callable[..., Recipe], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**fields)


def test_running_denominators_are_refused_on_several_ranks(
    tiny: Callable[..., Recipe], single_process_group: None
) -> None:
    recipe = tiny(denominators="running")
    with pytest.raises(RecipeError, match="for one process"):
        build_objective(recipe, build_model(recipe, torch.ones(3)), COUNTS, STEPS, torch.distributed.group.WORLD)
