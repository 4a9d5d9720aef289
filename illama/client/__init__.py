"""The client: what a notebook, the command line and a script use to talk to a host.

Knows: which calls there are. Does not know: how a host is found (`illama.discovery`), what a model is made of, anything
heavy. `wire` holds what goes over the wire and is shared by `sync` and `aio`, which add only the reading and writing.

    >>> import illama
    >>> print(illama.chat("What is the capital of France?"))  # doctest: +SKIP
    The capital of France is Paris.
"""

from __future__ import annotations

from illama.client.aio import AsyncChatStream, AsyncClient
from illama.client.reply import Reply
from illama.client.sync import ChatStream, Client, chat

__all__ = ["AsyncChatStream", "AsyncClient", "ChatStream", "Client", "Reply", "chat"]
