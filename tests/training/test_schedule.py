from __future__ import annotations

import logging
import math
from collections.abc import Callable

import pytest
import torch

from training.recipe import Recipe
from training.schedule import learning_rates

STEPS = 5


def rates(recipe: Recipe) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    set_learning_rate = learning_rates(recipe, optimizer, STEPS)
    return [set_learning_rate(step) for step in range(recipe.epochs * STEPS)]


def test_step_schedule_falls_at_the_first_step_after_each_milestone(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(schedule="step", milestones=(2, 4), step_decay=0.1, warmup_epochs=0, epochs=6, lr=1.0)
    expected = [1.0] * 2 * STEPS + [0.1] * 2 * STEPS + [0.01] * 2 * STEPS
    assert rates(recipe) == pytest.approx(expected)


def test_milestones_count_from_the_beginning_and_not_from_the_end_of_the_warm_up(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(schedule="step", milestones=(3,), warmup_epochs=1, warmup_lr=0.1, epochs=4, lr=1.0)
    measured = rates(recipe)
    assert measured[: STEPS - 1] == pytest.approx([0.1 + 0.9 * (step + 1) / STEPS for step in range(STEPS - 1)])
    assert measured[STEPS : 3 * STEPS] == pytest.approx([1.0] * 2 * STEPS)
    assert measured[3 * STEPS :] == pytest.approx([0.1] * STEPS)


def test_cosine_schedule_rises_over_the_warm_up_and_falls_to_its_floor(tiny: Callable[..., Recipe]) -> None:
    recipe = tiny(warmup_epochs=2, epochs=6, lr=1.0, min_lr=0.01)
    warmup, rest = 2 * STEPS, 4 * STEPS

    def expected(index: int) -> float:
        if index < warmup:
            return index / warmup
        return 0.01 + 0.99 * (1 + math.cos(math.pi * (index - warmup) / rest)) / 2

    assert rates(recipe) == pytest.approx([expected(step + 1) for step in range(6 * STEPS)])


def test_a_training_that_is_all_warm_up_rises_to_the_peak_and_nobody_is_warned(
    tiny: Callable[..., Recipe], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        measured = rates(tiny(warmup_epochs=2, epochs=1, lr=1.0))
    assert measured == pytest.approx([(step + 1) / STEPS for step in range(STEPS)])
    assert caplog.text == ""
