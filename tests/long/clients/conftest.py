"""What the checks of the clients share. They run in the clients' own environment, where illama is not installed.

`tests/long/clients.py` starts the hosts and says by variables where they are: a real one with small real models, and
one with the fake engine, whose model `caller` always calls the tool `weather` for Paris, in the format of Hermes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

QUESTION = "What is the capital of France? Answer in one sentence."
# What every check of a tool offers. Its values are bounded, so that a guided call is short.
WEATHER = {
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
# What every check of structured output asks for.
CITY = {
    "title": "City",
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "capital": {"type": "boolean"}},
    "required": ["name", "capital"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Target:
    """A host, and what it has."""

    url: str
    key: str
    chat: str
    embed: str = ""

    @property
    def v1(self) -> str:
        return self.url + "/v1"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@pytest.fixture(scope="session")
def real() -> Target:
    """The real models."""
    e = os.environ
    return Target(e["REAL_URL"], e["REAL_KEY"], e["REAL_CHAT"], e["REAL_EMBED"])


@pytest.fixture(scope="session")
def caller() -> Target:
    """The model that calls."""
    e = os.environ
    return Target(e["FAKE_URL"], e["FAKE_KEY"], "caller")
