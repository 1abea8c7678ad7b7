"""A Hub for tests: the reading side of the Hub's HTTP interface, over loopback, for the real huggingface_hub.

Repositories are dictionaries in memory. Each request is matched in ``_ROUTES``; whoever needs the writing side (create,
preupload, LFS batch, commit) adds rows and methods there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LFS = (".safetensors", ".onnx", ".bin", ".pth")
TOKEN = "hf_" + "a" * 34

Files = Mapping[str, bytes]


@dataclass
class Repository:
    """Commits by their hash, and what branches and tags point to.

    Attributes:
        access: "public", "private" (to others it does not exist) or "gated".
    """

    access: str = "public"
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit's own hash names."""
        commit = self.refs.get(revision, revision)
        return commit if commit in self.commits else None


@dataclass
class HubDouble:
    """The state of the double, which a test changes as it likes, also between two requests.

    Attributes:
        url: for ``HF_ENDPOINT``.
        repositories: by ``owner/name``.
        requests: "METHOD path" of all requests, in order.
        before: called before each request is answered, with "METHOD path".
        cuts: "owner/name/path" -> how many more times the connection breaks in the middle of that file.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    before: Callable[[str], object] = lambda request: None
    cuts: dict[str, int] = field(default_factory=dict)

    def commit(self, name: str, files: Files | Path, *, branch: str = "main", access: str = "public") -> str:
        """Make ``files`` (or those of a folder) the newest commit of a branch, and return its hash."""
        if isinstance(files, Path):
            files = {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()}
        repository = self.repositories.setdefault(name, Repository(access))
        seed = f"{name} {branch} {len(repository.commits)}".encode()
        commit = hashlib.sha1(seed).hexdigest()
        repository.commits[commit] = dict(files)
        repository.refs[branch] = commit
        return commit


def environment(hub: HubDouble, home: Path, **others: str) -> dict[str, str]:
    """For a subprocess: huggingface_hub reads these when it is imported. No token, unless ``others`` has one."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    ours = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**kept, **ours, **others}


@contextmanager
def running_hub() -> Iterator[HubDouble]:
    """A double that answers on a free port of loopback."""
    hub = HubDouble()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", commit: str | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit or ""}
        self.status, self.headers = status, {name: value for name, value in headers.items() if value}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubDouble

    def do_GET(self) -> None:
        request = f"{self.command} {urlsplit(self.path).path}"
        self.hub.requests.append(request)
        self.hub.before(request)
        try:
            for pattern, answer in _ROUTES:
                if match := re.fullmatch(pattern, request):
                    answer(self, **{name: unquote(value) for name, value in match.groupdict().items() if value})
                    return
            raise _RefusedError(404)
        except _RefusedError as refusal:
            self._send(refusal.status, b"", refusal.headers)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _repository(self, repo: str) -> Repository:
        authorization = self.headers.get("Authorization")
        if authorization not in {None, f"Bearer {TOKEN}"}:
            raise _RefusedError(401, message="Invalid credentials in Authorization header")
        repository = self.hub.repositories.get(repo)
        if repository is None or (repository.access == "private" and authorization is None):
            # As the Hub does: it does not tell strangers which private repositories there are.
            raise _RefusedError(404 if authorization else 401, "RepoNotFound")
        return repository

    def _commit(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]]:
        repository = self._repository(repo)
        commit = repository.resolve(revision)
        if commit is None:
            raise _RefusedError(404, "RevisionNotFound")
        return commit, repository.commits[commit]

    def model_info(self, repo: str, revision: str = "main") -> None:
        commit, files = self._commit(repo, revision)
        siblings = [{"rfilename": name} for name in files]
        private = self.hub.repositories[repo].access == "private"
        self._send_json({"id": repo, "sha": commit, "siblings": siblings, "private": private, "tags": []})

    def tree(self, repo: str, revision: str) -> None:
        _, files = self._commit(repo, revision)
        self._send_json([_entry(name, data) for name, data in files.items()])

    def resolve(self, repo: str, revision: str, path: str) -> None:
        commit, files = self._commit(repo, revision)
        if self.hub.repositories[repo].access == "gated" and "Authorization" not in self.headers:
            raise _RefusedError(403, "GatedRepo")
        if path not in files:
            raise _RefusedError(404, "EntryNotFound", commit=commit)
        data, entry = files[path], _entry(path, files[path])
        headers = {"X-Repo-Commit": commit, "ETag": f'"{entry["oid"]}"', "Accept-Ranges": "bytes"}
        if "lfs" in entry:
            headers |= {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(data))}
        start, status = 0, 200
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start, status = int(wanted[1]), 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(status, data[start:], headers, cut=self._cut(f"{repo}/{path}"))

    def _cut(self, path: str) -> bool:
        if self.command == "HEAD" or not self.hub.cuts.get(path):
            return False
        self.hub.cuts[path] -= 1
        return True

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut


def _entry(path: str, data: bytes) -> dict[str, Any]:
    """A row of the tree, with git's digest of the file, or for large ones of its pointer."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
    if path.endswith(LFS):
        digest = hashlib.sha256(data).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n".encode()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": len(pointer)}
        data = pointer
    return {**entry, "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_ROUTES: list[tuple[str, Callable[..., None]]] = [
    (rf"GET /api/models/{_REPO}(/revision/(?P<revision>[^/]+))?", _Handler.model_info),
    (rf"GET /api/models/{_REPO}/tree/(?P<revision>[^/]+)", _Handler.tree),
    (rf"(GET|HEAD) /{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
]
