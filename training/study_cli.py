"""The command ``study``. Torch is imported when it runs, not when it is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("grid")
@click.option(
    "--data", multiple=True, metavar="NAME=DATA", help="Where the grid's data NAME are, as for `train`; again."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the study.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that share the trainings and, unless OMP_NUM_THREADS is set, the CPU's cores.",
)
@click.option(
    "--epochs-factor",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Train for so much of the grid's epochs.",
)
@click.option(
    "--earlier",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="results.json of this grid from elsewhere: the trainings in it are not done again.",
)
@click.option("--seeds", type=click.IntRange(1), help="How many of the grid's seeds; all by default.")
@click.option("--device", default="cpu", show_default=True, help="Torch device of the evaluations.")
@click.option("--dry-run", is_flag=True, help="List the trainings and what of them is done, and end.")
@click.option("--report", "report_only", is_flag=True, help="Write the report of what is done, and end.")
def study(
    grid: str,
    data: tuple[str, ...],
    out: Path,
    jobs: int,
    epochs_factor: float,
    earlier: Path | None,
    seeds: int | None,
    device: str,
    dry_run: bool,
    report_only: bool,
) -> None:
    """Train and evaluate all that GRID asks for, a YAML file or a grid of the package, and test its claims.

    The grids of the package are 'cpu' and 'gpu' (the papers' claims, with ResNet-9 or ResNet-18), 'long_tail'
    (prototypes with wider angles for rare classes), 'heads' (why a head must be signed; half an hour without any file)
    and 'digits' (some minutes).

    Every training has its folder in OUT. The same command goes on where it was stopped: what is finished is never done
    again, and a training that was begun resumes; a run of another recipe there is refused. What needs data that are not
    given is left out, and it is said; digits and patches are always there. At the end results.json and results.md stand
    in OUT. --epochs-factor and --seeds make a study shorter, and its report says so; the seeds can grow later, also on
    another machine: --earlier has the numbers of this one.

    Example: protozoo study digits --out studies/digits
    """
    from training.study.checks import check_runs, left_out
    from training.study.driver import Study, states, work
    from training.study.grid import data_names, load_grid, shortened
    from training.study.report import report
    from training.study.results import collect, unfinished
    from zoo.errors import ProtozooError
    from zoo.files import write_atomically

    asked, whole = load_grid(grid)
    cells = shortened(whole, epochs_factor=epochs_factor, seeds=seeds)
    known = {} if earlier is None else _cells(earlier)
    chosen = Study(cells, _places(data, data_names(cells)), out, device, known)
    if known and not any(task.earlier for task in chosen.all_tasks()):
        raise ProtozooError(f"--earlier: {earlier} has no training of this grid, at this --epochs-factor: leave it out")
    check_runs(chosen)
    missing = None if report_only else left_out(chosen)
    if missing is not None:
        click.echo(missing, err=True)
    if dry_run:
        for task, state in states(chosen):
            click.echo(f"{task}: {state}")
        return
    try:
        if not report_only:
            work(chosen, jobs=jobs, say=click.echo)
    finally:
        # Also of a study that was stopped.
        results = collect(asked, chosen) | {"epochs_factor": epochs_factor, "seeds": seeds}
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "results.json", (json.dumps(results, indent=2) + "\n").encode())
        write_atomically(out / "results.md", report(asked, results).encode())
    click.echo(f"written: {out / 'results.md'}")
    left = unfinished(chosen)
    if left and not report_only:
        raise ProtozooError(f"{len(left)} of the trainings are not done ({left[0]}): run the same command again")


def _cells(path: Path) -> dict[str, Any]:
    """Those of a study's results."""
    from zoo.errors import ProtozooError

    try:
        cells: dict[str, Any] = json.loads(path.read_bytes())["cells"]
        keys = ("data", "recipe", "fields", "evaluations", "metrics")
        return {
            name: {**{key: cell[key] for key in keys}, "baselines": cell.get("baselines", {})}
            for name, cell in cells.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtozooError(f"{path} is no results.json of a study") from error


def _places(given: tuple[str, ...], names: set[str]) -> dict[str, str]:
    """Name -> data, of what was given and of what needs no place."""
    from training.study.checks import check_place
    from zoo.errors import ProtozooError

    found = {name: name for name in names & {"digits", "patches"}}
    for word in given:
        name, _, place = word.partition("=")
        if name not in names or not place:
            raise ProtozooError(
                f"--data {word}: write NAME=DATA, where the grid's names are {', '.join(sorted(names))}"
            )
        check_place(name, place)
        found[name] = place
    return found
