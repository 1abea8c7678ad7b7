"""From what a user types for a bundle to its folder."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from zoo.bundle import hub
from zoo.bundle.catalogue import Pretrained, pretrained_models
from zoo.bundle.foreign import read_config
from zoo.errors import BundleError
from zoo.files import is_there

_LOCAL = "local-dir:"


def embedded_names() -> tuple[str, ...]:
    """Names (``architecture.tag``) of the bundles inside this package, sorted."""
    models = pretrained_models().values()
    return tuple(sorted(model.name for model in models if model.package == "protozoo" and model.hub is None))


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of a bundle, which is downloaded where it lies on the Hub and not in its cache.

    Args:
        name_or_path: a folder, ``local-dir:path``, ``hf-hub:owner/name[@revision]``, or the name of a pretrained model
            of the zoo (``architecture.tag``; an architecture alone means its default tag, the first, as in timm). A
            folder that is called as a model is (``local-dir:NAME``, ``./NAME`` or a ``Path``) has to be asked for.

    Raises:
        BundleError: there is no such folder or name (the message offers the nearest), or the Hub has no such bundle or
            cannot be reached.
    """
    text = os.fspath(name_or_path)
    if text.startswith(hub.PREFIX):
        return hub.download(text.removeprefix(hub.PREFIX))
    models = pretrained_models()
    model = None if isinstance(name_or_path, os.PathLike) else models.get(text) or _default_tag(text, models)
    if model is not None:
        return model.folder if model.hub is None else _from_hub(model, model.hub)
    word = text.removeprefix(_LOCAL)
    if _is_folder(word):
        return Path(word).expanduser()
    if text.startswith(_LOCAL):
        raise BundleError(f"{word}: no such folder")
    raise BundleError(f"{text!r} is neither a folder nor a pretrained model of the zoo; {_hint(text, models)}")


def is_bundle(name: str) -> bool:
    """Whether a name that is no model of the zoo is that of a bundle: a folder, or one that is said to be."""
    return name.startswith((_LOCAL, hub.PREFIX)) or _is_folder(name)


def _is_folder(word: str) -> bool:
    return word != "" and is_there(word) and Path(word).expanduser().is_dir()


def _default_tag(architecture: str, models: Mapping[str, Pretrained]) -> Pretrained | None:
    # As in timm the first; this package's stand before those of packages installed beside it.
    return next((model for model in models.values() if model.architecture == architecture), None)


def _hint(text: str, models: Mapping[str, Pretrained]) -> str:
    if text.count("/") == 1 and all(text.split("/")):
        return f"for the Hub's repository of that name write {hub.PREFIX}{text}"
    near = difflib.get_close_matches(text, models, n=3, cutoff=0.6)
    return f"did you mean {', '.join(near)}?" if near else "`protozoo list --pretrained` prints those"


def _from_hub(model: Pretrained, spec: str) -> Path:
    """The downloaded bundle, if it is the one that the package knows under that name."""
    folder = hub.download(spec)
    try:
        found = read_config(folder)["protozoo"]["weights"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder / 'config.json'} is not a bundle's configuration ({error!r})") from error
    if found != model.weights_sha256:
        raise BundleError(
            f"{hub.PREFIX}{spec} now has other weights than those that {model.package} knows as {model.name}: upgrade "
            f"{model.package}, or load {hub.PREFIX}{spec} by itself"
        )
    return folder
