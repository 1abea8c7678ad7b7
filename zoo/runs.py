"""A finished training run, as those need it who make something of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel, timm_model


@dataclass(frozen=True)
class FinishedRun:
    """What a training leaves behind.

    Attributes:
        path: its folder.
        record: ``result.json``.
        model: with the trained weights, in evaluation mode, on the CPU.
        preprocessing: what the model expects of an image.
    """

    path: Path
    record: Mapping[str, Any]
    model: PrototypeModel
    preprocessing: Preprocessing

    @property
    def name(self) -> str:
        """``architecture.tag``."""
        return f"{self.record['architecture']}.{self.record['tag']}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the prototypes."""
        return tuple(self.record["label_names"])


def is_run(path: Path) -> bool:
    """Whether a training began in this folder."""
    return (path / "recipe.yaml").is_file()


def open_run(path: Path) -> FinishedRun:
    """Read the folder of a finished run.

    Raises:
        ProtozooError: it is no run, not finished, or its files cannot be read.
    """
    if not (path / "result.json").is_file():
        state = "is not finished: run its `protozoo train` again" if is_run(path) else "is no run"
        raise ProtozooError(f"{path} {state}")
    try:
        record = json.loads((path / "result.json").read_bytes())
        arguments = {**record["model_args"], "embed_dim": record["embed_dim"]}
        model = timm_model(record["architecture"], num_classes=len(record["label_names"]), **arguments).eval()
        model.load_state_dict(load_file(path / "model.safetensors"))
        return FinishedRun(path, record, model, Preprocessing.from_pretrained_cfg(record["preprocessing"]))
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ProtozooError(f"{path} cannot be read as a finished run ({reason}): train it again") from error
