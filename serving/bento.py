"""A Bento of a bundle: what ``bentoml serve`` and ``bentoml containerize`` take, with nothing outside of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException, NotFound
from packaging.requirements import Requirement

from serving.launch import TARGET
from serving.settings import PACKED, variable
from zoo.bundle import Bundle, ProtozooError
from zoo.files import sha256_of

_OTHERS = ("protozoo", "bentoml")  # inside as sources; added by BentoML itself
_EXTRAS = ("", "serve", "runtime")
_REPLICAS = "postgresql"  # need not be installed where the Bento is built
_IMAGE = {"platform_machine": "x86_64", "sys_platform": "linux", "platform_system": "Linux"}


def build_bento(bundle: Bundle, *, device: str, name: str | None = None) -> str:
    """Put a bundle, the packages that serve it and the list of what they need into BentoML's store.

    The version is a digest of all that, so that equal Bentos have equal tags and are built once.

    Args:
        bundle: what to serve.
        device: "cpu" or "cuda", what it will run on unless ``PROTOZOO_DEVICE`` says otherwise.
        name: of the Bento; None: the bundle's.

    Returns:
        ``name:version``.

    Raises:
        ProtozooError: BentoML refuses, for example because of the name.
    """
    name = name or re.sub(r"[^a-z0-9._-]", "-", bundle.name.lower())
    with tempfile.TemporaryDirectory() as folder:
        _stage(Path(folder), bundle, device, name)
        digest = _digest(Path(folder))
        tag = f"{name}:{digest}"
        if _is_built(tag):
            return tag
        built = subprocess.run(
            [sys.executable, "-m", "bentoml", "build", ".", "--version", digest],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if built.returncode:
        lines = [line for line in (built.stderr + built.stdout).splitlines() if line.strip()]
        raise ProtozooError(f"bentoml build: {lines[-1] if lines else 'it failed without a word'}")
    return tag


def _is_built(tag: str) -> bool:
    try:
        bentoml.get(tag)
    except NotFound:
        return False
    except BentoMLException as error:
        raise ProtozooError(f"{tag}: {error}") from None
    return True


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(path)} {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


def _stage(folder: Path, bundle: Bundle, device: str, name: str) -> None:
    home = Path(__file__).resolve().parent.parent
    for package in ("serving", "zoo"):
        # Other weights than the bundle's are no business of this Bento.
        ignore = shutil.ignore_patterns("__pycache__", "weights", "web")
        shutil.copytree(home / package, folder / package, ignore=ignore)
    shutil.copytree(bundle.path, folder / PACKED)
    (folder / "bentofile.yaml").write_text(json.dumps(_bentofile(bundle, device, name), indent=2), encoding="utf-8")


def _bentofile(bundle: Bundle, device: str, name: str) -> dict[str, object]:
    """JSON is YAML as well."""
    return {
        "service": TARGET,
        "name": name,
        "description": f"{bundle.name}: classification by the nearest prototype, and embeddings",
        "labels": {"model": bundle.name, "objective": str(bundle.record["objective"])},
        "include": ["*"],
        "python": {"packages": requirements(device), "lock_packages": False},
        "docker": {"python_version": f"{sys.version_info.major}.{sys.version_info.minor}"},
        "envs": [{"name": variable("device"), "value": device}],
    }


def requirements(device: str) -> list[str]:
    """What serving imports, in the versions that are installed here and so were tried.

    Raises:
        ProtozooError: this package was not installed but is run from its sources.
    """
    try:
        stated = [Requirement(text) for text in requires("protozoo") or ()]
        others = [one for one in stated if one.name not in _OTHERS]
        return sorted(
            {_pinned(one, device) for one in others if _wanted(one, _EXTRAS)}
            | {_pinned_or_any(one, device) for one in others if _wanted(one, [_REPLICAS])}
        )
    except PackageNotFoundError as error:
        raise ProtozooError(f"{error.name} is not installed: `pip install 'protozoo[serve]'`") from None


def _wanted(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**_IMAGE, "extra": extra}) for extra in extras)


def _pinned_or_any(requirement: Requirement, device: str) -> str:
    try:
        return _pinned(requirement, device)
    except PackageNotFoundError:
        return f"{_named(requirement)}{requirement.specifier}"


def _pinned(requirement: Requirement, device: str) -> str:
    # The CPU build serves where the image has no GPU, and is a tenth of the size.
    if requirement.name == "onnxruntime-gpu":
        installed = _version_of_either("onnxruntime-gpu", "onnxruntime")
        return f"onnxruntime-gpu[cuda,cudnn]=={installed}" if device == "cuda" else f"onnxruntime=={installed}"
    return f"{_named(requirement)}=={version(requirement.name)}"


def _named(requirement: Requirement) -> str:
    return requirement.name + (f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else "")


def _version_of_either(first: str, second: str) -> str:
    try:
        return version(first)
    except PackageNotFoundError:
        return version(second)
