"""A Hub for tests: what we need of the Hub's HTTP interface, over loopback, for the real huggingface_hub.

Repositories are dictionaries in memory. Each request is matched in ``_ROUTES``, its method reads it or writes. LFS
uploads go by the "basic" transfer, as with HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import base64
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
from urllib.parse import parse_qs, unquote, urlsplit

LFS = (".safetensors", ".onnx", ".bin", ".pth")
TOKEN = "hf_" + "a" * 34
READER = "hf_" + "b" * 34

Files = Mapping[str, bytes]


@dataclass
class Repository:
    """Commits by their hash, and what branches and tags point to.

    Attributes:
        access: "public", "private" (to others it does not exist) or "gated".
        tags: which of ``refs`` are no branches.
    """

    access: str = "public"
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

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
        cuts: "owner/name/path" -> how many more times the connection breaks in the middle of that file; for uploads,
            SHA-256 -> how many more times.
        lost: how many more commits are made without an answer to whoever pushed them.
        objects: the content in LFS, by SHA-256.
        made: how many commits there ever were, so that no two have the same hash.
        messages: of the commits that were pushed.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    before: Callable[[str], object] = lambda request: None
    cuts: dict[str, int] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    lost: int = 0
    made: int = 0
    messages: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Forget everything but the address, and which commits there were."""
        vars(self).update(vars(HubDouble(self.url, made=self.made)))

    @property
    def writes(self) -> list[str]:
        """The requests that are not reads."""
        return [request for request in self.requests if not request.startswith(("GET ", "HEAD "))]

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """What a repository holds."""
        commit = self.repositories[name].resolve(revision)
        assert commit is not None
        return self.repositories[name].commits[commit]

    def commit(self, name: str, files: Files | Path, *, branch: str = "main", access: str = "public") -> str:
        """Make ``files`` (or those of a folder) the newest commit of a branch, and return its hash."""
        if isinstance(files, Path):
            files = {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()}
        repository = self.repositories.setdefault(name, Repository(access))
        self.made += 1
        seed = f"{name} {branch} {self.made}".encode()
        commit = hashlib.sha1(seed).hexdigest()
        repository.commits[commit] = dict(files)
        repository.refs[branch] = commit
        self.objects |= {hashlib.sha256(data).hexdigest(): data for name, data in files.items() if name.endswith(LFS)}
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
            self.body = self._read()
            for pattern, answer in _ROUTES:
                if match := re.fullmatch(pattern, request):
                    answer(self, **{name: unquote(value) for name, value in match.groupdict().items() if value})
                    return
            raise _RefusedError(404)
        except _RefusedError as refusal:
            self._send(refusal.status, b"", refusal.headers)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _repository(self, repo: str) -> Repository:
        authorization = self.headers.get("Authorization")
        if authorization not in {None, f"Bearer {TOKEN}", f"Bearer {READER}"}:
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
        blobs = "blobs" in parse_qs(urlsplit(self.path).query)
        siblings = [{"rfilename": name, **(_blob(name, data) if blobs else {})} for name, data in files.items()]
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

    def refs(self, repo: str) -> None:
        repository = self._repository(repo)
        found: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": []}
        for name, commit in repository.refs.items():
            kind = "tags" if name in repository.tags else "branches"
            found[kind].append({"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit})
        self._send_json(found)

    def _writer(self) -> None:
        authorization = self.headers.get("Authorization")
        if authorization == f"Bearer {READER}":
            raise _RefusedError(403, message="you must use a write token")
        if authorization != f"Bearer {TOKEN}":
            raise _RefusedError(401, message="Invalid credentials in Authorization header")

    def create(self) -> None:
        self._writer()
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            raise _RefusedError(409)
        self.hub.commit(name, {".gitattributes": b"*.onnx filter=lfs"}, access=wanted.get("visibility", "public"))
        self._send_json({"url": f"{self.hub.url}/{name}", "name": name})

    def create_branch(self, repo: str, branch: str) -> None:
        self._writer()
        refs = self._repository(repo).refs
        if branch in refs:
            raise _RefusedError(409)
        refs[branch] = json.loads(self.body)["startingPoint"]
        self._send_json({})

    def validate(self) -> None:
        self._send_json({"errors": [], "warnings": []})

    def preupload(self, repo: str, revision: str) -> None:
        self._writer()
        _, files = self._commit(repo, revision)
        ignored = files.get(".gitignore", b"").decode().split()
        rows = []
        for path in (file["path"] for file in json.loads(self.body)["files"]):
            mode = "lfs" if path.endswith(LFS) else "regular"
            rows.append({"path": path, "uploadMode": mode, "shouldIgnore": path in ignored})
        self._send_json({"files": rows})

    def lfs_batch(self, repo: str) -> None:
        self._writer()
        rows = json.loads(self.body)["objects"]
        for row in rows:
            if row["oid"] not in self.hub.objects:
                # As the Hub's are, this address is signed.
                row["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{row['oid']}?X-Signature=secret"}}
        self._send_json({"transfer": "basic", "objects": rows})

    def lfs_put(self, oid: str) -> None:
        if self._cut(oid):
            self.close_connection = True
            return
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _RefusedError(400)
        self.hub.objects[oid] = self.body
        self._send_json({})

    def push(self, repo: str, revision: str) -> None:
        self._writer()
        parent, files = self._commit(repo, revision)
        header, *operations = [json.loads(line) for line in self.body.splitlines()]
        if header["value"].get("parentCommit", parent) != parent:
            raise _RefusedError(412, message="A commit has happened since")
        files = dict(files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            else:
                del files[value["path"]]
        self.hub.messages.append(header["value"]["summary"])
        commit = self.hub.commit(repo, files, branch=revision)
        if self.hub.lost:
            self.hub.lost -= 1
            self.close_connection = True
            return
        url = f"{self.hub.url}/{repo}/commit/{commit}"
        self._send_json({"success": True, "commitOid": commit, "commitUrl": url})

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

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


def _blob(path: str, data: bytes) -> dict[str, Any]:
    """What a row of the tree says, as the repository's own description says it."""
    entry = _entry(path, data)
    lfs = entry.get("lfs")
    blob = {"blobId": entry["oid"], "size": entry["size"]}
    return {**blob, "lfs": {**lfs, "sha256": lfs["oid"]}} if lfs else blob


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
    (rf"GET /api/models/{_REPO}/refs", _Handler.refs),
    (r"POST /api/repos/create", _Handler.create),
    (rf"POST /api/models/{_REPO}/branch/(?P<branch>[^/]+)", _Handler.create_branch),
    (r"POST /api/validate-yaml", _Handler.validate),
    (rf"POST /api/models/{_REPO}/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put),
    (rf"POST /api/models/{_REPO}/commit/(?P<revision>[^/]+)", _Handler.push),
]
