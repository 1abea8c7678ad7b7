"""``SHA256SUMS``: which files are a bundle, and their digests, in the format of ``sha256sum -c``."""

from __future__ import annotations

from pathlib import Path

from zoo.errors import BundleError
from zoo.files import sha256_of

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Sign what lies in ``folder``."""
    names = (file.name for file in folder.iterdir() if _belongs(file))
    text = _canonical({name: sha256_of(folder / name) for name in names})
    (folder / SUMS).write_text(text, encoding="ascii")


def read_sums(path: Path) -> dict[str, str]:
    """File name -> digest, as the file ``path`` lists them.

    Raises:
        BundleError: it is not as :func:`write_sums` writes it, or a name leads out of the folder.
    """
    try:
        text = path.read_bytes().decode("ascii")
        listed = {name: digest for digest, name in (line.split("  ", 1) for line in text.splitlines())}
    except ValueError as error:
        raise BundleError(f"{path} is damaged: it is not in the format of `sha256sum`") from error
    for name in listed:
        # Names are data from outside: one with a separator would make us read or write elsewhere.
        if Path(name).name != name:
            raise BundleError(f"{path} is damaged: {name!r} is not the name of a file beside it")
    if text != _canonical(listed):
        raise BundleError(f"{path} is damaged: it is not in the format of `sha256sum`")
    return listed


def check_sums(folder: Path) -> dict[str, str]:
    """Compare every file that ``SHA256SUMS`` lists with its digest, and return name -> digest.

    Raises:
        BundleError: a file is missing or differs; it is named.
    """
    listed = read_sums(folder / SUMS)
    for name, digest in listed.items():
        if not (folder / name).is_file():
            raise BundleError(f"{folder / name} is listed in {SUMS} but missing")
        if sha256_of(folder / name) != digest:
            raise BundleError(
                f"{folder / name} does not match {SUMS}: the file is damaged or was changed{_remedy(folder)}"
            )
    return listed


def _belongs(file: Path) -> bool:
    # The Hub adds .gitattributes, its client .cache: what is hidden or a folder is not part of a bundle.
    return file.is_file() and file.name != SUMS and not file.name.startswith(".")


def _canonical(listed: dict[str, str]) -> str:
    return "".join(f"{listed[name]}  {name}\n" for name in sorted(listed))


def _remedy(folder: Path) -> str:
    # The Hub's cache keeps a file under its digest, where one more download would find the damaged one again.
    repository = next((part for part in folder.parts if part.startswith("models--")), None)
    if repository is None:
        return ": copy or export the bundle again"
    name = repository.removeprefix("models--").replace("--", "/")
    return f": `hf cache rm model/{name}`, load it again, and where that does not help tell its owner"
