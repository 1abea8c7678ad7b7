"""The model of a bundle or of a finished run, as those need it who go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.data import ImageData, Storage, load_data
from training.few_shot import with_shots
from training.long_tail import with_long_tail
from zoo.bundle import Bundle, Preprocessing, find
from zoo.errors import ProtozooError
from zoo.files import sha256_of
from zoo.loading import load_bundle
from zoo.models.base import PrototypeModel
from zoo.runs import is_run, open_run


@dataclass(frozen=True)
class Pretrained:
    """A trained model with what it was trained by.

    Attributes:
        name: ``architecture.tag``.
        model: in float32, on the CPU, in evaluation mode.
        preprocessing: what it expects of an image.
        labels: class names, in the order of the labels it was trained with.
        record: of its bundle or run; ``recipe`` has the fields of what trained it.
        weights_sha256: digest of its weights' file.
    """

    name: str
    model: PrototypeModel
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    record: Mapping[str, Any]
    weights_sha256: str

    @property
    def architecture(self) -> str:
        """Its name without the tag."""
        return self.name.partition(".")[0]

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Fields of the recipe that trained it."""
        recipe: Mapping[str, Any] = self.record["recipe"]
        return recipe

    def to(self, device: str) -> PrototypeModel:
        """The model, moved to a torch device, channels_last.

        Raises:
            ProtozooError: there is no such device.
        """
        try:
            return self.model.to(device).to(memory_format=torch.channels_last)
        except (RuntimeError, AssertionError) as error:
            raise ProtozooError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error

    def load(self, data: str, storage: Storage = "auto") -> ImageData:
        """Data, as the model takes them: of its own classes what it was trained on, a long tail or a few shots of them.

        Args:
            data: as for :func:`training.data.load_data`, of any classes.
            storage: where the images are kept.

        Raises:
            DataError: the data cannot be read.
        """
        images = load_data(data, self.preprocessing, storage=storage).warn_left_out().in_order_of(self.labels)
        if images.classes != self.labels:
            return images
        seed = self.recipe.get("seed", 0)
        images = with_long_tail(images, self.recipe.get("imbalance", 1.0), seed=seed)
        # What `fit` takes shots for is prototypes: it trains nothing.
        shots = None if self.record["objective"] == "class_means" else self.recipe.get("shots")
        return with_shots(images, shots, seed=seed)

    @property
    def lineage(self) -> dict[str, Any]:
        """What the record of a model that goes on from this one says about it."""
        data = {name: self.record["data"][name] for name in ("name", "license")}
        accuracy = self.record.get("metrics", {}).get("test_accuracy")  # by its own classifier, whatever comes after it
        measured = {} if accuracy is None else {"test_accuracy": accuracy}
        return {
            "name": self.name,
            "weights_sha256": self.weights_sha256,
            "objective": self.record["objective"],
            "data": data,
            "command": self.record["command"],
            **measured,
        }


def open_pretrained(name_or_path: str) -> Pretrained:
    """Read a bundle (a folder, a zoo name or ``hf-hub:owner/name``) or the folder of a finished run.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        ProtozooError: the run is not finished, or its files cannot be read.
    """
    path = Path(name_or_path).expanduser()
    if is_run(path):
        run = open_run(path)
        digest = sha256_of(path / "model.safetensors")
        return Pretrained(run.name, run.model, run.preprocessing, run.labels, run.record, digest)
    bundle = Bundle.open(find(name_or_path))
    model = load_bundle(bundle).eval()
    return Pretrained(bundle.name, model, bundle.preprocessing, bundle.labels, bundle.record, bundle.weights_sha256)
