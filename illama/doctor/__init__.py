"""What is right and wrong with this machine for illama: `examine` reads facts, `judge` says what follows from them.

Knows: the order of things. Does not know: how a fact is read (the readers), what it means (`judge`), how it is shown.
"""

from __future__ import annotations
