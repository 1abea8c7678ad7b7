"""Checkpoints without pickle: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from zoo.errors import ProtozooError
from zoo.files import write_atomically


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        epoch: epochs done.
        seconds: time spent in them.
        history: one mapping of column to value an epoch, as in metrics.csv.
    """

    epoch: int
    seconds: float
    history: tuple[dict[str, Any], ...]


def save_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write model, optimiser state and progress; a kill leaves the former checkpoint or this one."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            target = tensors if isinstance(value, Tensor) else scalars
            target[f"optimizer.{index}.{name}"] = value
    metadata = {
        "epoch": str(progress.epoch),
        "seconds": repr(progress.seconds),
        "history": json.dumps(progress.history),
        "optimizer": json.dumps(scalars),
    }
    # safetensors stores dense tensors only, channels_last weights among them are not.
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a checkpoint's state into ``model`` and ``optimizer``.

    Raises:
        ProtozooError: the file is damaged or of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
        # The hyper-parameters are the recipe's, which the run has checked to be the same.
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": _optimizer_state(tensors, metadata), "param_groups": groups})
        history = tuple(json.loads(metadata["history"]))
        return Progress(int(metadata["epoch"]), float(metadata["seconds"]), history)
    except (SafetensorError, RuntimeError, OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ProtozooError(f"{path} cannot be resumed from ({reason}): remove its folder to start again") from error


def _optimizer_state(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    moved = {name: tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}
    for name, value in {**json.loads(metadata["optimizer"]), **moved}.items():
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = value
    return state
