"""To a bundle by whichever package exports, from a run, enrolled classes or evaluations, which need not know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.bundle import Bundle
from zoo.errors import ProtozooError

_GROUP = "protozoo.exporters"


@dataclass(frozen=True, eq=False)
class EnrolledClasses:
    """Classes that are the means of examples' embeddings.

    Attributes:
        name: of the set.
        labels: K names.
        prototypes: float32 (K, d), unit rows.
        embeddings: float32 (n, d), unit rows, of the examples.
        owners: int64 (n,), the class of each as a position in ``labels``.
    """

    name: str
    labels: tuple[str, ...]
    prototypes: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    owners: NDArray[np.int64]


def export_run(run: Path, out: Path) -> Bundle:
    """Write the bundle of a finished run to ``out``, by the entry point ``bundle`` of the group protozoo.exporters.

    Raises:
        ProtozooError: no exporter is installed, or it refuses the run.
    """
    exporter: Callable[[Path, Path], Bundle] = _exporter("bundle")
    return exporter(run, out)


def export_set(base: Bundle, classes: EnrolledClasses, out: Path, command: str) -> Bundle:
    """Write a bundle of enrolled classes to ``out``, by the entry point ``set`` of the group protozoo.exporters.

    Args:
        base: whose encoder has embedded the examples.
        classes: two or more.
        out: folder of the bundle; must not exist.
        command: what was typed, for the record.

    Raises:
        ProtozooError: no exporter is installed, or ``out`` exists.
    """
    exporter: Callable[[Bundle, EnrolledClasses, Path, str], Bundle] = _exporter("set")
    return exporter(base, classes, out, command)


def export_evaluations(bundle: Bundle, evaluations: Sequence[Mapping[str, Any]], out: Path) -> Bundle:
    """Write a bundle again with what was measured of it, by the entry point ``evaluations`` of the same group.

    Args:
        bundle: that was measured.
        evaluations: each with its "kind", "command", "data" and numbers.
        out: folder of the new bundle; must not exist.

    Raises:
        ProtozooError: no exporter is installed, or ``out`` exists.
    """
    exporter: Callable[[Bundle, Sequence[Mapping[str, Any]], Path], Bundle] = _exporter("evaluations")
    return exporter(bundle, evaluations, out)


def check_exporter(name: str) -> None:
    """Refuse to begin work whose result could not be written, before the work and not after it.

    Args:
        name: of an entry point: "bundle", "set" or "evaluations".

    Raises:
        ProtozooError: no exporter is installed.
    """
    _exporter(name)


def _exporter(name: str) -> Any:
    points = entry_points(group=_GROUP, name=name)
    if not points:
        raise ProtozooError("no exporter is installed, so no bundle can be written: pip install 'protozoo[all]'")
    return next(iter(points)).load()
