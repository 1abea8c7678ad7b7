"""From a run to a bundle, by whichever package exports: what makes a run need not know it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from zoo.bundle import Bundle
from zoo.errors import ProtozooError

_GROUP = "protozoo.exporters"


def export_run(run: Path, out: Path) -> Bundle:
    """Write the bundle of a finished run to ``out``, by the entry point ``bundle`` of the group protozoo.exporters.

    Raises:
        ProtozooError: no exporter is installed, or it refuses the run.
    """
    points = entry_points(group=_GROUP, name="bundle")
    if not points:
        raise ProtozooError("no exporter is installed, so no bundle can be written: pip install 'protozoo[all]'")
    exporter: Callable[[Path, Path], Bundle] = next(iter(points)).load()
    return exporter(run, out)
