"""Traces, which BentoML makes: when they are worth their price."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SWITCH = "exporter_type"


def tracing(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The service's ``tracing`` for BentoML: no URL is traced where nobody has said where traces go.

    BentoML records five spans for every request even then, which cost more than all its other layers together.

    Args:
        environ: with BentoML's variables, which hold options or name a file of them.
    """
    return {} if any(_SWITCH in text for text in _options(environ)) else {"excluded_urls": [".*"]}


def _options(environ: Mapping[str, str]) -> list[str]:
    """BentoML's configuration as the operator wrote it, in each of the three places where BentoML looks for it."""
    file = Path(environ.get("BENTOML_CONFIG", ""))
    written = [file.read_text(encoding="utf-8")] if file.is_file() else []  # one that is missing BentoML refuses
    return [*written, *(environ.get(f"BENTOML_CONFIG_{name}", "") for name in ("OPTIONS", "OVERRIDES"))]
