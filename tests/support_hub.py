"""A small model hub on this machine, for the real huggingface_hub client and our own transfer to talk to.

It serves repositories from memory: metadata, files with ranges, big files by a redirect to a storage on another port.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

BIG = 48  # files from this size on are "LFS" ones, with a sha256 and at the storage


@dataclass
class Repo:
    """A repository at one commit. `files` maps names to contents; a Path is read when it is asked for."""

    files: dict[str, bytes | Path]
    commit: str = "c" * 40
    licence: str = "apache-2.0"
    gated: bool = False
    private: bool = False
    lies: dict[str, dict[str, Any]] = field(default_factory=dict)  # what the metadata says otherwise, by file


@dataclass(frozen=True)
class Asked:
    """A request that came: to the hub or the storage, with its headers in lower case."""

    server: str
    path: str
    headers: dict[str, str]

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None


class PlayHub:
    """The hub: its repositories, what was asked of it, and how it misbehaves.

    `cut` is asked for every file before it is sent: (name, first byte, length) -> bytes after which the connection is
    closed, or None. `spoil` changes what is sent. `status` answers everything with that status.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.asked: list[Asked] = []
        self.sent: dict[str, int] = {}
        self.cut: Callable[[str, int, int], int | None] = lambda name, start, length: None
        self.spoil: Callable[[str, bytes], bytes] = lambda name, data: data
        self.status: int | None = None
        self.pace = 0.0  # seconds for each 64 KiB of a file, so that there is something to interrupt
        self.ranges = True
        self.good_token = "hf_good"
        self.gate: threading.Event | None = None  # while it is not set, big files stop halfway
        self.halfway = threading.Event()
        self.reached = 0
        self.url = ""
        self.storage_url = ""

    def bytes_sent(self) -> int:
        """Bytes of files that went out."""
        return sum(self.sent.values())


def content(repo: Repo, name: str) -> bytes:
    """A file's bytes."""
    data = repo.files[name]
    return data.read_bytes() if isinstance(data, Path) else data


def repo_of(folder: Path, **options: Any) -> Repo:
    """A repository with the files of a folder."""
    return Repo({path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}, **options)


@contextlib.contextmanager
def playing() -> Iterator[PlayHub]:
    """A hub that runs, and its storage."""
    hub = PlayHub()
    servers = [_Server(("127.0.0.1", 0), _handler(hub, kind)) for kind in ("hub", "storage")]
    hub.url, hub.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        if hub.gate:
            hub.gate.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to report."""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _metadata(name: str, repo: Repo) -> dict[str, Any]:
    siblings = []
    for file in repo.files:
        data = content(repo, file)
        git_id = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        known: dict[str, Any] = {"rfilename": file, "size": len(data), "blobId": git_id}
        if len(data) >= BIG:
            known["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 130}
        siblings.append({**known, **repo.lies.get(file, {})})
    return {
        "_id": "1",
        "id": name,
        "modelId": name,
        "sha": repo.commit,
        "private": repo.private,
        "gated": "auto" if repo.gated else False,
        "tags": ["openvino", f"license:{repo.licence}"],
        "siblings": siblings,
        "downloads": 0,
        "likes": 0,
        "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
    }


def _handler(hub: PlayHub, kind: str) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            asked = Asked(kind, path, {key.lower(): value for key, value in self.headers.items()})
            hub.asked.append(asked)
            parts = path.strip("/").split("/")
            if hub.status:
                self.answer(hub.status, b"out of order")
            elif kind == "storage":
                repo, _, name = path.removeprefix("/blobs/").partition("//")
                self.file(hub.repos[repo], name)
            elif parts[:2] == ["api", "models"]:
                self.model(asked, parts[2:])
            else:
                self.resolve(asked, parts)

        def allowed(self, asked: Asked, name: str) -> Repo | None:
            if asked.token not in {None, hub.good_token}:
                self.refuse(401, None, "Invalid credentials in Authorization header")
                return None
            repo = hub.repos.get(name)
            if repo is None or (repo.private and asked.token is None):
                self.refuse(404 if asked.token else 401, "RepoNotFound", "Repository not found")
                return None
            return repo

        def model(self, asked: Asked, parts: list[str]) -> None:
            name = "/".join(parts[:2])
            repo = self.allowed(asked, name)
            if repo is None:
                return
            revision = "/".join(parts[3:])
            if revision not in {"", "main", repo.commit}:
                self.refuse(404, "RevisionNotFound", "Invalid rev id")
                return
            self.answer(200, json.dumps(_metadata(name, repo)).encode(), {"Content-Type": "application/json"})

        def resolve(self, asked: Asked, parts: list[str]) -> None:
            name, file = "/".join(parts[:2]), "/".join(parts[4:])
            repo = self.allowed(asked, name)
            if repo is None:
                return
            if repo.gated and asked.token is None:
                self.refuse(401, "GatedRepo", "Access to this model is restricted")
            elif parts[3] != repo.commit or file not in repo.files:
                self.refuse(404, "EntryNotFound", "Entry not found")
            elif len(data := content(repo, file)) < BIG:
                self.file(repo, file)
            else:
                headers = {
                    "Location": f"{hub.storage_url}/blobs/{name}//{file}?signed=yes",
                    "X-Repo-Commit": repo.commit,
                    "X-Linked-Size": str(len(data)),
                    "X-Linked-Etag": f'"{_sha256(data)}"',
                }
                self.answer(302, b"", headers)

        def file(self, repo: Repo, name: str) -> None:
            data = content(repo, name)
            whole, start = len(data), 0
            asked = self.headers.get("Range")
            if asked and hub.ranges:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= whole:
                    self.answer(416, b"", {"Content-Range": f"bytes */{whole}"})
                    return
            data = hub.spoil(name, data)[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{_sha256(data)}"')
            self.send_header("X-Repo-Commit", repo.commit)
            self.send_header("Content-Length", str(len(data)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.end_headers()
            end = hub.cut(name, start, len(data))
            sent = data if end is None else data[:end]
            if hub.gate and len(sent) > 1000:
                self.put(name, sent[: len(sent) // 2])
                hub.reached = start + len(sent) // 2
                hub.halfway.set()
                hub.gate.wait(60)
                sent = sent[len(sent) // 2 :]
            self.put(name, sent)
            if end is not None:
                self.close_connection = True

        def put(self, name: str, data: bytes) -> None:
            for i in range(0, len(data), 65536):
                if hub.pace:
                    time.sleep(hub.pace)
                self.wfile.write(data[i : i + 65536])
                hub.sent[name] = hub.sent.get(name, 0) + len(data[i : i + 65536])

        def refuse(self, status: int, code: str | None, message: str) -> None:
            headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
            self.answer(status, json.dumps({"error": message}).encode(), headers)

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler
