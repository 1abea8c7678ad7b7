"""Where the numbers of a run go besides its own files: accelerate's trackers, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from zoo.errors import ProtozooError


def tracking(names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Arguments of ``accelerate.Accelerator`` for these trackers.

    Args:
        names: "tensorboard", "wandb", ...; none at all is no tracking.
        folder: for those that write files.

    Raises:
        ProtozooError: accelerate knows no such tracker, or its package is not installed.
    """
    available = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ProtozooError(f"there is no tracker {name!r}; accelerate has {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if name not in available:
            raise ProtozooError(f"the tracker {name} is not installed: pip install {name}, or pass --track none")
    return {"log_with": list(names), "project_dir": folder} if names else {}
