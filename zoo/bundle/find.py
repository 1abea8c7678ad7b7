"""From what a user types for a bundle to its folder."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path

from zoo.bundle import hub
from zoo.bundle.catalogue import Pretrained, pretrained_models
from zoo.errors import BundleError


def embedded_names() -> tuple[str, ...]:
    """Names (``architecture.tag``) of the bundles inside this package, sorted."""
    models = pretrained_models().values()
    return tuple(sorted(model.name for model in models if model.package == "protozoo" and model.hub is None))


def find(name_or_path: str | Path) -> Path:
    """The folder of a bundle, which is downloaded where it lies on the Hub and not in its cache.

    Args:
        name_or_path: a folder, ``local-dir:path``, ``hf-hub:owner/name[@revision]``, or the name of a pretrained model
            of the zoo (``architecture.tag``; an architecture alone means its default tag, the first, as in timm).

    Raises:
        BundleError: there is no such folder or name (the message offers the nearest), or the Hub has no such bundle or
            cannot be reached.
    """
    text = str(name_or_path)
    if text.startswith(hub.PREFIX):
        return hub.download(text.removeprefix(hub.PREFIX))
    path = Path(text.removeprefix("local-dir:")).expanduser()
    if path.is_dir():
        return path
    if text.startswith("local-dir:"):
        raise BundleError(f"{path}: no such folder")
    models = pretrained_models()
    model = models.get(text) or _default_tag(text, models)
    if model is None:
        raise BundleError(f"{text!r} is neither a folder nor a pretrained model of the zoo; {_hint(text, models)}")
    return model.folder if model.hub is None else _from_hub(model, model.hub)


def _default_tag(architecture: str, models: Mapping[str, Pretrained]) -> Pretrained | None:
    # As in timm the first; this package's stand before those of packages installed beside it.
    return next((model for model in models.values() if model.architecture == architecture), None)


def _hint(text: str, models: Mapping[str, Pretrained]) -> str:
    if text.count("/") == 1 and all(text.split("/")):
        return f"for the Hub's repository of that name write {hub.PREFIX}{text}"
    near = difflib.get_close_matches(text, models, n=3, cutoff=0.4) or list(models)
    return f"did you mean {', '.join(near)}?"


def _from_hub(model: Pretrained, spec: str) -> Path:
    """The downloaded bundle, if it is the one that the package knows under that name."""
    folder = hub.download(spec)
    try:
        found = json.loads((folder / "config.json").read_bytes())["protozoo"]["weights"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / 'config.json'} is not a bundle's configuration ({error!r})") from error
    if found != model.weights_sha256:
        raise BundleError(
            f"{hub.PREFIX}{spec} now has other weights than those that {model.package} knows as {model.name}: upgrade "
            f"{model.package}, or load {hub.PREFIX}{spec} by itself"
        )
    return folder
