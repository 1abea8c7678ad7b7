"""Checkpoints without pickle: safetensors files, written atomically, each with its digest in its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from zoo.errors import ProtozooError
from zoo.files import sha256_of, write_atomically

_DIGITS = 16  # of the digest in a name: enough against damage, which is all that it guards against


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        epoch: epochs done.
        step: steps done in the epoch that has begun.
        seconds: time spent so far, and ``epoch_seconds`` of it in this epoch.
        loss_sum: of the losses of this epoch's steps.
        history: one mapping of column to value an epoch, as in metrics.csv.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    loss_sum: float = 0.0
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class State:
    """What moves in a training."""

    model: nn.Module
    objective: nn.Module
    optimizer: torch.optim.Optimizer


class Checkpoints:
    """A folder of checkpoints, of which the newest ``keep`` stay."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    @property
    def empty(self) -> bool:
        """Whether there is none."""
        return not self._newest_first()

    def save(self, state: State, progress: Progress, *, steps_per_epoch: int) -> None:
        """Write everything that a resumption needs; a kill leaves the former checkpoints or this one too.

        Raises:
            OSError: the disk is full, or the folder has gone.
        """
        content = _pack(state, progress)
        step = progress.epoch * steps_per_epoch + progress.step
        digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
        self.folder.mkdir(exist_ok=True)
        write_atomically(self.folder / f"{step:09}-{digest}.safetensors", content)
        for old in self._newest_first()[self.keep :]:
            old.unlink(missing_ok=True)

    def load(self, state: State, say: Callable[[str], None]) -> Progress | None:
        """Put the newest sound checkpoint into ``state``; None where there has never been one.

        Raises:
            ProtozooError: all are damaged, or of another model.
        """
        paths = self._newest_first()
        for path in paths:
            if sha256_of(path)[:_DIGITS] != path.stem.split("-")[1]:
                say(f"{path} is damaged: trying the one before it")
                continue
            return _unpack(path, state)
        if paths:
            raise ProtozooError(f"{self.folder} cannot be resumed from (all files damaged): remove the run's folder")
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*-*.safetensors"), reverse=True)


def _pack(state: State, progress: Progress) -> bytes:
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= {f"objective.{name}": tensor for name, tensor in state.objective.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, values in state.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            target = tensors if isinstance(value, Tensor) else scalars
            target[f"optimizer.{index}.{name}"] = value
    groups: list[dict[str, Any]] = []
    for index, group in enumerate(state.optimizer.state_dict()["param_groups"]):
        tensors |= {f"group.{index}.{name}": value for name, value in group.items() if isinstance(value, Tensor)}
        groups.append({name: value for name, value in group.items() if isinstance(value, (bool, int, float))})
    metadata = {name: json.dumps(value) for name, value in (("optimizer", scalars), ("groups", groups))}
    metadata["progress"] = json.dumps(asdict(progress))
    # safetensors stores dense tensors only, channels_last weights among them are not.
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)


def _unpack(path: Path, state: State) -> Progress:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state.model.load_state_dict(dict(_under("model.", tensors)))
        state.objective.load_state_dict(dict(_under("objective.", tensors)))
        # The hyper-parameters are the recipe's, which the run has checked to be the same; what else is there, such as
        # LAMB's and Adan's count of steps, came with the training.
        fresh = state.optimizer.state_dict()["param_groups"]
        kept = json.loads(metadata["groups"]) if "groups" in metadata else [{}] * len(fresh)  # of before
        groups = [
            {**kept[index], **dict(_under(f"group.{index}.", tensors)), **group} for index, group in enumerate(fresh)
        ]
        state.optimizer.load_state_dict({"state": _optimizer_state(tensors, metadata), "param_groups": groups})
        _lay_out_as_parameters(state.optimizer)
        fields = json.loads(metadata["progress"])
        return Progress(**{**fields, "history": tuple(fields["history"])})
    except (SafetensorError, RuntimeError, OSError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ProtozooError(f"{path} cannot be resumed from ({reason}): remove the run's folder") from error


def _lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """In the order in memory that the state had: norms of it, such as LAMB's, round by that order."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((name.removeprefix(prefix), tensor) for name, tensor in tensors.items() if name.startswith(prefix))


def _optimizer_state(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    moved = {name: tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}
    for name, value in {**json.loads(metadata["optimizer"]), **moved}.items():
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = value
    return state
