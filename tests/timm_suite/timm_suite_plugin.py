"""pytest plugin of the process that runs timm's own test_models.py: narrows it to the zoo's architectures.

timm's tests run as they are, but for two names in their module:

- ``create_model`` takes weights of zeros where a pretrained model is asked for that has none, so that both tests of
  pretrained models run on every architecture.
- the helper that asserts that a new classifier has parameters looks at the prototypes instead where they are fixed: in
  a buffer, since a parameter without a gradient would fail both tests of the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.models import generate_default_cfgs, get_pretrained_cfg, register_model

import zoo  # noqa: F401

_list_models = timm.list_models

# Architectures whose classifier is a buffer, for these tests alone: one of each of the ResNets' classes.
FIXED = {"fixed_resnet32_cifar": "proto_resnet32_cifar", "fixed_resnet18_cifar": "proto_resnet18_cifar"}
default_cfgs = generate_default_cfgs({name: get_pretrained_cfg(learned) for name, learned in FIXED.items()})


def _register_fixed(name: str, learned: str) -> None:
    def create(pretrained: bool = False, **kwargs: Any) -> torch.nn.Module:
        model: torch.nn.Module = timm.model_entrypoint(learned)(pretrained, prototypes="fixed", **kwargs)
        return model

    create.__name__ = name
    register_model(create)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--architectures", required=True, help="Names, separated by commas.")


def pytest_configure(config: pytest.Config) -> None:
    for name, learned in FIXED.items():
        _register_fixed(name, learned)
    timm.list_models = _narrowed(config.getoption("--architectures").split(","))
    timm.list_pretrained = lambda *args, **kwargs: timm.list_models(*args, pretrained=True, **kwargs)


def _narrowed(architectures: list[str]) -> Callable[..., list[str]]:
    def list_models(
        filter: Any = "",
        module: Any = "",
        pretrained: bool = False,
        exclude_filters: Any = "",
        include_tags: bool | None = None,
        **kwargs: Any,
    ) -> list[str]:
        # By module timm selects the classes that have intermediate features: all of the zoo's have.
        tags = pretrained if include_tags is None else include_tags
        names = _list_models(filter, exclude_filters=exclude_filters, include_tags=tags, **kwargs)
        return [name for name in names if name.split(".")[0] in architectures]

    return list_models


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    architectures = config.getoption("--architectures").split(",")
    items[:] = [item for item in items if _model_name(item).split(".")[0] in architectures]
    for module in {item.module for item in items}:  # type: ignore[attr-defined]
        module.create_model = _create_model
        name = "_assert_reset_classifier_preserves_parent_device_dtype"
        setattr(module, name, _or_fixed_prototypes(getattr(module, name)))


def _model_name(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("model_name", "")) if callspec else ""


def _create_model(name: str, pretrained: bool = False, **kwargs: Any) -> torch.nn.Module:
    if pretrained and name not in _list_models(pretrained=True):
        kwargs["pretrained_cfg_overlay"] = {"state_dict": _weights(name)}
    return timm.create_model(name, pretrained=pretrained, **kwargs)


def _weights(name: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        model = timm.create_model(name)
    return {key: torch.zeros_like(tensor, device="cpu") for key, tensor in model.state_dict().items()}


def _or_fixed_prototypes(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def assertion(model: Any) -> None:
        if model.head.prototype_kind == "learned":
            original(model)
            return
        model.to(device="meta", dtype=torch.float64)
        expected, training = next(model.parameters()), model.training
        model.reset_classifier(0)
        model.reset_classifier(2)
        weight = model.get_classifier().get_buffer("weight")
        assert (weight.device, weight.dtype) == (expected.device, expected.dtype)
        assert all(module.training == training for module in model.modules())

    return assertion
