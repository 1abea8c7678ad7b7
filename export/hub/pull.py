"""A bundle of the Hub as a folder of one's own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from zoo.bundle import Bundle
from zoo.bundle.hub import PREFIX, download, repository_id
from zoo.bundle.sums import SUMS
from zoo.files import check_free, staged_folder


def pull_bundle(spec: str, out: Path) -> tuple[Bundle, str]:
    """Write the bundle ``owner/name[@revision]`` of the Hub to the folder ``out``, whole or not at all.

    Args:
        spec: a branch, a tag or a commit after ``@``; ``main`` where there is none. ``hf-hub:`` may stand before it.
        out: must not exist.

    Returns:
        The bundle, and the commit that all its files are of.

    Raises:
        BundleError: no such repository or revision, no access, no network and no copy, or not a whole bundle.
        ProtozooError: ``out`` exists.
    """
    check_free(out)
    spec = spec.removeprefix(PREFIX)
    repository_id(spec.partition("@")[0])
    cached = Bundle.open(download(spec))
    with staged_folder(out) as folder:
        for name in (*cached.sha256, SUMS):
            shutil.copyfile(cached.path / name, folder / name)
        copied = Bundle.open(folder)
    return replace(copied, path=out), cached.path.name
