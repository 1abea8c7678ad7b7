"""protozoo: image classifiers whose classes are points on the unit sphere.

Importing this package costs milliseconds and loads neither torch nor timm: the public names are resolved on first use,
and the architectures, ours and those of packages with an entry point in ``protozoo.zoo``, register with timm when timm
is imported, whichever of the two comes first.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wrapt import when_imported

if TYPE_CHECKING:
    from zoo.classifier import Classifier, Prediction, load
    from zoo.estimator import NearestPrototype
    from zoo.loading import create_model, list_models

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "NearestPrototype",
    "Prediction",
    "__version__",
    "bundle",
    "create_model",
    "geometry",
    "list_models",
    "load",
]

_HOMES = {
    "Classifier": "zoo.classifier",
    "NearestPrototype": "zoo.estimator",
    "Prediction": "zoo.classifier",
    "create_model": "zoo.loading",
    "list_models": "zoo.loading",
    "load": "zoo.classifier",
}
_SUBMODULES = ("bundle", "geometry")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"zoo.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@when_imported("timm")
def _register_architectures(_timm: ModuleType) -> None:
    importlib.import_module("zoo.models.architectures")
    importlib.import_module("zoo.plugins").import_plugins()
