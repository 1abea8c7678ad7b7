"""The folder of a run: what stands where, and when it may be resumed."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save
from torch import nn

from training.recipe import Recipe
from zoo import __version__
from zoo.errors import ProtozooError
from zoo.files import write_atomically


class Run:
    """A folder that a training writes and an export reads.

    ``recipe.yaml`` (what was asked), ``log.txt`` (for people), ``metrics.csv`` (for programs),
    ``checkpoint.safetensors`` (to resume from), and at the end ``model.safetensors`` and ``result.json``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / "checkpoint.safetensors"
        self.result = path / "result.json"
        self._log = path / "log.txt"

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return self.result.is_file()

    def claim(self, recipe: Recipe, data: str) -> str:
        """Start the run, or go on with one of the same recipe and data.

        Returns:
            The code revision that the run was started with.

        Raises:
            ProtozooError: the folder holds something else, or a run with other settings.
        """
        settings = {"data": data, **recipe.model_dump(mode="json")}
        file = self.path / "recipe.yaml"
        if file.is_file():
            earlier = yaml.safe_load(file.read_text(encoding="utf-8"))
            revision = str(earlier.pop("code_revision", "unknown"))
            for field in sorted({*settings, *earlier}):
                if settings.get(field) != earlier.get(field):
                    raise ProtozooError(
                        f"{self.path} holds a run with {field} = {earlier.get(field)!r}, not {settings.get(field)!r}: "
                        "choose another --out, or give the same settings to resume"
                    )
            return revision
        # A kill during the very first write leaves its temporary file behind.
        if self.path.is_dir() and any(not entry.name.startswith(".recipe.yaml.") for entry in self.path.iterdir()):
            raise ProtozooError(f"{self.path} is not empty and holds no run: choose another --out")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProtozooError(f"{self.path} cannot be made ({error.strerror}): choose another --out") from error
        revision = code_revision()
        write_atomically(file, yaml.safe_dump({**settings, "code_revision": revision}, sort_keys=False).encode())
        return revision

    def log(self, line: str) -> None:
        """Append a line to log.txt."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Replace metrics.csv by one row an epoch."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
        write_atomically(self.path / "metrics.csv", text.getvalue().encode())

    def finish(self, model: nn.Module, result: Mapping[str, Any]) -> None:
        """Write the weights, then the record whose presence says that the run is finished."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
        write_atomically(self.path / "model.safetensors", save(tensors, {"format": "pt"}))
        write_atomically(self.result, json.dumps(result, indent=2).encode())

    def read_result(self) -> dict[str, Any]:
        """The record of a finished run."""
        result: dict[str, Any] = json.loads(self.result.read_bytes())
        return result


def code_revision() -> str:
    """The version, with the commit where the code runs from a git checkout."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return __version__
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{__version__}+g{answer.stdout.strip()}" if answer.returncode == 0 else __version__
