"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Those of the machine, less what the scheduler's affinity or a container's CPU limit takes away; 1 at least.

    Who asks the machine alone gets all of a large node, and is throttled to the few that its container has.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _limit(_QUOTA) or cores)


def _limit(path: Path) -> int | None:
    """Of control groups, version 2: "max 100000", or microseconds of computing in a period of so many."""
    if not path.is_file():
        return None
    quota, period = path.read_text(encoding="ascii").split()
    return None if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
