"""Writes that a killed process cannot leave half done, and digests."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import ProtozooError


def is_there(word: str) -> bool:
    """Whether a word that a user typed is the name of something on this machine."""
    try:
        return Path(word).expanduser().exists()
    except (RuntimeError, OSError, ValueError):  # no such user's home, longer than a name can be, a null in it
        return False


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at ``path`` by ``data``: after a kill or a power cut the old bytes or the new stand there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # Not tempfile, whose files are readable by their owner alone.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def check_free(path: Path) -> None:
    """Refuse to write where something stands, before the work and not after it.

    Raises:
        ProtozooError: ``path`` exists already, or the folder that it would be made in takes no file.
    """
    if path.exists():
        raise ProtozooError(f"{path} exists already: remove it or choose another folder")
    # Folders that are missing above it will be made.
    check_writable(next(folder for folder in path.absolute().parents if folder.exists()) / path.name)


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work and not after it; nothing is left behind.

    Raises:
        ProtozooError: its folder does not exist or takes no file.
    """
    trial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        trial.open("xb").close()
        trial.unlink()
    except OSError as error:
        raise ProtozooError(
            f"{path} cannot be written ({error.strerror}): make its folder or choose another file"
        ) from error


def _umask() -> int:
    """What this process hides of the files that it makes; there is no way to ask but to set it."""
    hidden = os.umask(0o077)
    os.umask(hidden)
    return hidden


@contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` in one rename when the block ends without an exception.

    Raises:
        ProtozooError: ``path`` exists already, or cannot be written. Two folders cannot be exchanged atomically
            everywhere, so an old one is never overwritten.
    """
    check_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield staging
        # mkdtemp, and safetensors, write for the owner alone; a bundle is as readable as any other output.
        hidden = _umask()
        staging.chmod(0o777 & ~hidden)
        for file in staging.rglob("*"):
            file.chmod((0o777 if file.is_dir() else 0o666) & ~hidden)
            _sync(file)
        _sync(staging)
        staging.rename(path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync(path.parent)
