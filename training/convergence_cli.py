"""The command ``convergence``. What it needs is imported when it runs, not when it is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


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
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="JSON file to write the record to.")
def convergence(runs: tuple[Path, ...], baseline: Path, out: Path | None, **given: Any) -> None:
    """Tell how soon RUNS, folders of finished runs, reached 95 % of neural collapse and the baseline's final values.

    Prints Markdown, a row for runs that differ in their seed alone. What the runs have logged counts: by default the
    collapse of the test images, with `protozoo train --collapse_images both` that of the training images too;
    --collapse_every says how often.

    Example: protozoo convergence runs/nonl runs/ntce --baseline runs/ce --out convergence.json
    """
    from training.convergence import convergence as measure
    from training.convergence import convergence_table
    from zoo.files import write_atomically

    record = measure(runs, baseline, **given)
    if out is not None:
        write_atomically(out, (json.dumps(record, indent=2) + "\n").encode())
    click.echo(convergence_table(record))
