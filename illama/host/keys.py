"""The owner's key, made at first start, and the inference keys, made for programs that shall only use models.

Knows: the keys' files and their rights. Does not know: HTTP, or which path needs which key.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from illama.config import Settings
from illama.errors import ConfigError, HostError, NotFoundError, RequestError

# What every inference key begins with; then come its name, a dash and 48 hexadecimal digits.
PREFIX = "sk-illama-"
# Lower case alone: some file systems take "a" and "A" for the same name.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?")
_KEY = re.compile(rf"{PREFIX}({_NAME.pattern})-[0-9a-f]{{48}}")
# Seconds. A key's last use is kept to the minute: a busy client need not make the disk busy too.
_USE_KEPT_EVERY = 60.0


def owner_key(settings: Settings) -> str:
    """The owner's key: ILLAMA_API_KEY, else the kept one, else a new one that is kept from now on (0600).

    Raises HostError if the file cannot be made or read, ConfigError if it is empty.
    """
    if settings.api_key:
        return settings.api_key
    path = settings.key_file
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # Exclusive: of two first starts one makes the key, and the other reads it.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_text(encoding="ascii").strip()
        else:
            key = f"illama-{secrets.token_urlsafe(32)}"
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(key + "\n")
    except (OSError, UnicodeDecodeError) as problem:
        raise HostError(
            f"The owner's key in {path} cannot be used: {problem}.",
            hint="Mend the file's rights, or set ILLAMA_API_KEY.",
        ) from problem
    if not key:
        raise ConfigError(f"The key file {path} is empty.", hint="Remove it: the next start makes a new key.")
    return key


def bearer(header: str) -> str:
    """The key in an Authorization header; empty if there is none."""
    scheme, _, given = header.partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def looks_like_inference_key(key: str) -> bool:
    """Whether it has an inference key's form, which says nothing about whether it is one."""
    return _KEY.fullmatch(key) is not None


def same(given: str, key: str) -> bool:
    """Whether the key is this one. Takes the same time for every wrong one."""
    return hmac.compare_digest(given.encode(), key.encode())


@dataclass(frozen=True)
class InferenceKey:
    """What is known of a key: all but the key itself. Times are ISO 8601 with a zone; `used` None means never."""

    name: str
    created: str
    used: str | None


class InferenceKeys:
    """The inference keys of one user: a file each, named as the key is, with the key's SHA-256 in it.

    Nobody caches: a key is there, or it is gone, for every process at once. A plain hash does, because the key is 24
    random bytes, which nobody can try out. When a key was last used is its file's modification time; 0 means never.
    """

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.key_file.with_name("keys")

    @classmethod
    def of(cls, settings: Settings) -> InferenceKeys:
        """The keys of this user's own host. Raises ConfigError if ILLAMA_BASE_URL names another one."""
        if settings.base_url:
            raise ConfigError(
                f"ILLAMA_BASE_URL names the host at {settings.base_url}, whose keys are not kept here.",
                hint="Run `illama key` as the host's user on its machine, or unset ILLAMA_BASE_URL for your own keys.",
            )
        return cls(settings)

    def add(self, name: str) -> str:
        """Make a key and return it: this is the only time that anybody can see it.

        Raises RequestError if the name cannot be used or is taken, HostError if the file cannot be written.
        """
        path = self._path(name)
        key = f"{PREFIX}{name}-{secrets.token_hex(24)}"
        kept = {"name": name, "sha256": _hash(key), "created": _iso(time.time())}
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                raise RequestError(
                    f"There is a key named {name} already.",
                    hint=f"Take another name, or revoke it first: illama key rm {name}",
                    code="key_exists",
                    status=409,
                    param="name",
                ) from None
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(kept, file)
            os.utime(path, (0, 0))
        except OSError as problem:
            raise HostError(
                f"The key cannot be kept in {self.folder}: {problem.strerror or problem}.", hint="Mend its rights."
            ) from problem
        return key

    def list(self) -> list[InferenceKey]:
        """All keys, the oldest first."""
        found = []
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                kept, used = json.loads(path.read_text(encoding="ascii")), path.stat().st_mtime
                found.append(InferenceKey(path.stem, str(kept["created"]), _iso(used) if used else None))
        return sorted(found, key=lambda key: (key.created, key.name))

    def remove(self, name: str) -> None:
        """Revoke a key: the next request with it is refused. Raises RequestError or NotFoundError."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            raise NotFoundError(
                f"There is no key named {name}.", hint="`illama key list` shows those there are."
            ) from None

    def holder(self, key: str) -> str | None:
        """The name of the key that this is, or None for what is none (any more). Notes that it was used."""
        form = _KEY.fullmatch(key)
        if form is None:
            return None
        name = form[1]
        try:
            with (self.folder / f"{name}.json").open(encoding="ascii") as file:
                kept = str(json.load(file)["sha256"])
                used = os.fstat(file.fileno()).st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not hmac.compare_digest(kept.encode(), _hash(key).encode()):
            return None
        if abs(time.time() - used) > _USE_KEPT_EVERY:
            with contextlib.suppress(OSError):
                os.utime(self.folder / f"{name}.json")
        return name

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise RequestError(
                f"{name!r} cannot be a key's name.",
                hint="Take up to 40 lower-case letters, digits, dashes and underscores, such as open-webui.",
                param="name",
            )
        return self.folder / f"{name}.json"


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
