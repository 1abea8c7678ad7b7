"""The pretrained models that this package and those installed beside it bring, by name.

A package brings models by an entry point in the group ``protozoo.zoo``, whose value is one of its modules::

    [project.entry-points."protozoo.zoo"]
    insects = "insects_zoo"

Its top-level package has a folder ``weights``, with a folder ``<architecture>.<tag>`` for each model: a whole bundle,
or, for one that lies on the Hub, only its ``config.json`` with ``"hf_hub_id": "owner/name@revision"`` added to
``pretrained_cfg``. The module is imported when timm is: there it may register architectures of its own with
``timm.models.register_model`` (see :func:`zoo.plugins.timm_cfgs`). A package of weights for protozoo's architectures
needs no code at all.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from zoo.errors import ProtozooWarning

_GROUP = "protozoo.zoo"
_OWN = "protozoo"

# What an architecture alone means: the same in a checkout as in the package, which has fewer models, whatever is added.
_DEFAULT_TAGS = {
    "proto_resnet20_cifar": "nonl_cifar10",
    "proto_resnet9_cifar": "ntce_cifar10",
    "proto_wide_resnet9_cifar": "nonl_tiny_imagenet",
}


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model that an installed package brings.

    Attributes:
        package: the distribution that brings it.
        folder: a whole bundle, or the folder of a ``config.json`` that says where on the Hub the bundle is.
        config: its ``config.json``.
    """

    package: str
    folder: Path
    config: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return str(self.config["architecture"])

    @property
    def name(self) -> str:
        """``architecture.tag``."""
        return f"{self.architecture}.{self.config['pretrained_cfg']['tag']}"

    @property
    def hub(self) -> str | None:
        """``owner/name[@revision]`` on the Hub; None where the bundle is in the package."""
        hub: str | None = self.config["pretrained_cfg"].get("hf_hub_id")
        return hub

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights."""
        return str(self.config["protozoo"]["weights"]["sha256"])


@cache
def pretrained_models() -> Mapping[str, Pretrained]:
    """Name -> model: this package's first, then those of other packages in the order of their names.

    The first of an architecture is its default, here as in timm.

    A model that cannot be read, and one whose name exists already, is left out with a warning that names it.
    """
    models: dict[str, Pretrained] = {}
    for package, folder in _weights_folders():
        for model in _read(package, folder):
            if model.name in models:
                _warn(package, f"its model {model.name} is left out: {models[model.name].package} has one of that name")
            else:
                models[model.name] = model
    return MappingProxyType(models)


def plugins() -> list[EntryPoint]:
    """The entry points of other packages, in the order of the packages' names."""
    return sorted(entry_points(group=_GROUP), key=lambda point: (package_of(point), point.name))


def package_of(point: EntryPoint) -> str:
    """Name of the distribution that declares an entry point."""
    return point.dist.name if point.dist is not None else point.module


def _weights_folders() -> Iterator[tuple[str, Path]]:
    yield _OWN, Path(__file__).resolve().parent.parent / "weights"
    for point in plugins():
        # Of the top-level package, since to look for a submodule is to import what is around it.
        spec = find_spec(point.module.split(".")[0])
        if spec is None or not spec.submodule_search_locations:
            _warn(package_of(point), f"its entry point names {point.module}, which is not in an installed package")
        else:
            yield package_of(point), Path(spec.submodule_search_locations[0]) / "weights"


def _read(package: str, folder: Path) -> Iterator[Pretrained]:
    for path in sorted(folder.glob("*/config.json"), key=_order):
        try:
            model = Pretrained(package, path.parent, json.loads(path.read_bytes()))
            if (model.name, len(model.weights_sha256)) != (path.parent.name, 64):
                raise ValueError(f"it describes {model.name}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _warn(package, f"{path} is not the config.json of a bundle of that name ({error!r})")
            continue
        yield model


def _order(path: Path) -> tuple[str, bool, str]:
    architecture, _, tag = path.parent.name.partition(".")
    return architecture, tag != _DEFAULT_TAGS.get(architecture), tag


def _warn(package: str, what: str) -> None:
    warnings.warn(f"the package {package} is not, or not wholly, in the zoo: {what}", ProtozooWarning, stacklevel=2)
