"""The model of a bundle or of a finished run, as probes need it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from zoo.bundle import Bundle, Preprocessing, find
from zoo.errors import ProtozooError
from zoo.loading import create_model
from zoo.models.base import PrototypeModel, timm_model


@dataclass(frozen=True)
class Pretrained:
    """A trained model with what it was trained by.

    Attributes:
        name: ``architecture.tag``.
        model: in float32, on the CPU.
        preprocessing: what it expects of an image.
        labels: class names, in the order of the labels it was trained with.
        recipe: fields of the recipe that trained it.
    """

    name: str
    model: PrototypeModel
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    recipe: Mapping[str, Any]

    @property
    def architecture(self) -> str:
        """Its name without the tag."""
        return self.name.partition(".")[0]


def open_pretrained(name_or_path: str) -> Pretrained:
    """Read a bundle (a folder or a zoo name) or the folder of a finished run.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        ProtozooError: the run is not finished, or its files cannot be read.
    """
    run = Path(name_or_path).expanduser()
    if (run / "recipe.yaml").is_file():
        return _open_run(run)
    bundle = Bundle.open(find(name_or_path))
    model = create_model(f"local-dir:{bundle.path}")
    return Pretrained(bundle.name, model, bundle.preprocessing, bundle.labels, bundle.record["recipe"])


def _open_run(run: Path) -> Pretrained:
    if not (run / "result.json").is_file():
        raise ProtozooError(f"{run} is not finished: run its `protozoo train` again")
    try:
        result = json.loads((run / "result.json").read_bytes())
        labels = tuple(result["label_names"])
        arguments = {**result["model_args"], "embed_dim": result["embed_dim"], "num_classes": len(labels)}
        model = timm_model(result["architecture"], **arguments)
        model.load_state_dict(load_file(run / "model.safetensors"))
        preprocessing = Preprocessing.from_pretrained_cfg(result["preprocessing"])
        name = f"{result['architecture']}.{result['tag']}"
        return Pretrained(name, model, preprocessing, labels, result["recipe"])
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ProtozooError(f"{run} cannot be read as a finished run ({reason}): train it again") from error
