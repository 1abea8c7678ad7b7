from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from tests.training.runs import FILES, Start, StartAndStop, assert_same_weights, rows_of, without_speed
from training import losses
from training.recipe import Recipe
from training.run import Run
from training.stop import StoppedError
from zoo.errors import ProtozooError
from zoo.files import sha256_of


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
    at_step(monkeypatch, 5, interrupt)  # of three steps an epoch: the second of epoch 2
    with pytest.raises(KeyboardInterrupt):
        start(tiny(), tmp_path / "run")
    monkeypatch.undo()
    assert "resuming after epoch 1 of 3" in start(tiny(), tmp_path / "run")
    assert_same_weights(tmp_path / "run", undisturbed)


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    # LAMB and Adan count their steps beside the hyper-parameters.
    [("sgd", 0.9), ("momentum", 0.0), ("adamw", 0.9), ("lamb", 0.9), ("adan", 0.9)],
)
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


def test_layers_that_draw_random_numbers_are_resumed_bit_for_bit(
    start: Start,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    start_and_stop: StartAndStop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Dropout, whose numbers are of the global generator.
    monkeypatch.setattr("training.build.model_args", lambda recipe: {"embed_dim": 8, "drop_rate": 0.5})
    recipe = tiny(epochs=2)
    start(recipe, tmp_path / "undisturbed")
    torch.rand(7)
    start_and_stop(recipe, tmp_path / "run", after=1)
    torch.rand(11)
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


def test_a_second_process_in_the_same_folder_is_refused_and_touches_nothing(
    start: Start, start_and_stop: StartAndStop, tiny: Callable[..., Recipe], tmp_path: Path, undisturbed: Path
) -> None:
    run = Run(tmp_path / "run")
    start_and_stop(tiny(), run.path, after=1)
    half_written = run.checkpoints.folder / ".000000010-abc.safetensors.1a2b3c4d"
    half_written.write_bytes(b"half")
    with run.alone(), pytest.raises(ProtozooError, match=r"another process trains in .*run: let it end, or choose"):
        start(tiny(), run.path)
    assert half_written.exists()
    start(tiny(), run.path)
    assert not half_written.exists()
    assert_same_weights(run.path, undisturbed)


def test_killed_at_any_moment_ends_bit_for_bit_as_if_never_stopped(
    start: Start, colours: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tiny(epochs=8)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
    run, checkpoints = tmp_path / "killed", tmp_path / "killed" / "checkpoints"
    words = ["train", str(tmp_path / "mine.yaml"), "--data", str(colours), "--out", str(run), "--track", "none"]
    command = [sys.executable, "-m", "zoo", *words, "--checkpoint-steps", "1"]
    moments = {
        "a checkpoint is half written": lambda: bool(list(checkpoints.glob(".*"))),
        "some checkpoints later": lambda: len({path.name for path in checkpoints.glob("[0-9]*")} - seen) == 2,
        "a checkpoint is half written, again": lambda: bool(list(checkpoints.glob(".*"))),
    }
    for moment in moments.values():
        seen = {path.name for path in checkpoints.glob("[0-9]*")}
        kill_when(moment, command)
        assert not (run / "result.json").exists()
    resumed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "resuming after epoch" in resumed.stdout
    assert not list(checkpoints.glob(".*"))
    start(recipe, tmp_path / "undisturbed")
    assert_same_weights(run, tmp_path / "undisturbed")
    assert without_speed(rows_of(run)) == without_speed(rows_of(tmp_path / "undisturbed"))


def kill_when(moment: Callable[[], bool], command: list[str]) -> None:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not moment() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.0005)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "fields",
    [
        {"objective": "dynamic", "embed_dim": 2, "optimizer": "sgd", "assign_every": 0.1},
        {"denominators": "running", "optimizer": "sgd", "batches": "balanced"},
        {"objective": "scl", "augmentation": "contrastive", "optimizer": "sgd"},
    ],
    ids=["dynamic", "running", "scl"],
)
def test_what_an_objective_knows_is_resumed_bit_for_bit_within_an_epoch(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    recipe = tiny(**fields)
    start(recipe, tmp_path / "undisturbed")
    step, steps = torch.optim.SGD.step, []

    def step_five_times(*arguments: Any, **named: Any) -> Any:
        steps.append(1)
        if len(steps) > 5:
            raise KeyboardInterrupt
        return step(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", step_five_times)
        with pytest.raises(KeyboardInterrupt):
            start(recipe, tmp_path / "run", checkpoint_steps=1)
    assert "resuming after epoch 1 of 3 and step 2 of 3" in start(recipe, tmp_path / "run")
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")
    assert without_speed(rows_of(tmp_path / "run")) == without_speed(rows_of(tmp_path / "undisturbed"))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_the_step_with_a_checkpoint(
    start: Start,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
) -> None:
    at_step(monkeypatch, 5, lambda: os.kill(os.getpid(), number))
    with pytest.raises(StoppedError, match=r"stopped, and saved in .*: the same command goes on") as caught:
        start(tiny(), tmp_path / "run")
    assert caught.value.status == status
    monkeypatch.undo()
    assert "resuming after epoch 1 of 3 and step 2 of 3" in start(tiny(), tmp_path / "run")
    assert_same_weights(tmp_path / "run", undisturbed)


def test_the_newest_checkpoints_are_kept_and_a_damaged_one_is_passed_over(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, undisturbed: Path, start_and_stop: StartAndStop
) -> None:
    start_and_stop(tiny(), tmp_path / "run", after=2)
    _, newest = sorted((tmp_path / "run" / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    said = start(tiny(), tmp_path / "run")
    assert f"{newest} is damaged: trying the one before it" in said
    assert "resuming after epoch 1 of 3" in said
    assert_same_weights(tmp_path / "run", undisturbed)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, synced = os.fsync, []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProtozooError, match=r"No space left on device.*the same command goes on from it") as caught:
        start(tiny(), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "run").rglob(".*")] == [".lock"]
    monkeypatch.undo()
    start(tiny(), tmp_path / "run")
    assert_same_weights(tmp_path / "run", undisturbed)


def test_kill_during_the_very_first_write_does_not_bar_the_folder(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    (tmp_path / ".recipe.yaml.k1ll3d").write_text("objective: no")
    start(tiny(epochs=1), tmp_path)
    assert (tmp_path / "result.json").exists()


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, what: Callable[[], object]) -> None:
    """Let something happen in the objective at that step; the loss is multiplied by what it returns, if anything."""
    objective, steps = losses.nonl, []

    def disturbed(logits: Tensor, labels: Tensor, **named: Any) -> Tensor:
        steps.append(1)
        factor = what() if len(steps) == step else None
        loss = objective(logits, labels, **named)
        return loss if factor is None else loss * factor

    monkeypatch.setattr(losses, "nonl", disturbed)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_no_number_ends_in_one_clear_error_and_keeps_the_checkpoint(
    start: Start,
    tiny: Callable[..., Recipe],
    tmp_path: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
) -> None:
    at_step(monkeypatch, 4, lambda: value)
    with pytest.raises(ProtozooError, match=r"the loss became -?(nan|inf) in epoch 2: lower --lr") as caught:
        start(tiny(), tmp_path / "run")
    assert "\n" not in str(caught.value)
    ended = {"model.safetensors", "pictures", "result.json"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES - ended
    monkeypatch.undo()
    assert "resuming after epoch 1 of 3" in start(tiny(), tmp_path / "run")
    assert_same_weights(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("objective", ["nonl", "scl"])  # of learned prototypes, and of class means
def test_embeddings_that_are_no_numbers_after_the_last_step_end_in_one_clear_error(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, objective: str
) -> None:
    recipe = tiny(objective=objective, epochs=1, warmup_epochs=0, batch_size=60, optimizer="sgd", lr=1e38)
    with pytest.raises(ProtozooError, match="diverged, embeddings are not finite: lower --lr") as caught:
        start(recipe, tmp_path / "run")
    assert "\n" not in str(caught.value)


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
    (path,) = (tmp_path / "checkpoints").iterdir()
    content = path.read_bytes()
    contents = {
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "garbage": b"garbage" * 100,
        "another model": (undisturbed / "model.safetensors").read_bytes(),
    }
    path.write_bytes(contents[damage])
    if damage == "another model":  # whole, and of the wrong kind
        path = path.rename(path.with_name(f"{path.stem.split('-')[0]}-{sha256_of(path)[:16]}.safetensors"))
    with pytest.raises(ProtozooError, match=r"cannot be resumed from \(.*\): remove the run's folder") as caught:
        start(tiny(), tmp_path)
    assert str(path.parent) in str(caught.value)
    assert "\n" not in str(caught.value)
