"""How a text that names files is shown: what lies in the user's home folder begins with `~`, as in a shell.

A notebook is saved with its outputs and given to others, and a home folder's path tells the user's name. Knows: where
the home is. Does not know: which texts name files.
"""

from __future__ import annotations

import re
from pathlib import Path


def private(text: str, home: Path | None = None) -> str:
    """The text with the user's home folder, and so their name, as `~`."""
    try:
        folder = str(home or Path.home())
    except RuntimeError:  # this user has no home
        return text
    # The home of root in a container may be "/": that is nobody's name.
    return re.sub(re.escape(folder) + r"(?![\w-]|\.\w)", "~", text) if len(folder) > 1 else text
