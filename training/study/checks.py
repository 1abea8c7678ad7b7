"""What is told before the work: runs that are not the grid's, and what is left out for want of data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import yaml

from training.precision import settled
from training.run import Run
from training.study.driver import Study, Task
from training.study.grid import ProbeEvaluation
from zoo.errors import ProtozooError


def check_runs(study: Study) -> None:
    """Refuse a folder with a run that is not its cell's: its numbers would pass for the grid's.

    Raises:
        ProtozooError: a run was begun with another recipe or other data; cell, field and both values are named.
    """
    for task in study.all_tasks():
        if task.run.is_dir():
            _check_run(task)


def _check_run(task: Task) -> None:
    run, began = Run(task.run), _data_of(task.run)
    given = task.study.data.get(task.cell.data, began)
    # The same data may stand elsewhere by now; of what was trained on, the record has the name alone too.
    data = began if Path(given).name == Path(began).name else given
    try:
        run.check(settled(task.cell.load(task.seed), run.precision), data)
    except ProtozooError as error:
        raise ProtozooError(f"{task}: {error}, or remove {task.folder}") from error


def _data_of(run: Path) -> str:
    """What a run was begun on; empty where it was not begun."""
    path = run / "recipe.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return str(settings.get("data", "")) if isinstance(settings, dict) else ""


def left_out(study: Study) -> str | None:
    """What is not done for want of data, in a line; None where nothing is.

    Raises:
        ProtozooError: nothing else is left, so that there is nothing to do.
    """
    missing = [task for task in study.all_tasks() if task.cell.data not in study.data]
    trainings = Counter(task.cell.data for task in missing if not (Run(task.run).finished or task.elsewhere))
    evaluations = Counter(name for task in study.tasks() if not task.elsewhere for name in _data_missing(task))
    if not trainings and not evaluations:
        return None
    words = ", ".join([*_counted(trainings, "training"), *_counted(evaluations, "evaluation")])
    options = " ".join(f"--data {name}=DATA" for name in dict.fromkeys([*trainings, *evaluations]))
    if trainings and len(missing) == len(list(study.all_tasks())):
        raise ProtozooError(
            f"without data there is nothing to do: give {options}, each a name or folder as `protozoo train` "
            f"takes it ({words})"
        )
    return f"left out, as their data are not given: {words}; {options} would add them"


def _data_missing(task: Task) -> Iterable[str]:
    """Data of each evaluation of a task that is not done, where they are not given."""
    for name, evaluation in task.cell.evaluations.items():
        other = evaluation.data if isinstance(evaluation, ProbeEvaluation) else None
        if other is not None and other not in task.study.data and task.record(name) is None:
            yield other


def _counted(found: Counter[str], word: str) -> list[str]:
    return [f"{count} {word}{'s' if count > 1 else ''} on {name}" for name, count in found.items()]


def check_place(name: str, place: str) -> None:
    """Refuse data that cannot be there, without reading them.

    Raises:
        ProtozooError: neither a folder nor a name that ``protozoo train`` knows.
    """
    from training.data.hub import PREFIX
    from training.data.load import SOURCES

    if place not in SOURCES and not place.startswith(PREFIX) and not Path(place).expanduser().is_dir():
        raise ProtozooError(
            f"--data {name}={place}: {place} is neither a folder nor one of {', '.join(SOURCES)} and "
            f"{PREFIX}<owner>/<name>"
        )
