"""The trainings and evaluations of a study, each done once, by any number of processes."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from training.options import Options
from training.provenance import recorded
from training.run import Run
from training.stop import StoppedError, stop_on_signals
from training.study.grid import Cell, ConvergenceEvaluation, CorruptionEvaluation, ProbeEvaluation, ReadoutEvaluation
from training.study.stopping import stopping_at_once
from zoo.errors import ProtozooError
from zoo.files import sha256_of, write_atomically

_COMPARED = ("_mce", "_as_baseline")
"""Endings of metrics that take a baseline's numbers."""


@dataclass(frozen=True)
class Study:
    """What to do, and where.

    Attributes:
        cells: of the grid.
        data: name -> what ``--data`` of ``protozoo train`` takes; cells of other data are left out.
        out: folder of the study.
        device: of torch, for evaluations.
        earlier: "cells" of the results of a study elsewhere: the seeds that they have are not done again.
    """

    cells: tuple[Cell, ...]
    data: Mapping[str, str]
    out: Path
    device: str = "cpu"
    earlier: Mapping[str, Any] = field(default_factory=dict)

    def all_tasks(self) -> Iterator[Task]:
        """All cells with their first seed, then all with their second, ..."""
        longest = max(len(cell.seeds) for cell in self.cells)
        for index in range(longest):
            for cell in self.cells:
                if index < len(cell.seeds):
                    yield Task(self, cell, cell.seeds[index])

    def tasks(self) -> Iterator[Task]:
        """Those whose data are there."""
        return (task for task in self.all_tasks() if task.cell.data in self.data)


@dataclass(frozen=True)
class Task:
    """One training with its evaluations."""

    study: Study
    cell: Cell
    seed: int

    @property
    def folder(self) -> Path:
        """Of the run, its evaluations and, where it came to nothing, ``failure.txt``."""
        return self.study.out / self.cell.name / f"seed{self.seed}"

    @property
    def run(self) -> Path:
        """Folder of the training."""
        return self.folder / "run"

    @property
    def failure(self) -> Path:
        """What went wrong the last time; where nothing did, no file."""
        return self.folder / "failure.txt"

    def __str__(self) -> str:
        return f"{self.cell.name}, seed {self.seed}"

    @property
    def earlier(self) -> dict[str, float]:
        """Metrics from elsewhere, of the same recipe and fields; empty where this seed was not trained there.

        Those of an evaluation that was asked for otherwise there are left out, and what was compared with another cell.
        """
        cell = self.study.earlier.get(self.cell.name, {})
        fields = json.loads(json.dumps(dict(self.cell.fields)))
        if [cell.get(key) for key in ("data", "recipe", "fields")] != [self.cell.data, self.cell.recipe, fields]:
            return {}
        others = {name for name in self.cell.evaluations if cell["evaluations"].get(name) != self.cell.asked(name)}
        baselines = cell.get("baselines", {})  # results of before December 2026 do not say
        moved = {name for name, baseline in self.cell.baselines.items() if baselines.get(name, baseline) != baseline}
        seed = str(self.seed)
        return {
            metric: found["values"][seed]
            for metric, found in cell["metrics"].items()
            if seed in found["values"]
            and (evaluation := self._evaluation_of(metric)) not in others
            and not (evaluation in moved and metric.endswith(_COMPARED))
        }

    def _evaluation_of(self, metric: str) -> str | None:
        """Which evaluation found a metric; None: the training itself."""
        names = [name for name in self.cell.evaluations if metric == name or metric.startswith(f"{name}_")]
        return max(names, key=len, default=None)

    @property
    def elsewhere(self) -> bool:
        """Whether an earlier study has it, and this one has not begun it."""
        return not self.run.exists() and bool(self.earlier)

    def lacking(self) -> list[str]:
        """Evaluations that were not done elsewhere: without the run there, they cannot be done here."""
        done = {self._evaluation_of(metric) for metric in self.earlier}
        return [name for name in self.cell.evaluations if name not in done]

    def record(self, name: str) -> dict[str, Any] | None:
        """What an evaluation found; None where it is not done, was asked for otherwise, or is of other weights."""
        path = self._file(name)
        if not path.is_file():
            return None
        try:
            kept = json.loads(path.read_bytes())
            data = self._data_name(name)
            same_data = data is None or kept.get("data") in (None, data)  # nor do records of before December 2026 say
            same = kept["asked"] == self.cell.asked(name) and same_data and self._of_its_weights(kept["record"])
            return kept["record"] if same else None
        except (ValueError, KeyError, TypeError) as error:
            raise ProtozooError(f"{path} is damaged ({error}): remove it, and the evaluation is done again") from error

    def _of_its_weights(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is of the run's weights, where both tell: a run may have been removed and trained again."""
        weights = self.run / "model.safetensors"
        if "weights_sha256" not in record or not weights.is_file():
            return True
        state = weights.stat()
        return bool(record["weights_sha256"] == _digest(weights, state.st_mtime_ns, state.st_size))

    def keep(self, name: str, record: Mapping[str, Any]) -> None:
        """Write what an evaluation found."""
        kept = {"asked": self.cell.asked(name), "data": self._data_name(name), "record": record}
        text = json.dumps(kept, indent=2)
        write_atomically(self._file(name), f"{text}\n".encode())

    def _data_name(self, name: str) -> str | None:
        """Of an evaluation's data: the place may be another by now. None where they are not given."""
        place = self.study.data.get(getattr(self.cell.evaluations[name], "data", None) or self.cell.data)
        return None if place is None else Path(place).name

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def missing(self) -> list[str]:
        """Evaluations that are still to do: those whose data are there, but for what the run itself has logged."""
        return [
            name
            for name, evaluation in self.cell.evaluations.items()
            if not isinstance(evaluation, ConvergenceEvaluation)
            and (getattr(evaluation, "data", None) or self.cell.data) in self.study.data
            and self.record(name) is None
        ]


@cache
def _digest(path: Path, mtime: int, size: int) -> str:
    """SHA-256 of a file, read once as long as its state stays."""
    del mtime, size
    return sha256_of(path)


def states(study: Study) -> list[tuple[Task, str]]:
    """What is done of every task, in words."""
    return [(task, _state(task)) for task in study.tasks()]


def _state(task: Task) -> str:
    missing = task.missing()
    if Run(task.run).finished:
        return f"trained, to evaluate: {', '.join(missing)}" if missing else "done"
    words = "begun" if (task.run / "recipe.yaml").is_file() else "to train"
    if task.elsewhere:
        lacking = task.lacking()
        return f"done elsewhere, without {', '.join(lacking)}" if lacking else "done elsewhere"
    if task.failure.is_file():
        words += f", failed: {task.failure.read_text(encoding='utf-8').strip()}"
    return words


def work(study: Study, *, jobs: int, say: Callable[[str], None]) -> None:
    """Do what is not done yet. Several processes, of this command or of others on the same folder, share the tasks.

    A task that fails is said, and the others go on; the next call tries it again.

    Raises:
        StoppedError: a signal asked for it; the same call goes on from there, and does an evaluation
            again that it broke off.
    """
    if jobs > 1:
        _in_processes(study, jobs)
        return
    with stopping_at_once(study.out):
        for task in study.tasks():
            if task.elsewhere:
                continue
            with _claimed(task) as mine:
                if mine:
                    _do(task, say)


@contextmanager
def _claimed(task: Task) -> Iterator[bool]:
    """Whether no other process is at it."""
    task.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(task.folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _do(task: Task, say: Callable[[str], None]) -> None:
    try:
        _train(task, say)
        for name in task.missing():
            say(f"{task}: {name}")
            task.keep(name, _evaluate(task, name))
    except StoppedError:
        raise
    except ProtozooError as error:
        _failed(task, str(error), say)
    except Exception as error:  # of whatever kind, a GPU's memory that is full among them: the others can still be done
        traceback.print_exc()
        _failed(task, f"{type(error).__name__}: {error}".splitlines()[0], say)
    else:
        task.failure.unlink(missing_ok=True)


def _failed(task: Task, why: str, say: Callable[[str], None]) -> None:
    write_atomically(task.failure, f"{why}\n".encode())
    say(f"{task} failed: {why}")


def _train(task: Task, say: Callable[[str], None]) -> None:
    from training.train import train

    if Run(task.run).finished:
        return
    say(f"{task}: training")
    cell, options = task.cell, Options(trackers=())
    data = task.study.data[cell.data]
    typed = {name: _word(value) for name, value in {**cell.fields, "seed": task.seed}.items()}
    command = recorded("train", cell.recipe, data, "RUN", typed)
    train(cell.load(task.seed), data, task.run, name=cell.recipe, command=command, say=say, options=options)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _evaluate(task: Task, name: str) -> dict[str, Any]:
    evaluation, study = task.cell.evaluations[name], task.study
    if isinstance(evaluation, ProbeEvaluation):
        return _probe(task, evaluation, study.data[evaluation.data or task.cell.data])
    if isinstance(evaluation, ReadoutEvaluation):
        from training.readout_record import record_readout

        return record_readout(str(task.run), study.data[task.cell.data], prior=evaluation.prior, device=study.device)
    assert isinstance(evaluation, CorruptionEvaluation)
    from training.robustness.record import CorruptionOptions, record_corruptions

    given = evaluation.model_dump(include={"images", "corruptions", "severities"}, exclude_none=True)
    options = CorruptionOptions(**given, keep=study.out / "corrupted", device=study.device)
    return record_corruptions(str(task.run), study.data[task.cell.data], options)


def _probe(task: Task, evaluation: ProbeEvaluation, data: str) -> dict[str, Any]:
    from training.probes.record import record_prototypes, record_trained

    given, run, device = dict(evaluation.options), str(task.run), task.study.device
    if evaluation.probe == "prototypes":
        features = given.pop("features", "projection")
        return record_prototypes(run, data, features=features, device=device, seed=task.seed, **given)
    protocol = given.pop("protocol", "cifar")
    overrides = {"seed": task.seed, **given}
    return record_trained(evaluation.probe, run, data, protocol=protocol, overrides=overrides, device=device, workers=0)


def _in_processes(study: Study, jobs: int) -> None:
    context = get_context("spawn")
    processes = [context.Process(target=_process, args=(study, jobs)) for _ in range(jobs)]
    for process in processes:
        process.start()
    with stop_on_signals() as stop:
        asked = False
        while running := [process for process in processes if process.is_alive()]:
            running[0].join(0.5)
            if stop.signal_number and not asked:
                asked = True
                for process in running:
                    process.terminate()
    if stop.signal_number:
        raise StoppedError(f"stopped: the same command goes on from {study.out}", stop.signal_number)
    if any(process.exitcode for process in processes):
        raise ProtozooError(f"a process of the study ended early: its message stands above; {study.out} is whole")


def _process(study: Study, jobs: int) -> None:
    import click
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        # Those of more threads than cores wait for each other at every operation.
        torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    try:
        work(study, jobs=1, say=click.echo)
    except StoppedError as error:
        # The parent says what to do.
        raise SystemExit(error.status) from error
