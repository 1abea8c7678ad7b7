"""The folder of a run: what stands where, and when it may be resumed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import nn

from training.checkpoint import Checkpoints, Progress, State
from training.data import ImageData, Storage
from training.data.identity import difference, identity
from training.provenance import code_revision
from training.recipe import Recipe
from zoo.errors import ProtozooError
from zoo.files import write_atomically

_LOCK = ".lock"


class Run:
    """A folder that a training writes and an export reads.

    ``recipe.yaml`` (what was asked), ``data.json`` (what was read), ``log.txt`` (for people), ``metrics.csv`` (for
    programs), ``checkpoints/`` (to resume from), the trackers' folders, and at the end ``model.safetensors``,
    ``pictures/`` (of the card) and ``result.json``.
    """

    def __init__(self, path: Path, *, keep_checkpoints: int = 2) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints", keep=keep_checkpoints)
        self.result = path / "result.json"
        self.pictures = path / "pictures"
        self._log = path / "log.txt"
        self._recipe = path / "recipe.yaml"
        self._images = path / "data.json"

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return self.result.is_file()

    def check(self, recipe: Recipe, data: str) -> None:
        """Refuse a folder that holds something else than a run of this recipe on this data.

        Raises:
            ProtozooError: it does; the field that differs is named.
        """
        if not self._recipe.is_file():
            # A kill during the very first write leaves its temporary file and the lock behind.
            known = (".recipe.yaml.", _LOCK)
            if self.path.is_dir() and any(not entry.name.startswith(known) for entry in self.path.iterdir()):
                raise ProtozooError(f"{self.path} is not empty and holds no run: choose another --out")
            return
        earlier, settings = self._settings(), _settings(recipe, data)
        earlier.pop("code_revision", None)
        # A field that did not exist when the run began had its default's meaning.
        earlier = {**_defaults(), **earlier}
        for field in sorted({*settings, *earlier}):
            if settings.get(field) != earlier.get(field):
                raise ProtozooError(
                    f"{self.path} holds a run with {field} = {earlier.get(field)!r}, not {settings.get(field)!r}: "
                    "choose another --out, or give the same settings to resume"
                )

    def storage(self, asked: Storage, recipe: Recipe) -> Storage:
        """Where the images are to be: as asked, or where a run that is resumed had them.

        Raises:
            ProtozooError: what is asked for would give other crops than those that the run was begun with.
        """
        begun: Storage | None = self._read_images().get("storage")
        if begun is None or asked == begun:
            return asked
        if asked != "auto" and recipe.resizes_crops:
            raise ProtozooError(
                f"{self.path} holds a run with storage = {begun!r}, not {asked!r}, where augmentation = "
                f"{recipe.augmentation} crops other pixels: give --storage {begun} to resume, or choose another --out"
            )
        return begun if asked == "auto" else asked

    def check_images(self, data: ImageData) -> None:
        """Refuse to go on with other images than those that the run was begun with.

        Raises:
            ProtozooError: they are others; how is said.
        """
        begun = self._read_images()
        if begun and (changed := difference(begun, identity(data))):
            raise ProtozooError(
                f"{self.path} holds a run on other images: {changed}. Put them back as they were to resume, or choose "
                "another --out"
            )

    def _read_images(self) -> dict[str, Any]:
        """Empty where there is nothing to resume, and of runs that began before they kept it."""
        if not self._images.is_file() or self.checkpoints.empty:
            return {}
        try:
            images: dict[str, Any] = json.loads(self._images.read_bytes())
        except ValueError as error:
            raise ProtozooError(f"{self._images} is damaged ({error}): choose another --out") from error
        return images

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from training in the folder, which is made where there is none.

        Raises:
            ProtozooError: one does, or the folder cannot be made or written to.
        """
        with self._writing():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise ProtozooError(
                    f"another process trains in {self.path}: let it end, or choose another --out"
                ) from error
        try:
            yield
        finally:
            lock.release()

    def start(self, recipe: Recipe, data: str, images: ImageData) -> None:
        """Begin in the folder, which must be held :meth:`alone`: clear away what a kill has left half written.

        Args:
            recipe: what was asked.
            data: where the images are from.
            images: all that were read there.

        Raises:
            ProtozooError: the folder cannot be written to.
        """
        with self._writing():
            folders = (self.path, self.checkpoints.folder, self.pictures)
            for leftover in (path for folder in folders for path in folder.glob(".*.*.*")):
                leftover.unlink()
            if not self._recipe.is_file():
                settings = {**_settings(recipe, data), "code_revision": code_revision()}
                write_atomically(self._recipe, yaml.safe_dump(settings, sort_keys=False).encode())
            if not self._read_images():
                read = {**identity(images), "storage": images.storage}
                write_atomically(self._images, json.dumps(read, indent=2).encode())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ProtozooError(
                f"{self.path} cannot be written ({error.strerror or error}): make room or choose another --out; what "
                "stands there is whole, and the same command goes on from it"
            ) from error

    @property
    def precision(self) -> str | None:
        """What the run was begun with; None where it was not begun."""
        return self._settings().get("precision") if self._recipe.is_file() else None

    @property
    def revision(self) -> str:
        """The code that the run was started with."""
        return str(self._settings().get("code_revision", "unknown"))

    def _settings(self) -> dict[str, Any]:
        settings = yaml.safe_load(self._recipe.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ProtozooError(f"{self._recipe} is damaged: choose another --out")
        return settings

    def log(self, line: str) -> None:
        """Append a line to log.txt."""
        with self._writing(), self._log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def write_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Replace metrics.csv by one row an epoch."""
        text = io.StringIO()
        # What is not measured at every epoch may be missing in the first.
        writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in history for name in row)))
        writer.writeheader()
        writer.writerows(history)
        with self._writing():
            write_atomically(self.path / "metrics.csv", text.getvalue().encode())

    def save_checkpoint(self, state: State, progress: Progress, *, steps_per_epoch: int) -> None:
        """Write a checkpoint; see :class:`~training.checkpoint.Checkpoints`."""
        with self._writing():
            self.checkpoints.save(state, progress, steps_per_epoch=steps_per_epoch)

    def finish(self, model: nn.Module, result: Mapping[str, Any], pictures: Mapping[str, bytes]) -> None:
        """Write weights and pictures, then the record whose presence says that the run is finished."""
        tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
        with self._writing():
            write_atomically(self.path / "model.safetensors", save(tensors, {"format": "pt"}))
            self.pictures.mkdir(exist_ok=True)
            for name, picture in pictures.items():
                write_atomically(self.pictures / name, picture)
            write_atomically(self.result, json.dumps(result, indent=2).encode())

    def read_result(self) -> dict[str, Any]:
        """The record of a finished run."""
        result: dict[str, Any] = json.loads(self.result.read_bytes())
        return result


def _settings(recipe: Recipe, data: str) -> dict[str, Any]:
    return {"data": data, **recipe.model_dump(mode="json")}


def _defaults() -> dict[str, Any]:
    fields = Recipe.model_fields.items()
    return {name: _plain(field.default) for name, field in fields if not field.is_required()}


def _plain(value: Any) -> Any:
    """As YAML gives it back."""
    return list(value) if isinstance(value, tuple) else value
