"""Architectures of packages installed beside this one: see :mod:`zoo.bundle.catalogue` for how they bring them.

Everything here is for a process in which timm is imported; to list and read bundles it is not needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

from zoo.bundle.catalogue import Pretrained, package_of, plugins, pretrained_models
from zoo.errors import ProtozooWarning


def timm_cfgs(architectures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What ``timm.models.generate_default_cfgs`` takes: each architecture with its pretrained tags, or without any.

    Args:
        architectures: name -> fields of timm's ``PretrainedCfg`` that hold where weights say nothing else.

    Returns:
        ``architecture.tag`` -> fields, among them ``file`` for weights in a package, or ``hf_hub_id`` and
        ``hf_hub_filename`` for weights on the Hub.
    """
    cfgs: dict[str, dict[str, Any]] = {}
    for architecture, base in architectures.items():
        tagged = [model for model in pretrained_models().values() if model.architecture == architecture]
        cfgs |= {model.name: {**base, **_timm_cfg(model)} for model in tagged} or {architecture: dict(base)}
    return cfgs


def _timm_cfg(model: Pretrained) -> dict[str, Any]:
    from timm.models import PretrainedCfg

    # timm's class is closed: what a newer timm wrote must not keep the whole zoo from being registered.
    known = {field.name for field in fields(PretrainedCfg)} - {"tag"}
    cfg = {key: value for key, value in model.config["pretrained_cfg"].items() if key in known}
    if model.hub is None:
        return {**cfg, "file": str(model.folder / "model.safetensors")}
    # Without the file's name timm would take a pickle where there is no safetensors.
    return {**cfg, "hf_hub_filename": "model.safetensors"}


def import_plugins() -> None:
    """Import the modules of all entry points, so that they register their architectures with timm.

    A module that fails, and a name that exists already, are named in a warning; the rest is not affected.
    """
    from timm.models import list_models, model_entrypoint

    for point in plugins():
        before = {name: model_entrypoint(name) for name in list_models()}
        try:
            import_module(point.module)
        except Exception as error:  # of any kind: it is code of others
            warnings.warn(
                f"the package {package_of(point)} is not in the zoo: importing {point.module} failed with {error!r}",
                ProtozooWarning,
                stacklevel=2,
            )
        _restore(before, point)


def _restore(before: Mapping[str, Callable[..., Any]], point: EntryPoint) -> None:
    """Give architectures that existed back their names; timm would let the last one have them."""
    from timm.models import model_entrypoint, register_model

    for name, create in before.items():
        if model_entrypoint(name) is create:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's, that it is overwritten
            register_model(create)
        warnings.warn(
            f"the package {package_of(point)} registers an architecture {name}, which {create.__module__} has already: "
            "it is left out, and needs another name",
            ProtozooWarning,
            stacklevel=3,
        )


def plugin_architectures() -> tuple[str, ...]:
    """Names of the architectures that other packages have registered with timm."""
    from timm.models import list_models, model_entrypoint

    homes = {point.module.split(".")[0] for point in plugins()}
    names = list_models() if homes else []
    return tuple(name for name in names if model_entrypoint(name).__module__.split(".")[0] in homes)
