"""Between which markers each family writes its calls, so that a call can be guided once the model has begun it.

Knows: the markers that are certain, and what stands between them. Does not know: schemas, engines.

A format has tags here if each call that its parser finds begins with the trigger: then none is made without being
guided. Llama 3's calls are bare objects, of which only the usual spelling can be watched for; what gpt-oss, Qwen3-Coder
(XML) and models of an unknown format write is not guided at all.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from illama.host.parsing import grammars
from illama.host.parsing.grammars import Grammar


class Tags(NamedTuple):
    """What surrounds the guided part of a call.

    The model writes `trigger` by its own choice; `then` is forced after it (with the function's name for `{name}`),
    after that what is `inside`, and then `end`. `reads` is the grammar that parses it. `certain`: no call comes
    without the trigger.
    """

    trigger: str
    then: str
    inside: Literal["call", "calls", "arguments"]  # {"name", "arguments"}, an array of those, or arguments alone
    end: str
    reads: Grammar
    certain: bool = True


def tags_of(calls: Grammar, template: str) -> Tags | None:
    """The tags of a family whose models have this chat template; None if it has none to rely on."""
    if calls is grammars.hermes and "<tool_call>" in template and "<function=" not in template:
        return Tags("<tool_call>", "\n", "call", "\n</tool_call>", grammars.hermes_json)
    if calls is grammars.mistral:
        if "[ARGS]" in template:
            return Tags("[TOOL_CALLS]", "{name}[ARGS]", "arguments", "", grammars.mistral)
        return Tags("[TOOL_CALLS]", " " if "[TOOL_CALLS] [" in template else "", "calls", "", grammars.mistral)
    if calls is grammars.phi and "<|tool_call|>" in template:
        end = "<|/tool_call|>" if "<|/tool_call|>" in template else ""
        return Tags("<|tool_call|>", "", "calls", end, grammars.phi_tagged)
    if calls is grammars.deepseek:
        one, sep, end = grammars.DEEPSEEK_CALL
        if "```json" in template:
            return Tags(one, f"function{sep}{{name}}\n```json\n", "arguments", f"\n```{end}", grammars.deepseek)
        return Tags(one, f"{{name}}{sep}", "arguments", end, grammars.deepseek)
    if calls is grammars.llama:
        return Tags('{"name": "{name}", "parameters": ', "", "arguments", "}", grammars.llama, certain=False)
    return None
