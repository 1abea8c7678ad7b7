from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.runs import Start
from training.denormals import are_zero, denormals_as_zero
from training.optimizer import optimizer_step
from training.recipe import Recipe

pytestmark = pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such mode")


def test_they_are_zero_within_and_what_they_were_after_it() -> None:
    momentum = torch.full((2, 2), 1.5e-38)
    with denormals_as_zero():
        assert are_zero()
        assert not (momentum * 0.5).any()
        assert momentum.any()
        with denormals_as_zero():
            assert are_zero()
        assert are_zero(), "left as it was found"
    assert not are_zero()
    assert (momentum * 0.5).all()


def test_they_are_themselves_again_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="of memory"), denormals_as_zero():
        raise RuntimeError("out of memory")
    assert not are_zero()


def test_training_steps_take_them_for_zero_and_what_comes_after_does_not(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def step(*arguments: Any) -> None:
        found.append(are_zero())
        optimizer_step(*arguments)

    monkeypatch.setattr("training.loop.optimizer_step", step)
    start(tiny(epochs=1), tmp_path / "run")
    assert found
    assert all(found)
    assert not are_zero()
