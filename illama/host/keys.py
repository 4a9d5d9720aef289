"""The owner's key: made at first start, kept where only the owner can read it.

Knows: the key's file and its rights. Does not know: HTTP headers.
"""

from __future__ import annotations

import hmac
import os
import secrets

from illama.config import Settings
from illama.errors import ConfigError, HostError


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


def matches(header: str, key: str) -> bool:
    """Whether an Authorization header carries the key. Takes the same time for every wrong one."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode())
