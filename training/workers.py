"""How many processes decode the images that do not fit in memory."""

from __future__ import annotations

import click

from zoo.cores import available_cores


def default_workers() -> int:
    """Four, or the cores of this process where they are fewer: of more than those torch warns."""
    return min(4, available_cores())


WORKERS = click.option(
    "--workers",
    type=click.IntRange(0),
    default=default_workers,
    show_default="4, or the cores where they are fewer",
    help="Decoders of images on disk.",
)
