"""timm's ResNet with a prototype head, for images of 224 and of 32 pixels, and He et al.'s for CIFAR."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import DropPath
from timm.models import checkpoint_seq
from timm.models._features import feature_take_indices
from timm.models.resnet import ResNet, make_blocks
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.models.base import PrototypeModel, split_head_args


class ProtoResNet(PrototypeModel, ResNet):
    """timm's ResNet with a :class:`~zoo.models.heads.PrototypeHead`.

    Args:
        block, layers: as for timm's ResNet.
        small_stem: stride of a 3x3 stem without max-pooling: 1 or True for images of 32 pixels (the papers'
            ResNet-18), 2 for 64; 0: timm's own stem.
        kwargs: see :class:`~zoo.models.base.PrototypeModel`.
    """

    if TYPE_CHECKING:  # torch.jit reads annotations of a class; timm assigns several types to these
        conv1: Any
        bn1: Any
        maxpool: Any
        feature_info: Any

    def __init__(
        self,
        block: Any,
        layers: tuple[int, ...],
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        *,
        small_stem: int = 0,
        device: Any = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        dd = {"device": device, "dtype": dtype}
        head_args, backbone_args = split_head_args(kwargs)
        self._build_backbone(block, layers, in_chans, small_stem, **backbone_args, **dd)
        self.drop_rate = drop_rate
        self._build_head(num_classes, global_pool, drop_rate=drop_rate, **head_args, **dd)

    def _build_backbone(
        self, block: Any, layers: tuple[int, ...], in_chans: int, small_stem: int, **kwargs: Any
    ) -> None:
        super().__init__(block, layers, num_classes=0, in_chans=in_chans, **kwargs)
        del self.global_pool, self.fc
        if small_stem:
            dd: dict[str, Any] = {"device": kwargs.get("device"), "dtype": kwargs.get("dtype")}
            self.conv1 = nn.Conv2d(in_chans, self.bn1.num_features, 3, int(small_stem), 1, bias=False, **dd)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.maxpool = nn.Identity()
            for info in self.feature_info:
                info["reduction"] = max(info["reduction"] // 4, 1) * small_stem


class PadShortcut(nn.Module):
    """He et al.'s shortcut of option A: every second pixel, and zeros for the new channels. No parameters."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + new_channels, ceil(H/2), ceil(W/2))."""
        before = self.new_channels // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, before, self.new_channels - before))


class _ThreeStages(ProtoResNet):
    """A stem without pooling and three stages, as the networks that were made for CIFAR have."""

    if TYPE_CHECKING:
        act1: nn.Module
        layer1: nn.Sequential
        layer2: nn.Sequential
        layer3: nn.Sequential
        # Each network's own method: names, layer1 to layer3, and stages, of block, layers, channels before, and theirs.
        _make_stages: Callable[..., list[tuple[str, nn.Module]]]

    _first_reduction: int
    """By how much the first stage makes images smaller; each after it halves them."""

    _checkpoints_stages = False
    """Whether gradient checkpointing keeps the feature maps between stages alone, and not those between their parts."""

    def _build_backbone(
        self,
        block: Any,
        layers: tuple[int, ...],
        in_chans: int,
        small_stem: int,
        *,
        stem_channels: int = 16,
        channels: tuple[int, ...] = (16, 32, 64),
        drop_path_rate: float = 0.0,
        zero_init_last: bool = True,
        **dd: Any,
    ) -> None:
        nn.Module.__init__(self)
        self.in_chans = in_chans
        self.grad_checkpointing = False
        self.conv1 = nn.Conv2d(in_chans, stem_channels, 3, stride=1, padding=1, bias=False, **dd)
        self.bn1 = nn.BatchNorm2d(stem_channels, **dd)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity()
        self.feature_info = [{"num_chs": stem_channels, "reduction": 1, "module": "act1"}]
        stages = self._make_stages(block, layers, stem_channels, channels, drop_path_rate=drop_path_rate, **dd)
        for (name, stage), width in zip(stages, channels, strict=True):
            self.add_module(name, stage)
            reduction = self._first_reduction * 2 ** (len(self.feature_info) - 1)
            self.feature_info.append({"num_chs": width, "reduction": reduction, "module": name})
        self.num_features = channels[-1]
        self.init_weights(zero_init_last=zero_init_last)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the feature map of the last stage."""
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.maxpool(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            stages = [self.layer1, self.layer2, self.layer3]
            x = checkpoint_seq(stages, x, flatten=not self._checkpoints_stages)
        else:
            x = self.layer3(self.layer2(self.layer1(x)))
        return x

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps after the stem and each stage; see timm's ResNet."""
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be 'NCHW', not {output_fmt!r}")
        taken, last = feature_take_indices(len(self.feature_info), indices)
        x = self.act1(self.bn1(self.conv1(x)))
        intermediates = [x] if 0 in taken else []
        x = self.maxpool(x)
        stages = [self.layer1, self.layer2, self.layer3]
        for index, stage in enumerate(stages[:last] if stop_early else stages, start=1):
            if self.grad_checkpointing and not torch.jit.is_scripting():
                x = checkpoint_seq([stage], x, flatten=not self._checkpoints_stages)
            else:
                x = stage(x)
            if index in taken:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the stages after the last of ``indices``, and the head; see timm's ResNet."""
        taken, last = feature_take_indices(len(self.feature_info), indices)
        stages = [info["module"] for info in self.feature_info[1:]]
        for name in stages[last:]:
            setattr(self, name, nn.Sequential())
        if last == 0:
            self.maxpool = nn.Identity()
        pruned = last < len(stages)
        if pruned:
            self.num_features = self.feature_info[last]["num_chs"]
        if prune_head or pruned:
            self.reset_classifier(0, "")
        return taken


class ProtoCifarResNet(_ThreeStages):
    """The CIFAR ResNets of 6n + 2 layers with a prototype head: three stages of 16, 32 and 64 channels.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (shortcuts of option A).
    """

    _first_reduction = 1

    def _make_stages(
        self, block: Any, layers: tuple[int, ...], before: int, channels: tuple[int, ...], **kwargs: Any
    ) -> list[tuple[str, nn.Module]]:
        stages: list[tuple[str, nn.Module]]
        stages, _ = make_blocks((block,) * 3, channels, layers, before, norm_layer=nn.BatchNorm2d, **kwargs)
        for (_, stage), width in zip(stages, channels, strict=True):
            first: Any = stage[0]  # type: ignore[index]
            if first.downsample is not None:
                first.downsample = PadShortcut(width // 2)
        return stages

    def init_weights(self, zero_init_last: bool = True) -> None:
        """As timm's ResNet, but for the blocks that widen."""
        super().init_weights(zero_init_last=zero_init_last)
        for stage in (self.layer2, self.layer3):
            # With a zero scale, a channel that the shortcut pads with zeros would be 0 before its ReLU, and so without
            # a gradient for ever.
            nn.init.ones_(stage[0].bn2.weight)  # type: ignore[union-attr, arg-type]


class ProtoResNet9(_ThreeStages):
    """ResNet-9 with a prototype head: convolutions that halve the image by max-pooling, two with a residual block.

    Args:
        block, layers: of the residual blocks, and how many end each stage.
        stem_channels: of the first convolution.
        channels: of the three stages.
        kwargs: see :class:`ProtoResNet`.

    Source: David Page 2018, "How to Train Your ResNet": a stem of 64 channels, stages of 128, 256 and 512 with a block
    at the end of the first and the last, and the last feature map pooled by its maximum.
    """

    _first_reduction = 2
    # The parts of a stage are single layers: to keep what is between them saves nothing, and a ReLU overwrites it.
    _checkpoints_stages = True

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for timm's layer-wise learning rates: the stem, and of every stage its convolution and its blocks."""
        stage = r"^layer(\d+)"
        # A residual block comes after the convolution of its stage, which sorts before it as it has no number.
        blocks = stage if coarse else [(stage + r"\.block(\d+)", None), (stage, None)]
        return {"stem": r"^conv1|^bn1", "blocks": blocks}

    def _make_stages(
        self,
        block: Any,
        layers: tuple[int, ...],
        before: int,
        channels: tuple[int, ...],
        *,
        drop_path_rate: float,
        **dd: Any,
    ) -> list[tuple[str, nn.Module]]:
        stages: list[tuple[str, nn.Module]] = []
        for width, blocks in zip(channels, layers, strict=True):
            parts: dict[str, nn.Module] = {
                "conv": nn.Conv2d(before, width, 3, padding=1, bias=False, **dd),
                "pool": nn.MaxPool2d(2),
                "bn": nn.BatchNorm2d(width, **dd),
                "act": nn.ReLU(inplace=True),
            }
            for index in range(blocks):
                drop_path = DropPath(drop_path_rate) if drop_path_rate else None
                parts[f"block{index}"] = block(width, width, drop_path=drop_path, **dd)
            stages.append((f"layer{len(stages) + 1}", nn.Sequential(OrderedDict(parts))))
            before = width
        return stages
