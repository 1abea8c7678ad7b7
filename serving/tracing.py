"""Traces, which BentoML makes: when they are worth their price."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zoo.bundle import ProtozooError

_SWITCH = "exporter_type"
_KIND = re.compile(_SWITCH + r"""["']?\s*[:=]\s*["']?(otlp|zipkin|jaeger)\b""")


def tracing(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The service's ``tracing`` for BentoML: no URL is traced where nobody has said where traces go.

    BentoML records five spans for every request even then, which cost more than all its other layers together.

    Args:
        environ: with BentoML's variables, which hold options or name a file of them.
    """
    return {} if any(_SWITCH in text for text in _options(environ)) else {"excluded_urls": [".*"]}


def check_exporter(environ: Mapping[str, str] = os.environ) -> None:
    """Raise ProtozooError where the exporter that ``environ`` names is not installed.

    BentoML finds out in its workers, and starts them again for ever.
    """
    for kind in _KIND.findall("\n".join(_options(environ))):
        packages = ("opentelemetry", "opentelemetry.exporter", f"opentelemetry.exporter.{kind}")
        if not all(map(find_spec, packages)):  # a package within one that is not there is an error of its own
            raise ProtozooError(f"traces are to go out by {kind}: `pip install 'bentoml[tracing-{kind}]'`")


def _options(environ: Mapping[str, str]) -> list[str]:
    """BentoML's configuration as the operator wrote it, in each of the three places where BentoML looks for it."""
    file = Path(environ.get("BENTOML_CONFIG", ""))
    written = [file.read_text(encoding="utf-8")] if file.is_file() else []  # one that is missing BentoML refuses
    return [*written, *(environ.get(f"BENTOML_CONFIG_{name}", "") for name in ("OPTIONS", "OVERRIDES"))]
