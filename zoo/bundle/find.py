"""From what a user types for a bundle to its folder."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

from zoo.errors import BundleError

_EMBEDDED = Path(__file__).resolve().parent.parent / "weights"


@cache
def embedded_names() -> tuple[str, ...]:
    """Names (``architecture.tag``) of the bundles inside the installed package, sorted."""
    return tuple(sorted(path.parent.name for path in _EMBEDDED.glob("*/config.json")))


def find(name_or_path: str | Path) -> Path:
    """The folder of a bundle: a path, ``local-dir:path``, or the name of a pretrained model of the zoo.

    A bare architecture name means its only pretrained tag.

    Raises:
        BundleError: there is no such folder or name; the message offers the nearest names.
    """
    text = str(name_or_path)
    path = Path(text.removeprefix("local-dir:")).expanduser()
    if text.startswith("local-dir:") or path.is_dir():
        if not path.is_dir():
            raise BundleError(f"{path}: no such folder")
        return path
    names = embedded_names()
    if text in names:
        return _EMBEDDED / text
    tagged = [name for name in names if name.split(".", maxsplit=1)[0] == text]
    if len(tagged) == 1:
        return _EMBEDDED / tagged[0]
    if text.startswith("hf-hub:"):
        raise BundleError(
            f"{text}: this version does not download; run `hf download {text.removeprefix('hf-hub:')} --local-dir "
            "FOLDER` and give FOLDER"
        )
    near = tagged or difflib.get_close_matches(text, names, n=3, cutoff=0.4) or list(names)
    raise BundleError(
        f"{text!r} is neither a folder nor a pretrained model of the zoo; did you mean {', '.join(near)}?"
    )
