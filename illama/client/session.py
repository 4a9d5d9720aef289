"""Which host a client talks to, now: found or started at its first call, found again when it has gone.

Knows: discovery and its results. Does not know: connections, what is asked. Safe to use from several threads.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from illama.config import Settings
from illama.discovery import Endpoint, connect


class Session:
    """One client's host. `base_url` and `api_key` win over what is found; a named host is never started."""

    def __init__(self, base_url: str | None, api_key: str | None, start: bool, settings: Settings | None) -> None:
        self.settings = settings or Settings.load()
        self._api_key = api_key
        self._start = start
        self._lock = threading.Lock()
        self._endpoint: Endpoint | None = None
        self._named = None
        if base_url:
            self._named = Endpoint(base_url.rstrip("/").removesuffix("/v1"), api_key or self.settings.api_key)

    @property
    def own(self) -> bool:
        """Whether the host is this user's own, on this machine: found or started, not named."""
        return self._named is None and not self.settings.base_url

    @property
    def place(self) -> tuple[str, str | None]:
        """What tells this session's host, and who comes to it, from others."""
        url = self._named.url if self._named else self.settings.base_url
        return url or str(self.settings.run_dir), self._api_key

    def known(self) -> Endpoint | None:
        """The host, if it was found and has not ended since. Costs microseconds."""
        found = self._named or self._endpoint
        return None if found is None or found.gone() else found

    def endpoint(self) -> Endpoint:
        """The host: found, or started. May block for as long as a start takes. Raises HostError."""
        with self._lock:
            found = self.known()
            if found is None:
                found = connect(self.settings, start=self._start)
                self._endpoint = found = replace(found, key=self._api_key or found.key)
            return found

    def another(self, *, start: bool) -> Session:
        """A session of its own with the same host, which starts one or does not."""
        named = self._named.url if self._named else None
        return Session(named, self._api_key, start, self.settings)

    def lose(self, endpoint: Endpoint) -> bool:
        """Nothing listens there any more. Returns whether it is worth looking again."""
        with self._lock:
            if self._endpoint is endpoint:
                self._endpoint = None
        return endpoint.state is not None


class ClientBase:
    """What the blocking client and the one for asyncio have in common: all that needs no reading or writing."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        start: bool = True,
        settings: Settings | None = None,
    ) -> None:
        self.session = Session(base_url, api_key, start, settings)

    @property
    def base_url(self) -> str:
        """The host's URL, without `/v1`. Finds or starts the host, if that has not happened yet."""
        return self.session.endpoint().url

    @property
    def api_key(self) -> str | None:
        """The key that goes with it. Finds or starts the host, if that has not happened yet."""
        return self.session.endpoint().key

    def _hub_token(self, source: str) -> str | None:
        """HF_TOKEN, if the source needs the hub and the host is our own: nobody else's is told."""
        from illama.pull.sources import on_hub

        token = self.session.settings.hf_token
        return token if token and self.session.own and on_hub(source) is not None else None

    @property
    def warnings(self) -> list[str]:
        """Sentences about settings that differ from those of the host, once it was found."""
        known = self.session.known()
        return list(known.warnings) if known else []
