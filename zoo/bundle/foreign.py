"""What is not a bundle, said by what it is instead: pickled weights, a plain model of timm's, or something else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zoo.bundle.sums import SUMS
from zoo.errors import BundleError

_PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle")
_WEIGHTS = "model.safetensors"
FOLDED_FROM = "folded_from"
"""What the config.json of a plain model of timm's says, beside timm's schema, where protozoo has made it."""


def read_config(folder: Path) -> Any:
    """The JSON of ``config.json``, which may be of a stranger.

    Raises:
        OSError: there is no such file.
        ValueError: it is not JSON.
    """
    try:
        return json.loads((folder / "config.json").read_bytes())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def not_a_bundle(where: str, names: Iterable[str]) -> BundleError:
    """The error for a folder or repository of these files, of which none is ``SHA256SUMS``."""
    present = sorted(names)
    pickles = [name for name in present if name.endswith(_PICKLES)]
    if pickles and _WEIGHTS not in present:
        return BundleError(
            f"{where} holds pickled weights ({pickles[0]}), which are never loaded: its owner can export it with "
            "`protozoo export`, to safetensors"
        )
    lacking = f"{where}: {SUMS} is missing, so this is not a whole protozoo bundle"
    if {_WEIGHTS, "config.json"} <= set(present):
        return BundleError(f"{lacking}; a plain model of timm's is loaded by timm.create_model")
    return BundleError(f"{lacking}: `protozoo export` makes one")


def refuse_foreign(folder: Path) -> None:
    """Say what ``folder`` is where that is no bundle; nothing in it is loaded.

    Raises:
        BundleError: it has no ``SHA256SUMS``, was folded, or its ``model.safetensors`` is a pickle.
    """
    if not (folder / SUMS).is_file():
        raise not_a_bundle(str(folder), (file.name for file in folder.iterdir()))
    if source := _folded_from(folder):
        raise BundleError(
            f"{folder} is a plain model of timm's, folded from {source}, and no bundle: load it by "
            f"timm.create_model('local-dir:{folder}', pretrained=True), or give the bundle that it was folded from"
        )
    weights = folder / _WEIGHTS
    if weights.is_file() and _is_pickle(weights):
        raise BundleError(f"{weights} is a pickle and not safetensors, and is never loaded: export the model again")


def _folded_from(folder: Path) -> str | None:
    """The name of the bundle that a plain model was folded from; None where it is none, or cannot be read here."""
    try:
        return str(read_config(folder)[FOLDED_FROM]["name"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as ``torch.save`` or ``pickle.dump`` would begin it, and not as safetensors does."""
    with path.open("rb") as file:
        start = file.read(9)
    # safetensors: 8 bytes of length, then a header in JSON, whose first length byte may be anything.
    return start.startswith((b"PK\x03\x04", b"\x80")) and not start.endswith(b"{")
