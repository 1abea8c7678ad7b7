"""The bundle: the one artefact that training, Python, the Hub and the service exchange. Needs neither torch nor timm.

A bundle is a folder in the Hub's model layout; docs of its files stand in the README. Reading is strict: every file is
compared with ``SHA256SUMS``, the weights and prototypes with the digests in ``config.json``, and nothing that could
execute (a pickle) is ever opened.

Finding a bundle is quick; what reads one brings NumPy, Pillow and safetensors, and is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zoo.bundle.catalogue import Pretrained, pretrained_models
from zoo.bundle.find import embedded_names, find, is_bundle
from zoo.errors import BundleError, ImageError, ProtozooError

if TYPE_CHECKING:
    from zoo.bundle.folder import FILES, FORMAT_VERSION, Bundle, Golden, array_sha256, new_bundle
    from zoo.bundle.images import Preprocessing

__all__ = [
    "FILES",
    "FORMAT_VERSION",
    "Bundle",
    "BundleError",
    "Golden",
    "ImageError",
    "Preprocessing",
    "Pretrained",
    "ProtozooError",
    "array_sha256",
    "embedded_names",
    "find",
    "is_bundle",
    "new_bundle",
    "pretrained_models",
]

_IMAGES = ("Preprocessing",)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'zoo.bundle' has no attribute {name!r}")
    return getattr(importlib.import_module(f"zoo.bundle.{'images' if name in _IMAGES else 'folder'}"), name)
