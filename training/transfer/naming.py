"""Names of weights."""

from __future__ import annotations

import re
from pathlib import Path


def tag_for(objective: str, data: str) -> str:
    """``<objective>_<dataset>`` of what a user types for data: a folder's name, a set's, a repository's."""
    name = Path(data.partition("@")[0]).expanduser().resolve().name
    return f"{objective}_{re.sub('[^a-z0-9]+', '_', name.lower()).strip('_') or 'data'}"
