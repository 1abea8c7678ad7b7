"""How many processes decode the images that do not fit in memory."""

from __future__ import annotations

import os

import click


def default_workers() -> int:
    """Four, or the cores of this process where they are fewer: of more than those torch warns."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


WORKERS = click.option(
    "--workers",
    type=click.IntRange(0),
    default=default_workers,
    show_default="4, or the cores where they are fewer",
    help="Decoders of images on disk.",
)
