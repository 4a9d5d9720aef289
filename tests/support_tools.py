"""What tests of tools share: a template whose model writes calls as Hermes does, and what the fake engine was told."""

from __future__ import annotations

import json
from typing import Any

from support_host import RunningHost

HERMES = "{% for tool in tools %}<tool_call>{% endfor %}{{ message.tool_calls }}{% if message.role == 'tool' %}"


def told(host: RunningHost, model: str, **body: Any) -> dict[str, Any]:
    """What the engine was told."""
    answer = host.chat(model, '/fake {"echo": true} x', **body).json()
    found: dict[str, Any] = json.loads(answer["choices"][0]["message"]["content"])
    return found
