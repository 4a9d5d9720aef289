"""How a repository on a model hub is named: `org/repo`, with a revision, a quantization, or as the address of its page.

Knows: the grammar of such names. Does not know: whether there is such a repository, or anything of HTTP.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = r"[A-Za-z0-9](?:[\w.-]{0,94}\w)?"
_REVISION = r"[\w][\w./-]{0,200}"
_NAME = re.compile(
    rf"(?P<repo>{_PART}/{_PART})(?:@(?P<before>{_REVISION}))?(?::(?P<quant>\w[\w.-]{{0,40}}))?(?:@(?P<after>{_REVISION}))?",
    re.ASCII,
)
_SITE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
_PAGE = re.compile(
    rf"(?P<repo>{_PART}/{_PART})/(?:tree|blob|resolve)/(?P<revision>[\w.-]+)(?:/(?P<file>[\w./ -]+))?", re.ASCII
)
# The first part of an address that is not an organisation.
_OTHER_THINGS = {"datasets", "spaces", "api", "collections", "docs", "models", "papers", "settings"}


@dataclass(frozen=True)
class HubRepo:
    """A repository, such as `OpenVINO/phi-4-int4-ov`.

    `revision` is a branch, tag or commit, None for the main branch; `quant` picks one of several GGUF files, `file`
    names one; `aliases` are further names that the model is to have.
    """

    repo: str
    revision: str | None = None
    quant: str | None = None
    file: str | None = None
    aliases: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The repository, and what is meant of it, in one word."""
        which = self.quant or self.file
        return f"{self.repo}{f'@{self.revision}' if self.revision else ''}{f':{which}' if which else ''}"


def is_address(source: str) -> bool:
    """Whether a source names the hub's site, with or without https:// in front."""
    return _SITE.match(source.strip()) is not None


def parse(source: str) -> HubRepo | None:
    """The repository that a name or a page's address means, or None if it cannot mean one."""
    source = source.strip()
    site = _SITE.match(source)
    if site:
        source = re.split(r"[?#]", source[site.end() :])[0].rstrip("/")
        page = _PAGE.fullmatch(source)
        if page and page["repo"].partition("/")[0].lower() not in _OTHER_THINGS and not _climbs(source):
            return HubRepo(page["repo"], revision=page["revision"], file=page["file"])
    found = _NAME.fullmatch(source)
    if found is None or _climbs(source) or "--" in found["repo"] or (found["before"] and found["after"]):
        return None
    if found["repo"].partition("/")[0].lower() in _OTHER_THINGS:
        return None
    quant = found["quant"]
    return HubRepo(
        found["repo"],
        revision=found["before"] or found["after"],
        quant=None if quant and quant.lower() == "latest" else quant,
    )


def is_repo(name: object) -> bool:
    """Whether this is `organisation/name` and nothing else: what a hub says about itself is checked too."""
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    return found is not None and found["repo"] == name and not _climbs(found["repo"]) and "--" not in found["repo"]


def _climbs(text: str) -> bool:
    return ".." in text or "//" in text
