"""Finds the model host for the gate, or has it started, without holding up the Jupyter server meanwhile.

Knows: `illama.discovery`, one HTTP session. Does not know: Jupyter, who asks, what is asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp

from illama import discovery, transport
from illama.config import Settings
from illama.discovery import Endpoint
from illama.errors import HostError, IllamaError
from illama.host.keys import InferenceKeys


class Upstream:
    """The host behind the gate: found once, found again when it has gone. For the event loop's thread alone."""

    def __init__(self, *, base_url: str = "", api_key: str = "", start_host: bool = True) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._start_host = start_host
        self._endpoint: Endpoint | None = None
        self._looking: dict[bool, asyncio.Future[Endpoint]] = {}
        self._session: aiohttp.ClientSession | None = None

    def settings(self) -> Settings:
        """The environment's settings, with the host that the server's configuration names. Raises ConfigError."""
        found = Settings.load()
        if self._base_url:
            found = replace(found, base_url=self._base_url)
        return replace(found, api_key=self._api_key) if self._api_key else found

    def is_own(self) -> bool:
        """Whether the host is the user's own, not one that a URL names. Raises ConfigError."""
        return self.settings().base_url is None

    async def endpoint(self, *, start: bool) -> Endpoint:
        """Where the host is, started if need be and allowed. Raises HostError, which says what to do, if it is nowhere.

        However many ask at once, one thread looks.
        """
        if self._endpoint is not None and not self._endpoint.gone():
            return self._endpoint
        start = start and self._start_host
        looking = self._looking.get(start)
        if looking is None:
            looking = self._looking[start] = asyncio.ensure_future(asyncio.to_thread(self._find, start))
            looking.add_done_callback(lambda found: self._found(start, found))
        # Who has gone must not end the search for the others.
        return await asyncio.shield(looking)

    async def key_holder(self, key: str) -> str | None:
        """The name of this inference key, or None if it is none. Raises HostError if another host cannot be asked."""
        settings = self.settings()
        if settings.base_url is None:
            return await asyncio.to_thread(InferenceKeys(settings).holder, key)
        endpoint = await self.endpoint(start=False)
        try:
            async with self.session(endpoint).get(
                f"{endpoint.url}/api/version",
                headers={"Authorization": f"Bearer {key}"},
                timeout=aiohttp.ClientTimeout(total=transport.CONNECT_WAIT),
                allow_redirects=False,
            ) as answer:
                # A host that asks nobody for a key answers as well: it has to say that it knows this one.
                known = await answer.json() if answer.status == 200 else {}
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as problem:
            raise HostError(
                "The model host cannot be asked about this key.", hint="See that it runs, and that its URL is right."
            ) from problem
        name = known.get("inference_key") if isinstance(known, dict) else None
        return name if isinstance(name, str) else None

    def forget(self, endpoint: Endpoint) -> None:
        """It does not answer there: look again at the next request."""
        if self._endpoint is endpoint:
            self._endpoint = None

    def session(self, endpoint: Endpoint) -> aiohttp.ClientSession:
        """The HTTP session for it: no cookies, no time limit on an answer, no limit on how many are under way."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=transport.CONNECT_WAIT),
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                # The same rule as for httpx: the environment's proxies would not reach this machine.
                trust_env=endpoint.state is None and not transport.is_loopback(endpoint.url),
            )
        return self._session

    async def close(self) -> None:
        """Close the connections. The host stays: it belongs to nobody."""
        if self._session is not None:
            await self._session.close()

    def _find(self, start: bool) -> Endpoint:
        try:
            return discovery.connect(self.settings(), start=start)
        except HostError:
            raise
        except IllamaError as problem:
            # A variable that is wrong here is not the fault of who sent the request.
            raise HostError(problem.message, hint=problem.hint) from problem

    def _found(self, start: bool, looking: asyncio.Future[Endpoint]) -> None:
        del self._looking[start]
        if not looking.cancelled() and looking.exception() is None:
            self._endpoint = looking.result()
