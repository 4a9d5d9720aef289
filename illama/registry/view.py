"""The models of a registry at one moment, and how a name is looked up among them.

Knows: names, aliases, the case of letters, who has taken what. Does not know: the disk.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from illama.errors import ModelExistsError, ModelNotFoundError
from illama.registry.entry import Entry
from illama.registry.names import fold, shown


class View:
    """A list of models that does not change, with its lookup tables."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: (entry.name.casefold(), entry.name)))
        self._exact: dict[str, Entry] = {}
        self._folded: dict[str, Entry] = {}
        # Names before aliases, and the model that was made first before later ones: so it keeps a shared alias.
        oldest = sorted(self.entries, key=lambda entry: (entry.created, entry.name))
        for entry, name in [(e, e.name) for e in oldest] + [(e, alias) for e in oldest for alias in e.aliases]:
            self._exact.setdefault(name, entry)
            self._folded.setdefault(fold(name), entry)

    def holder(self, name: str) -> Entry | None:
        """The model that this name or alias leads to, if any."""
        return self._exact.get(name) or self._folded.get(fold(name))

    def get(self, name: str) -> Entry:
        """The model that this name or alias leads to. Raises ModelNotFoundError with the nearest names."""
        entry = self.holder(name)
        if entry is not None:
            return entry
        near = self.nearest(name)
        if near:
            hint = f"Nearest: {', '.join(near)}. `illama list` shows all that are installed."
        elif self.entries:
            hint = "`illama list` shows what is installed, `illama show --catalog` the short names that pull knows."
        else:
            hint = "No model is installed yet: `illama pull smollm2` fetches a small one."
        raise ModelNotFoundError(f"There is no model {shown(name)} here.", hint=hint)

    def nearest(self, name: str) -> list[str]:
        """At most three names of models that look like `name`."""
        keys = difflib.get_close_matches(fold(name)[:200], list(self._folded), n=6, cutoff=0.5)
        return list(dict.fromkeys(self._folded[key].name for key in keys))[:3]

    def organisation(self, name: str) -> str | None:
        """Whose model holds this name, as far as its source tells."""
        holder = self.holder(name)
        repo = holder.source.get("repo") if holder else None
        return repo.partition("/")[0] if isinstance(repo, str) and "/" in repo else None

    def refuse_taken(self, name: str) -> None:
        """Raise ModelExistsError if this name, in any case of letters, is a model's name or alias."""
        holder = self.holder(name)
        if holder is None:
            return
        what = "There is already a model" if fold(holder.name) == fold(name) else f"An alias of {holder.name} is"
        raise ModelExistsError(
            f"{what} {name}.",
            hint=f"Nothing is overwritten: choose another name (a pull takes --name), or `illama rm {holder.name}`.",
        )
