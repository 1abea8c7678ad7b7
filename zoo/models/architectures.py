"""Architectures with a prototype head, registered with timm from one table.

Each is timm's own class with its pooling and classifier replaced by one ``head`` module, so every key of the backbone
and every verb of the model stays timm's.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.swin_transformer import checkpoint_filter_fn

from zoo.bundle import pretrained_models
from zoo.models.base import PrototypeModel, for_classes
from zoo.models.resnets import ProtoCifarResNet, ProtoResNet, ProtoResNet9
from zoo.models.swin import ProtoSwin
from zoo.plugins import timm_cfgs


class _Architecture(NamedTuple):
    """One row: a class and its arguments, what timm's builder and timm's configuration say of it, and its backbone.

    ``plain`` is the architecture of timm's own that has the same backbone, with the same keys; None where none has.
    """

    cls: type[PrototypeModel]
    args: dict[str, Any]
    builder: dict[str, Any]
    cfg: dict[str, Any]
    backbone: str
    plain: str | None = None

    @property
    def doc(self) -> str:
        return f"{self.backbone}; {self.args.get('head', 'linear')} projection to {self.args['embed_dim']} dimensions."

    def with_mlp(self) -> _Architecture:
        """The encoder of the papers' contrastive recipes."""
        return self._replace(args={**self.args, "head": "mlp", "embed_dim": 128})


def _features(stages: int) -> dict[str, Any]:
    return {"feature_cfg": {"out_indices": tuple(range(stages))}}


def _cfg(side: int, pool: int, crop_pct: float, mean: Any, std: Any, **more: Any) -> dict[str, Any]:
    return {
        "input_size": (3, side, side),
        "pool_size": (pool, pool),
        "crop_pct": crop_pct,
        "interpolation": "bicubic",
        "mean": mean,
        "std": std,
        "first_conv": "conv1",
        "classifier": "head.fc",
        "license": "apache-2.0",
        **more,
    }


def _cifar(pool: int) -> dict[str, Any]:
    return _cfg(32, pool, 1.0, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616), num_classes=10)


def _imagenet(crop_pct: float, **more: Any) -> dict[str, Any]:
    return _cfg(224, 7, crop_pct, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, num_classes=1000, **more)


# Depth: block, blocks of the four stages, channels of the last.
_RESNETS: dict[int, tuple[Any, tuple[int, ...], int]] = {
    18: (BasicBlock, (2, 2, 2, 2), 512),
    34: (BasicBlock, (3, 4, 6, 3), 512),
    50: (Bottleneck, (3, 4, 6, 3), 2048),
    101: (Bottleneck, (3, 4, 23, 3), 2048),
    152: (Bottleneck, (3, 8, 36, 3), 2048),
}


def _he(depth: int) -> _Architecture:
    return _Architecture(
        ProtoCifarResNet,
        {"block": BasicBlock, "layers": ((depth - 2) // 6,) * 3, "embed_dim": 64},
        _features(4),
        _cifar(8),
        f"He et al.'s ResNet-{depth} for 32-pixel images",
    )


def _resnet_cifar(depth: int) -> _Architecture:
    block, layers, width = _RESNETS[depth]
    return _Architecture(
        ProtoResNet,
        {"block": block, "layers": layers, "small_stem": True, "embed_dim": width},
        _features(5),
        _cifar(4),
        f"ResNet-{depth} with a 3x3 stem and no max-pooling for 32-pixel images",
    )


def _resnet(depth: int) -> _Architecture:
    block, layers, width = _RESNETS[depth]
    return _Architecture(
        ProtoResNet,
        {"block": block, "layers": layers, "embed_dim": width},
        _features(5),
        _imagenet(0.875),
        f"ResNet-{depth} for 224-pixel images",
        plain=f"resnet{depth}",
    )


def _resnet9(channels: tuple[int, int, int]) -> _Architecture:
    return _Architecture(
        ProtoResNet9,
        {
            "block": BasicBlock,
            "layers": (1, 0, 1),
            "stem_channels": 16,
            "channels": channels,
            "global_pool": "max",
            "embed_dim": channels[-1],
        },
        _features(4),
        _cifar(4),
        f"David Page's ResNet-9 of {', '.join(map(str, channels))} channels for 32-pixel images",
    )


_RESNET18_64 = _Architecture(
    ProtoResNet,
    {"block": BasicBlock, "layers": (2, 2, 2, 2), "small_stem": 2, "embed_dim": 512},
    _features(5),
    _cfg(64, 4, 1.0, (0.4802, 0.4481, 0.3975), (0.277, 0.269, 0.282), num_classes=200),
    "ResNet-18 with a 3x3 stem of stride 2 and no max-pooling for 64-pixel images",
)

_SWIN_TINY = _Architecture(
    ProtoSwin,
    {
        "patch_size": 4,
        "window_size": 7,
        "width": 96,
        "depths": (2, 2, 6, 2),
        "num_heads": (3, 6, 12, 24),
        "embed_dim": 768,
    },
    {
        "feature_cfg": {"flatten_sequential": True, "out_indices": (0, 1, 2, 3)},
        "pretrained_filter_fn": checkpoint_filter_fn,
    },
    _imagenet(0.9, fixed_input_size=True, first_conv="patch_embed.proj"),
    "Swin-T for 224-pixel images, or for others with img_size",
    plain="swin_tiny_patch4_window7_224",
)

# Arguments here are part of what a checkpoint means: never change one, add a name.
_ARCHITECTURES: dict[str, _Architecture] = {
    **{f"proto_resnet{depth}_cifar": _he(depth) for depth in (20, 32, 44, 56)},
    **{f"proto_resnet{depth}_cifar": _resnet_cifar(depth) for depth in (18, 34, 50)},
    **{f"proto_resnet{depth}": _resnet(depth) for depth in _RESNETS},
    "proto_resnet9_cifar": _resnet9((32, 64, 128)),
    "proto_wide_resnet9_cifar": _resnet9((32, 96, 256)),
    "proto_resnet18_64": _RESNET18_64,
    "proto_resnet18_cifar_mlp": _resnet_cifar(18).with_mlp(),
    "proto_resnet50_mlp": _resnet(50).with_mlp(),
    "proto_swin_tiny": _SWIN_TINY,
}


_Filter = Callable[[dict[str, Any], PrototypeModel], dict[str, Any]]

# No arguments of a model, and in a stranger's configuration a way to weights of another file.
_OF_BUILDER = frozenset(inspect.signature(build_model_with_cfg).parameters)

# Digests are compared by zoo.create_model, not here.
default_cfgs = generate_default_cfgs(dict(timm_cfgs({name: row.cfg for name, row in _ARCHITECTURES.items()})))


def _weights_args(arch: str, pretrained: bool, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of the model whose weights are meant, so that timm.create_model("arch.tag") needs none."""
    told: Mapping[str, Any] | None = kwargs.get("pretrained_model_args")
    if told is not None:  # of a folder or the Hub's, which timm has read
        return told
    cfg = kwargs.get("pretrained_cfg")
    tag = cfg if isinstance(cfg, str) else None
    if pretrained and cfg is None:
        tag = default_cfgs[arch].tags[0]
    known = pretrained_models().get(f"{arch}.{tag}")
    if known is None:
        return {}
    model_args = {"num_classes": known.config["num_classes"], **known.config.get("model_args", {})}
    # timm takes the channels from pretrained_cfg.
    return {key: value for key, value in model_args.items() if key != "in_chans" and key not in _OF_BUILDER}


def _keep_own(state: dict[str, Any], model: PrototypeModel, *, temperature: bool, before: _Filter) -> dict[str, Any]:
    """Weights without the offsets of other classes than the model's, and with ``temperature`` with the model's own."""
    state, own = before(state, model), model.state_dict()
    head = model.get_classifier(name_only=True)
    offsets = state.get(f"{head}.offsets")
    if offsets is not None and len(offsets) != model.num_classes:
        del state[f"{head}.offsets"]
    if temperature and f"{head}.temperature" in own:
        state[f"{head}.temperature"] = own[f"{head}.temperature"]
    return state


def _entrypoint(arch: str) -> Callable[..., PrototypeModel]:
    row = _ARCHITECTURES[arch]

    def create(pretrained: bool = False, **kwargs: Any) -> PrototypeModel:
        weights = _weights_args(arch, pretrained, kwargs)
        # timm has put a folder's arguments among what it was asked for: who asks for just these asks for nothing.
        told = kwargs.get("pretrained_model_args") or {}
        asked = {key: value for key, value in kwargs.items() if key not in told or told[key] != value}
        args = {**row.args, **for_classes(weights, asked.get("num_classes")), **asked}
        if not told and "num_classes" not in asked:  # timm reads it from pretrained_cfg, which may have been overlaid
            args.pop("num_classes", None)
        # timm's builder writes into feature_cfg.
        builder = copy.deepcopy(row.builder)
        before = builder.pop("pretrained_filter_fn", lambda state, model: state)
        keep_own = partial(_keep_own, temperature="temperature" in asked, before=before)
        model: PrototypeModel = build_model_with_cfg(
            row.cls, arch, pretrained, pretrained_filter_fn=keep_own, **builder, **args
        )
        return model

    create.__name__ = create.__qualname__ = arch
    create.__doc__ = row.doc
    create.__module__ = __name__
    return create


def architectures() -> tuple[str, ...]:
    """Names of the registered architectures."""
    return tuple(_ARCHITECTURES)


def plain_architecture(name: str) -> str | None:
    """The architecture of timm's own that has the backbone of ``name``, key by key; None where there is none."""
    row = _ARCHITECTURES.get(name)
    return None if row is None else row.plain


for _name in _ARCHITECTURES:
    # timm appends each name to __all__, so that it must be an attribute too.
    setattr(sys.modules[__name__], _name, register_model(_entrypoint(_name)))
