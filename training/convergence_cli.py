"""The command ``convergence``. What it needs is imported when it runs, not when it is listed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from training.record_files import out_option, write_record


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--baseline", required=True, type=click.Path(path_type=Path), help="Run of cross-entropy, or any other.")
@click.option("--images", type=click.Choice(["train", "test"]), help="Whose collapse; train, where all have logged it.")
@click.option(
    "--smoothing",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Weight of the earlier values in an exponentially weighted mean.",
)
@out_option("JSON file to write the record to.")
def convergence(runs: tuple[Path, ...], baseline: Path, out: Path | None, **given: Any) -> None:
    """Tell how soon RUNS, folders of finished runs, reached 95 % of neural collapse and the baseline's final values.

    Prints Markdown, a row for runs that differ in their seed alone. What the runs have logged counts: by default the
    collapse of the test images, with `protozoo train --collapse_images both` that of the training images too;
    --collapse_every says how often.

    Example: protozoo convergence runs/nonl runs/ntce --baseline runs/ce --out convergence.json
    """
    from training.convergence import convergence as measure
    from training.convergence import convergence_table

    record = measure(runs, baseline, command=_command(runs, baseline, **given), **given)
    click.echo(convergence_table(record))
    write_record(out, record)


def _command(runs: tuple[Path, ...], baseline: Path, **given: Any) -> str:
    """What was typed, with the runs' names and not where they stand."""
    options = [word for name, value in given.items() if value for word in (f"--{name}", str(value))]
    names = [path.resolve().name for path in runs]
    words = [*names, "--baseline", baseline.resolve().name, "--out", "RECORD", *options]
    return shlex.join(["protozoo", "convergence", *words])
