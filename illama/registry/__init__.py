"""The models on this machine: their names, their folders, their index."""

from __future__ import annotations

from illama.registry.entry import Entry
from illama.registry.store import Registry

__all__ = ["Entry", "Registry"]
