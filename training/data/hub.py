"""Data sets of the Hugging Face Hub in parquet layout."""

from __future__ import annotations

from pathlib import Path

from training.data.parquet import SPLITS, parquet
from training.data.source import Source
from training.data.splits import DataError

PREFIX = "hfds/"


def hub_dataset(spec: str) -> Source:
    """The source ``hfds/<owner>/<name>[@<revision>]``, from the network or from the Hub's own cache.

    Raises:
        DataError: no such repository or revision, no access, no network, or not parquet.
    """
    name, _, revision = spec.removeprefix(PREFIX).partition("@")
    folder = _snapshot(name, revision or None)
    files = folder.rglob("*.parquet")
    roots = {path.parent.parent if path.parent.name in (*SPLITS, "data") else path.parent for path in files}
    if not roots:
        raise DataError(f"{spec} holds no parquet files; try its converted copy, {PREFIX}{name}@refs/convert/parquet")
    if len(roots) > 1:
        parts = ", ".join(sorted(str(root.relative_to(folder)) for root in roots))
        raise DataError(f"{spec} is several data sets ({parts}): give the folder of one, they are in {folder}")
    return parquet(roots.pop(), name=name, license=_license(folder))


def _snapshot(name: str, revision: str | None) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            name, repo_type="dataset", revision=revision, allow_patterns=["*.parquet", "README.md"]
        )
    except hub.GatedRepoError as error:
        raise DataError(f"{PREFIX}{name} asks for an agreement: accept it on its page, then `hf auth login`") from error
    except hub.RepositoryNotFoundError as error:
        raise DataError(
            f"there is no data set {name!r} on the Hub, or it is private: check <owner>/<name>, or `hf auth login`"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise DataError(f"{PREFIX}{name} has no revision {revision!r}") from error
    except hub.HFValidationError as error:
        raise DataError(f"{PREFIX}{name} is not a name on the Hub: give {PREFIX}<owner>/<name>[@<revision>]") from error
    except (OSError, hub.HTTPError) as error:  # type: ignore[attr-defined]  # of httpx: not an OSError
        reason = " ".join(str(error).split())
        raise DataError(
            f"{PREFIX}{name} is not complete in the Hub's cache and could not be downloaded ({reason}): connect to the "
            "network, or fetch it where there is one (`hf download --repo-type dataset`)"
        ) from error
    return Path(found)


def _license(folder: Path) -> str | None:
    from huggingface_hub import metadata_load

    card = folder / "README.md"
    stated = (metadata_load(card) or {}).get("license") if card.is_file() else None
    return ", ".join(stated) if isinstance(stated, list) else stated
