"""Bundles of the Hugging Face Hub, in the Hub's own cache."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.bundle.foreign import not_a_bundle
from zoo.bundle.sums import SUMS, read_sums
from zoo.errors import BundleError, ProtozooWarning

PREFIX = "hf-hub:"
LOGIN = "`hf auth login`, or set HF_TOKEN,"
_SECONDS = 10.0
_COMMIT = re.compile(r"[0-9a-f]{40}")


def download(spec: str) -> Path:
    """The folder of the bundle ``owner/name[@revision]`` in the Hub's cache, with every file of one commit.

    What ``SHA256SUMS`` lists is fetched and nothing else: all of it, since a bundle opens only where it is whole, and
    whoever has it can verify and serve it offline later. A commit that is in the cache costs no request. A branch or
    a tag costs one; where the Hub cannot be reached, the commit that it was last time is taken, with a warning.
    The digests are compared by :meth:`zoo.bundle.Bundle.open`, not here.

    Raises:
        BundleError: no such repository or revision, no access, no network and no copy, not a bundle, or a token that
            is none.
    """
    repo, revision = _split(spec)
    with _explained(repo, revision):
        sums, reachable = _sums_of_one_commit(repo, revision)
        _complete(repo, sums, reachable)
    return sums.parent


def is_cached(spec: str) -> bool:
    """Whether every file of the bundle ``owner/name[@revision]`` is in the Hub's cache."""
    try:
        sums = _cached(*_split(spec))
        return sums is not None and not _missing(sums)
    except BundleError:
        return False


def repository_id(text: str) -> str:
    """``owner/name`` of what a user types, with or without ``hf-hub:``.

    Raises:
        BundleError: no model on the Hub can have that name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    name = text.removeprefix(PREFIX)
    try:
        if not re.fullmatch(r"[^/@]+/[^/@]+", name):
            raise BundleError(f"{text!r} does not name a model of the Hub: give owner/name")
        validate_repo_id(name)
    except HFValidationError as error:
        raise BundleError(f"{text!r} does not name a model of the Hub: {' '.join(str(error).split())}") from error
    return name


def _split(spec: str) -> tuple[str, str]:
    repo, _, revision = spec.partition("@")
    return repository_id(repo), revision or "main"


def _cached(repo: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, SUMS, revision=revision)
    return Path(path) if isinstance(path, str) else None


def _missing(sums: Path) -> list[str]:
    return [name for name in read_sums(sums) if not (sums.parent / name).is_file()]


def _sums_of_one_commit(repo: str, revision: str) -> tuple[Path, bool]:
    """``SHA256SUMS`` in the cache's folder of the commit that ``revision`` is now; whether the Hub can say more."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, snapshot_download
    from huggingface_hub import errors as hub

    cached = _cached(repo, revision)
    if cached is not None and _COMMIT.fullmatch(revision) and not _missing(cached):
        return cached, False
    if not constants.HF_HUB_OFFLINE:
        check_token()
    try:
        # Asked first by itself, with a limit: the calls that download wait for ever, or try again for 20 s and more.
        now = get_hf_file_metadata(hf_hub_url(repo, SUMS, revision=revision), timeout=_SECONDS).commit_hash
    except hub.RemoteEntryNotFoundError as error:
        raise _without_sums(repo, revision) from error
    except hub.OfflineModeIsEnabled:
        if cached is None:
            raise
        return cached, False
    except (OSError, hub.HTTPError) as error:  # type: ignore[attr-defined]  # of httpx: not an OSError
        if cached is None or (status_of(error) or 500) < 500:
            raise
        warnings.warn(
            f"the Hub cannot be reached ({_reason(error)}): {PREFIX}{repo}@{revision} is taken from the cache, which "
            f"may be old, at commit {cached.parent.name}",
            ProtozooWarning,
            stacklevel=2,
        )
        return cached, False
    if cached is not None and cached.parent.name == now:
        return cached, True
    # hf_hub_download takes a file of the branch as it is a request later; this one resolves it, and notes the commit.
    return Path(snapshot_download(repo, revision=revision, allow_patterns=[SUMS]), SUMS), True


def _complete(repo: str, sums: Path, reachable: bool) -> None:
    from huggingface_hub import errors as hub
    from huggingface_hub import hf_hub_download

    commit = sums.parent.name
    for name in _missing(sums):
        try:
            hf_hub_download(repo, name, revision=commit, local_files_only=not reachable)
        except hub.RemoteEntryNotFoundError as error:
            raise BundleError(
                f"{PREFIX}{repo}@{commit} lacks {name}, which its {SUMS} lists: tell its owner to push it whole"
            ) from error


def check_token() -> None:
    """Refuse what cannot be sent in a header, since the error of the HTTP library would quote it.

    Raises:
        BundleError: the token has other characters than visible ASCII ones; it is not shown.
    """
    from huggingface_hub import get_token

    if not re.fullmatch(r"[!-~]*", get_token() or ""):
        raise BundleError(f"the token of the Hub holds characters that no token has: {LOGIN} anew")


def status_of(error: Exception) -> int | None:
    """What the Hub has answered; None where nobody did."""
    status: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return status


def _reason(error: Exception) -> str:
    # What huggingface_hub raises for a failed request often says no more than to see its cause.
    cause = error.__cause__ or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())


@contextmanager
def _explained(repo: str, revision: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into one line that says what to do."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    where = f"{PREFIX}{repo}" if revision == "main" else f"{PREFIX}{repo}@{revision}"
    try:
        yield
    except hub.GatedRepoError as error:
        raise BundleError(
            f"{where} asks for an agreement: accept it at {constants.ENDPOINT}/{repo}, then `hf auth login`"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise BundleError(
            f"there is no model {repo!r} on the Hub, or it is private: check owner/name, or `hf auth login`"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise BundleError(
            f"{PREFIX}{repo} has no revision {revision!r}: give a branch, a tag or a commit, or leave @{revision} out"
        ) from error
    except (OSError, hub.HTTPError) as error:  # type: ignore[attr-defined]
        if constants.HF_HUB_OFFLINE:
            raise BundleError(
                f"{where} is not, or not whole, in the Hub's cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE "
                "forbids a download: unset it, or load it where there is a network and copy the cache"
            ) from error
        if status_of(error) in {401, 403}:
            raise BundleError(
                f"the Hub refuses access to {where} ({status_of(error)}): `hf auth login` with a token that may read it"
            ) from error
        raise BundleError(
            f"{where} is not in the Hub's cache and could not be downloaded ({_reason(error)}): check the network, or "
            f"load it where there is one and copy the cache, {constants.HF_HUB_CACHE}"
        ) from error


def _without_sums(repo: str, revision: str) -> BundleError:
    from huggingface_hub import HfApi

    siblings = HfApi().model_info(repo, revision=revision, timeout=_SECONDS).siblings or []
    return not_a_bundle(f"{PREFIX}{repo}", (sibling.rfilename for sibling in siblings))
