"""Getting models: from the catalogue, from a model hub, from a local folder, from a GGUF file.

A pull runs in a process of its own, `python -m illama.pull`; what is imported here is light.
"""

from __future__ import annotations

from illama.pull.catalog import CATALOGUE, CatalogueItem
from illama.pull.sources import Folder, GgufFile, Installed, Source, localize, resolve

__all__ = ["CATALOGUE", "CatalogueItem", "Folder", "GgufFile", "Installed", "Source", "localize", "resolve"]
