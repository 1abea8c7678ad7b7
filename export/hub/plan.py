"""What a push would do to a repository as it is now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from export.hub.access import explained, writing_api
from zoo.bundle import Bundle
from zoo.bundle.sums import SUMS, read_sums
from zoo.errors import BundleError
from zoo.files import sha256_of

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

Visibility = Literal["public", "private"]
MAIN = "main"
_SECONDS = 10.0


@dataclass(frozen=True)
class Remote:
    """A repository at one commit.

    Attributes:
        commit: the newest of the branch, or of ``main`` where the branch does not exist yet.
        branch_exists: whether it does.
        visibility: who may see the repository.
        files: path -> the Hub's digest: SHA-256 of what is in LFS, git's SHA-1 of the rest.
        listed: the files of the bundle that it holds, ``SHA256SUMS`` not among them.
    """

    commit: str
    branch_exists: bool
    visibility: Visibility
    files: Mapping[str, str]
    listed: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """What one push sends and deletes.

    Attributes:
        bundle: what is pushed.
        repo: ``owner/name``.
        branch: where to.
        remote: what is there; None where there is no such repository.
        visibility: who may see the repository, or will once it is made.
        send: file -> bytes, of the files that are not there, or differ.
        delete: files of the bundle that was there, which are not of this one.
    """

    bundle: Bundle
    repo: str
    branch: str
    remote: Remote | None
    visibility: Visibility
    send: Mapping[str, int]
    delete: tuple[str, ...]

    @property
    def where(self) -> str:
        """``owner/name@branch``."""
        return f"{self.repo}@{self.branch}"

    def lines(self) -> list[str]:
        """For a user to read: where to, on top of what, and each file."""
        sent = [f"  send   {size:>13,} bytes  {name}" for name, size in self.send.items()]
        deleted = [f"  delete {'':>19}  {name}" for name in self.delete]
        total = f"{len(self.send)} files to send, {sum(self.send.values()):,} bytes; {len(self.delete)} to delete"
        return [f"{self.repo} ({self.visibility}), {self._parent()}", *sent, *deleted, total]

    def _parent(self) -> str:
        if self.remote is None:
            return f"a new repository, branch {self.branch}"
        known = "branch" if self.remote.branch_exists else "a new branch"
        return f"{known} {self.branch}, on top of commit {self.remote.commit}"


def plan_push(bundle: Bundle, repo: str, *, branch: str = MAIN, visibility: Visibility | None = None) -> Plan:
    """Look at the repository, and compare it with the bundle by the digests that the Hub knows. Sends nothing.

    Args:
        bundle: opened, so that its files are whole.
        repo: ``owner/name``.
        branch: where to; made from ``main`` if it does not exist.
        visibility: that the repository must have, or gets where there is none; None: as it is, else public.

    Raises:
        BundleError: no token, no access, no network; the repository is of another visibility; ``branch`` is none.
    """
    remote = look(repo, branch)
    if remote is not None and visibility not in {None, remote.visibility}:
        raise BundleError(
            f"{repo} is {remote.visibility}: leave --{visibility} out, or make it {visibility} in its settings first"
        )
    if remote is not None:
        visibility = remote.visibility
    names = (*bundle.sha256, SUMS)
    changed = names if remote is None else differing(bundle, remote.files)
    old = set() if remote is None else remote.listed & remote.files.keys()
    return Plan(
        bundle,
        repo,
        branch,
        remote,
        visibility or "public",
        {name: (bundle.path / name).stat().st_size for name in changed},
        tuple(sorted(old - set(names))),
    )


def differing(bundle: Bundle, files: Mapping[str, str]) -> tuple[str, ...]:
    """The bundle's files that are not, or not as they are, among the digests ``files`` of a :class:`Remote`."""
    sha256 = {**bundle.sha256, SUMS: sha256_of(bundle.path / SUMS)}
    return tuple(name for name in sha256 if not _same(bundle.path / name, sha256[name], files.get(name)))


def _same(path: Path, sha256: str, digest: str | None) -> bool:
    return digest == sha256 if digest is None or len(digest) == 64 else digest == _git_sha1(path)


def _git_sha1(path: Path) -> str:
    """Git's name for the file's content."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def look(repo: str, branch: str) -> Remote | None:
    """The branch as it is now; None where there is no repository, or none that the token may see.

    Raises:
        BundleError: no token, no access, no network, ``branch`` is none, or ``SHA256SUMS`` is not a bundle's.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    api = writing_api()
    with explained(f"{repo}@{branch}"):
        try:
            info = api.model_info(repo, files_metadata=True, timeout=_SECONDS)
        except GatedRepoError:  # there is one, although this error is one of the other kind
            raise
        except RepositoryNotFoundError:
            return None
        head = info.sha if branch == MAIN else _head(repo, branch)
        if head not in {info.sha, None}:
            info = api.model_info(repo, revision=head, files_metadata=True, timeout=_SECONDS)
    files = digests(info)
    listed = _listed(repo, str(info.sha)) if SUMS in files else frozenset()
    return Remote(str(info.sha), head is not None, "private" if info.private else "public", files, listed)


def digests(info: ModelInfo) -> dict[str, str]:
    """Path -> digest, of a repository whose files' metadata were asked for."""
    return {sibling.rfilename: _digest(sibling) for sibling in info.siblings or ()}


def _digest(sibling: RepoSibling) -> str:
    return sibling.lfs.sha256 if sibling.lfs is not None else str(sibling.blob_id)


def _head(repo: str, branch: str) -> str | None:
    """The commit of a branch; None where there is no such branch yet.

    Raises:
        BundleError: there can be none, since that is a tag, a commit or a reference of the Hub's own.
    """
    refs = writing_api().list_repo_refs(repo)
    heads = {ref.name: ref.target_commit for ref in refs.branches}
    taken = branch in {ref.name for ref in refs.tags} or branch.startswith("refs/")
    if branch not in heads and (taken or re.fullmatch("[0-9a-f]{40}", branch)):
        raise BundleError(
            f"{branch!r} is not a branch of {repo}: give --revision a branch, new or old, or leave it out"
        )
    return heads.get(branch)


def _listed(repo: str, commit: str) -> frozenset[str]:
    from huggingface_hub import hf_hub_download

    with explained(f"{repo}@{commit}"):
        path = hf_hub_download(repo, SUMS, revision=commit, token=True)
    try:
        return frozenset(read_sums(Path(path)))
    except BundleError as error:
        raise BundleError(
            f"{repo} has a file {SUMS} that is not a bundle's: push to another repository, or delete it there first"
        ) from error
