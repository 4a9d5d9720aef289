"""The model host: the process that owns the engines and speaks HTTP."""

from __future__ import annotations

__all__ = ["serve"]


def __getattr__(name: str) -> object:
    # `illama.host.state` is read by every command line, which must not pay for Tornado.
    if name == "serve":
        from illama.host.app import serve

        return serve
    raise AttributeError(f"module 'illama.host' has no attribute {name!r}")
