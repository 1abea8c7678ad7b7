"""``import protozoo``: the client of the service, and all that :mod:`zoo` offers, each loaded on first use.

The packages are ``zoo``, ``training``, ``export`` and ``serving``; this is the name of their distribution.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.client import AsyncClient as AsyncClient
    from serving.client import Client as Client
    from serving.client import ServiceError as ServiceError
    from zoo import *  # noqa: F403

_CLIENT = ("AsyncClient", "Client", "ServiceError")


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("serving.client" if name in _CLIENT else "zoo"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_CLIENT, *importlib.import_module("zoo").__all__})
