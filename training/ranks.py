"""The processes of a training: which one this is, what they agree on, and BatchNorm over all of them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Ranks:
    """A view of accelerate's processes.

    Attributes:
        index: of this process, from 0.
        count: of processes.
        group: all of them, or None where there is one.
        main: whether this process writes files and speaks.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.index: int = accelerator.process_index
        self.count: int = accelerator.num_processes
        self.group: dist.ProcessGroup | None = dist.group.WORLD if self.count > 1 else None
        self.main: bool = accelerator.is_main_process
        self._device: torch.device = accelerator.device

    def any(self, flag: bool) -> bool:
        """Whether it is so on any of them."""
        if self.group is None:
            return flag
        value = torch.tensor(int(flag), device=self._device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.group is None:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.count

    def from_main(self, value: Any) -> Any:
        """The main process's ``value``, anything that pickles."""
        values = [value]
        if self.group is not None:
            dist.broadcast_object_list(values, device=self._device)
        return values[0]


def accelerator_for(precision: str, **kwargs: Any) -> Accelerator:
    """Accelerate's view of the machine: ``accelerate launch`` and ``torchrun`` say which processes there are."""
    # accelerate holds one precision a process and refuses a second; a library's user may train several recipes.
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision="bf16" if precision == "bf16" else "no", cpu=not torch.cuda.is_available(), **kwargs
    )


def synchronise_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Let every BatchNorm normalise by the statistics of all ranks' samples; names and state stay."""
    if device.type != "cpu":
        converted: nn.Module = convert_sync_batchnorm(model)
        return converted
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = {nn.BatchNorm1d: _CpuSyncBatchNorm1d, nn.BatchNorm2d: _CpuSyncBatchNorm2d}[type(module)]
    return model


class _SumOverRanks(torch.autograd.Function):
    # Every rank's loss depends on the sum, so that each rank's gradient is the sum of all of theirs.
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _CpuSyncBatchNorm(_BatchNorm):
    """What torch.nn.SyncBatchNorm has no CPU kernels for; for tests and for machines without a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        shape = [1, -1] + [1] * (x.ndim - 2)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = _SumOverRanks.apply(torch.tensor(float(x.numel() // x.shape[1]), dtype=wide.dtype))
        mean = _SumOverRanks.apply(wide.sum(axes)) / count
        centred = wide - mean.view(shape)
        variance = _SumOverRanks.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self._update(mean, variance * count / (count - 1))
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        normalised: Tensor = scaled * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(x.dtype)

    def _update(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(variance.to(self.running_var), momentum)


class _CpuSyncBatchNorm1d(_CpuSyncBatchNorm, nn.BatchNorm1d):
    pass


class _CpuSyncBatchNorm2d(_CpuSyncBatchNorm, nn.BatchNorm2d):
    pass
