"""The panel's modules in a bare page of a real browser: no Jupyter, no host."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

import illama

STATIC = Path(illama.__file__).parent / "notebook" / "static"


def bare_page(browser: Any) -> Any:
    """An empty page whose server has the panel's files, and nothing else; `page.refused` lists what else it asked."""
    page = browser.new_page()
    page.refused = []

    def answer(route: Any) -> None:
        name = route.request.url.removeprefix("http://panel.test/")
        if name == "":
            route.fulfill(body="<!doctype html><title>bare</title><body></body>", content_type="text/html")
        elif (STATIC / name).is_file():
            kind = mimetypes.guess_type(name)[0] or "text/plain"
            route.fulfill(body=(STATIC / name).read_text(encoding="utf-8"), content_type=kind)
        else:
            page.refused.append(route.request.url)
            route.abort()

    page.route("**/*", answer)
    page.goto("http://panel.test/")
    return page
