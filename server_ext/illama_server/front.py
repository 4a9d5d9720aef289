"""Where the panel's files are, and which of them may be served.

Knows: the folder in illama's package, names and kinds. Does not know: Jupyter, what is in the files.
"""

from __future__ import annotations

from pathlib import Path

import illama

# Found by the package's place: importing its notebook part is not for servers.
FOLDER = Path(illama.__file__).parent / "notebook" / "static"
INDEX = "index.html"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


# Media types by name, of the files that may be served; the empty name is the page.
FILES = {file.name: _KINDS[file.suffix] for file in FOLDER.iterdir() if file.suffix in _KINDS}
