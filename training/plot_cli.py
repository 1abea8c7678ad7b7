"""The command ``plot``. Torch and matplotlib are imported when it runs, not when it is listed."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the pictures.")
@click.option("--data", default=None, help="Data that the runs were trained on: draws embedding.png too.")
def plot(runs: tuple[Path, ...], out: Path, data: str | None) -> None:
    """Draw RUNS, folders that `protozoo train` has written, as PNG pictures 1200 pixels wide.

    curves.png: test accuracy and collapse over the training, with the values at exact collapse; runs that differ in
    their seed alone are drawn as their mean and range. Of finished runs, gram.png: cosines between prototypes; with
    --data also embedding.png: up to 2,000 test images and the prototypes in the plane of the images' largest variance.

    Example: protozoo plot runs/nonl runs/ce --out pictures --data digits
    """
    from training.plots.pictures import draw_pictures

    draw_pictures(runs, out, data, say=click.echo)
