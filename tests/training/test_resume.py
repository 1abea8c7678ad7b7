from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import Tensor

import training.build
import training.loop
from tests.training.runs import FILES, Start, assert_same_weights, rows_of, without_speed
from training.recipe import Recipe
from zoo.errors import ProtozooError

StartAndStop = Callable[..., None]


@pytest.fixture
def start_and_stop(start: Start, monkeypatch: pytest.MonkeyPatch) -> StartAndStop:
    """start_and_stop(recipe, out, after=n): interrupted as soon as its n-th checkpoint is written."""

    def run(recipe: Recipe, out: Path, *, after: int) -> None:
        save, saved = training.loop.save_checkpoint, []

        def save_and_stop(*arguments: Any) -> None:
            save(*arguments)
            saved.append(1)
            if len(saved) == after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(training.loop, "save_checkpoint", save_and_stop)
            with pytest.raises(KeyboardInterrupt):
                start(recipe, out)

    return run


@pytest.mark.parametrize("epochs", [1, 2])
def test_stopped_after_an_epoch_and_resumed_is_bit_for_bit_undisturbed(
    start: Start,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    undisturbed: Path,
    start_and_stop: StartAndStop,
    epochs: int,
) -> None:
    start_and_stop(tiny(), tmp_path / "run", after=epochs)
    assert not (tmp_path / "run" / "result.json").exists()
    said = start(tiny(), tmp_path / "run")
    assert f"resuming after epoch {epochs} of 3" in said
    assert_same_weights(tmp_path / "run", undisturbed)
    assert without_speed(rows_of(tmp_path / "run")) == without_speed(rows_of(undisturbed))


def test_stopped_within_an_epoch_and_resumed_is_bit_for_bit_undisturbed(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at_step(monkeypatch, 5)  # of three steps an epoch: the second of epoch 2
    with pytest.raises(KeyboardInterrupt):
        start(tiny(), tmp_path / "run")
    monkeypatch.undo()
    assert "resuming after epoch 1 of 3" in start(tiny(), tmp_path / "run")
    assert_same_weights(tmp_path / "run", undisturbed)


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.9), ("momentum", 0.0), ("adamw", 0.9)])
def test_state_of_other_optimizers_is_resumed_bit_for_bit(
    start: Start,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    start_and_stop: StartAndStop,
    optimizer: str,
    momentum: float,
) -> None:
    recipe = tiny(optimizer=optimizer, momentum=momentum, epochs=2)
    start(recipe, tmp_path / "undisturbed")
    start_and_stop(recipe, tmp_path / "run", after=1)
    start(recipe, tmp_path / "run")
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def test_stopped_after_the_last_checkpoint_still_ends_complete(
    start: Start,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    undisturbed: Path,
    start_and_stop: StartAndStop,
) -> None:
    start_and_stop(tiny(), tmp_path / "run", after=3)  # before the history of epoch 3 is written
    start(tiny(), tmp_path / "run")
    assert_same_weights(tmp_path / "run", undisturbed)
    assert len(rows_of(tmp_path / "run")) == 3


def test_killed_process_resumes_bit_for_bit(
    start: Start, colours: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tiny(epochs=12).model_dump(mode="json")))

    words = ["train", str(tmp_path / "mine.yaml"), "--data", str(colours), "--out", str(tmp_path / "killed")]
    command = [sys.executable, "-m", "zoo", *words]
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "result.json").exists()
    resumed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "resuming after epoch" in resumed.stdout
    start(tiny(epochs=12), tmp_path / "undisturbed")
    assert_same_weights(tmp_path / "killed", tmp_path / "undisturbed")
    assert without_speed(rows_of(tmp_path / "killed")) == without_speed(rows_of(tmp_path / "undisturbed"))


def test_kill_during_the_very_first_write_does_not_bar_the_folder(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    (tmp_path / ".recipe.yaml.k1ll3d").write_text("objective: no")
    start(tiny(epochs=1), tmp_path)
    assert (tmp_path / "result.json").exists()


def interrupt_at_step(monkeypatch: pytest.MonkeyPatch, step: int, *, value: float | None = None) -> None:
    """Let the objective be NaN, or raise KeyboardInterrupt, at that step."""
    objective, steps = training.build.OBJECTIVES["nonl"], []

    def disturbed(logits: Tensor, labels: Tensor) -> Tensor:
        steps.append(1)
        if len(steps) < step:
            return objective(logits, labels)
        if value is None:
            raise KeyboardInterrupt
        return logits.sum() * value

    monkeypatch.setitem(training.build.OBJECTIVES, "nonl", disturbed)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_no_number_ends_in_one_clear_error_and_keeps_the_checkpoint(
    start: Start,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
) -> None:
    interrupt_at_step(monkeypatch, 4, value=value)
    with pytest.raises(ProtozooError, match=r"the loss became -?(nan|inf) in epoch 2: lower --lr") as caught:
        start(tiny(), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES - {"model.safetensors", "result.json"}
    monkeypatch.undo()
    assert "resuming after epoch 1 of 3" in start(tiny(), tmp_path / "run")
    assert_same_weights(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "another model"])
def test_damaged_checkpoint_is_named(
    start: Start,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    start_and_stop: StartAndStop,
    undisturbed: Path,
    damage: str,
) -> None:
    start_and_stop(tiny(), tmp_path, after=1)
    path = tmp_path / "checkpoint.safetensors"
    content = path.read_bytes()
    contents = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "garbage": b"garbage" * 100,
        "another model": (undisturbed / "model.safetensors").read_bytes(),
    }
    path.write_bytes(contents[damage])
    with pytest.raises(ProtozooError, match=r"cannot be resumed from .*: remove its folder to start again") as caught:
        start(tiny(), tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
