"""What a model hub says about a repository, and what its refusals mean.

Knows: huggingface_hub's metadata and errors, and that what a hub says is not to be trusted. Does not know: how files
are transferred, or which of them make a model.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import illama
from illama.errors import PullError
from illama.pull.repos import HubRepo, is_repo
from illama.registry.entry import is_inside
from illama.registry.names import shown

_TIMEOUT_SEC = 30.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: its path there, its size in bytes, its sha256 (big files) and its git id (all others)."""

    name: str
    size: int
    sha256: str | None
    git_id: str | None

    @property
    def local(self) -> str:
        """What the file is called on disk: all files of a repository lie in one folder, and no two have one name."""
        return self.name.replace("%", "%25").replace("/", "%2F")


@dataclass(frozen=True)
class Hub:
    """A hub: its address, and the user's token for it. The token never appears in a repr, and so in no log."""

    endpoint: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Hub({self.endpoint!r})"

    @property
    def host(self) -> str:
        """The hub's name for messages."""
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]


@dataclass(frozen=True)
class Listing:
    """A repository at one commit. Every file's name has been checked: none leads out of a folder."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    licence: str | None

    def named(self, name: str) -> RemoteFile | None:
        """The file of this path, or None."""
        return next((file for file in self.files if file.name == name), None)

    def url(self, hub: Hub, file: RemoteFile) -> str:
        """Where a file is at this very commit: whatever happens to the repository, these are the same bytes."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, file.name, revision=self.commit, endpoint=hub.endpoint)


def look(hub: Hub, wanted: HubRepo) -> Listing:
    """Ask the hub what is in a repository. Raises PullError, with a message of its own for each way to be refused."""
    # Read at its first import. Without it, the library asks the hub which tools' names to report, and reports them.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RevisionNotFoundError

    # False, not None: the library would look for a token of its own, and nobody asked for that.
    api = HfApi(
        endpoint=hub.endpoint, token=hub.token or False, library_name="illama", library_version=illama.__version__
    )
    try:
        info = api.model_info(wanted.repo, revision=wanted.revision, files_metadata=True, timeout=_TIMEOUT_SEC)
    except GatedRepoError as problem:  # also a RepositoryNotFoundError, so it comes first
        raise refused(hub, wanted.repo, 403, "GatedRepo") from problem
    except RevisionNotFoundError as problem:
        raise PullError(
            f"{wanted.repo} has no revision {shown(wanted.revision or 'main')}.",
            hint="Leave it out for the newest, or name a branch, a tag or a whole commit.",
            status=404,
        ) from problem
    except HFValidationError as problem:
        raise PullError(f"{shown(wanted.repo)} is no repository's name.", hint="Check the spelling.") from problem
    except HfHubHTTPError as problem:
        status = getattr(problem.response, "status_code", 0)
        headers = getattr(problem.response, "headers", {})
        raise refused(hub, wanted.repo, status, headers.get("X-Error-Code")) from problem
    except _transport_errors() as problem:
        raise unreachable(hub, problem) from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise _nonsense(hub, wanted.repo) from problem
    return _listing(hub, wanted, info)


def _transport_errors() -> tuple[type[BaseException], ...]:
    # The library's HTTP client differs with its version; the base of its own error covers a failed connection too.
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))


def refused(hub: Hub, repo: str, status: int, code: str | None) -> PullError:
    """The error for an answer of the hub that is none: by its HTTP status and its `X-Error-Code`."""
    page = f"{hub.endpoint}/{repo}"
    if code == "GatedRepo":
        hint = f"Accept its terms at {page}, set HF_TOKEN to a token of that account, and pull again."
        if hub.token:
            hint = f"The account of this HF_TOKEN has no access: ask for it at {page}, and pull again once it is given."
        return PullError(f"{repo} is gated: its owners want to know who downloads it.", hint=hint, status=403)
    if status == 401 and hub.token and code != "RepoNotFound":
        return PullError(
            f"{hub.host} does not accept this HF_TOKEN.",
            hint=f"Make a new one at {hub.endpoint}/settings/tokens, or unset it: public models need none.",
            status=401,
        )
    if status == 401:
        return PullError(
            f"{repo} is private on {hub.host}, or does not exist.",
            hint="Check the spelling; for a private model set HF_TOKEN to a token that may read it.",
            status=401,
        )
    if status == 403:
        return PullError(
            f"{hub.host} does not let {'this HF_TOKEN' if hub.token else 'you'} read {repo}.",
            hint="Set HF_TOKEN to a token that may read it.",
            status=403,
        )
    if status == 404:
        return PullError(
            f"There is no model {repo} on {hub.host}.",
            hint="Check the spelling, the organisation in front of it too.",
            status=404,
        )
    if status == 429:
        return PullError(
            f"{hub.host} has had too many requests.", hint="Pull again in some minutes: what has come is kept."
        )
    return PullError(
        f"{hub.host} answers with an error of its own (HTTP {status}).",
        hint="The hub is down or overloaded. Pull again later: what has come is kept.",
        status=502,
    )


def unreachable(hub: Hub, problem: BaseException) -> PullError:
    """The error for a hub to which there is no connection."""
    said = " ".join(str(problem).split())[:200] or type(problem).__name__
    return PullError(
        f"{hub.host} cannot be reached: {said.rstrip('.')}.",
        hint="Check the network, its proxy, and HF_ENDPOINT if it is set; then pull again: what has come is kept.",
        status=502,
    )


def _listing(hub: Hub, wanted: HubRepo, info: Any) -> Listing:
    repo = info.id if is_repo(info.id) else wanted.repo  # a repository that was renamed says so
    if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
        raise _nonsense(hub, wanted.repo)
    files = []
    for each in info.siblings or ():
        name, size = each.rfilename, each.size
        if not isinstance(name, str) or not is_inside(name) or not name.isprintable():
            raise PullError(
                f"{repo} has a file with a dangerous name: {shown(str(name))}.",
                hint="Nothing was downloaded. Do not use this repository.",
                status=400,
            )
        sha256 = each.lfs["sha256"] if each.lfs else None
        if not isinstance(size, int) or size < 0 or (sha256 is not None and not _SHA256.fullmatch(str(sha256))):
            raise _nonsense(hub, wanted.repo)
        git_id = str(each.blob_id)
        files.append(RemoteFile(name, size, sha256, git_id if not sha256 and _COMMIT.fullmatch(git_id) else None))
    return Listing(repo, info.sha, tuple(files), _licence(info))


def _licence(info: Any) -> str | None:
    tags = [each.removeprefix("license:") for each in info.tags or () if str(each).startswith("license:")]
    return tags[0] if tags else None


def _nonsense(hub: Hub, repo: str) -> PullError:
    return PullError(
        f"{hub.host} says things about {repo} that cannot be understood.",
        hint="Check HF_ENDPOINT; if it is right, pull again later.",
        status=502,
    )
