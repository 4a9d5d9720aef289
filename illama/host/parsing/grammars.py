"""How each family of models writes its calls.

Knows: the families' formats, as their published chat templates have them. Does not know: which model is which family
(`style` does), what a call is told as.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from illama.host.parsing.calls import Calls, call_object, objects
from illama.host.parsing.source import BrokenError, CutError, Reading

Grammar = Callable[[Calls], Reading[None]]

_NAME = re.compile(r"[\w.:/-]{1,128}")


def hermes(calls: Calls) -> Reading[None]:
    """Hermes, Qwen 2.5 and 3, and many others: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

    Qwen3-Coder writes XML between the tags, and may forget the outer one.
    """
    while marker := (yield from calls.source.flow(("<tool_call>", "<function="), calls.text)):
        yield from calls.attempt(_hermes(calls, marker))


def hermes_json(calls: Calls) -> Reading[None]:
    """The same where what follows the tag is guided: without the tag there is no call."""
    while marker := (yield from calls.source.flow(("<tool_call>",), calls.text)):
        yield from calls.attempt(_hermes(calls, marker))


def _hermes(calls: Calls, marker: str) -> Reading[None]:
    source = calls.source
    yield from source.skip_white()
    if marker == "<function=" or (yield from source.accept("<function=")):
        yield from _xml(calls)
    else:
        yield from call_object(calls)
    yield from source.skip_white()
    yield from source.accept("</tool_call>")
    yield from _after(calls)


def _xml(calls: Calls) -> Reading[None]:
    source = calls.source
    name, _ = yield from source.until(">", longest=128)
    _check(name)
    types = calls.tools.get(name, {}).get("properties") or {}
    calls.begin(name)
    before = "{"
    while True:
        yield from source.skip_white()
        if (yield from source.expect("<parameter=", "</function>")) == "</function>":
            break
        key, _ = yield from source.until(">", longest=128)
        value, _ = yield from source.until("</parameter>", longest=2**20)
        value = value.removeprefix("\n").removesuffix("\n")
        calls.arguments(f"{before}{json.dumps(key)}: {_typed(value, types.get(key))}")
        before = ", "
    calls.arguments("{}" if before == "{" else "}")
    calls.end()


def _typed(value: str, schema: Any) -> str:
    """A value of the XML format as JSON: text where the schema wants text, else what it reads as."""
    if not (isinstance(schema, dict) and schema.get("type") == "string"):
        try:
            return json.dumps(json.loads(value), ensure_ascii=False)
        except ValueError:
            pass
    return json.dumps(value, ensure_ascii=False)


def llama(calls: Calls) -> Reading[None]:
    """Llama 3: `{"name": ..., "parameters": {...}}` alone, or after `<|python_tag|>`; several with `;` between them."""
    source = calls.source
    yield from source.skip_white()
    if (yield from source.peek()) == "{":
        yield from calls.attempt(_llama(calls, known=True))
    while (yield from source.flow(("<|python_tag|>",), calls.text)):
        yield from calls.attempt(_llama(calls, known=False))


def _llama(calls: Calls, *, known: bool) -> Reading[None]:
    source = calls.source
    while True:
        yield from source.skip_white()
        yield from call_object(calls, known=known)
        yield from _after(calls)
        if not (yield from source.accept(";")):
            return


def mistral(calls: Calls) -> Reading[None]:
    """Mistral: `[TOOL_CALLS] [{"name": ..., "arguments": {...}}]`, or newer `[TOOL_CALLS]name[ARGS]{...}`."""
    while (yield from calls.source.flow(("[TOOL_CALLS]",), calls.text)):
        yield from calls.attempt(_mistral(calls))


def _mistral(calls: Calls) -> Reading[None]:
    source = calls.source
    yield from source.skip_white()
    if (yield from source.peek()) in ("[", "{"):
        yield from objects(calls)
    else:
        name, marker = yield from source.until("[ARGS]", "[CALL_ID]", "{", longest=128)
        if marker == "[CALL_ID]":
            yield from source.until("[ARGS]", longest=128)
        yield from _named(calls, name.strip(), opened=marker == "{")
    yield from _after(calls)


def phi(calls: Calls) -> Reading[None]:
    """Phi-4 and Granite: `<|tool_call|>[{"name": ..., "arguments": {...}}]<|/tool_call|>`, or `functools[...]`."""
    while marker := (yield from calls.source.flow(("<|tool_call|>", "functools["), calls.text)):
        yield from calls.attempt(_phi(calls, array=marker == "functools["))


def phi_tagged(calls: Calls) -> Reading[None]:
    """The same where what follows the tag is guided: without the tag there is no call."""
    while (yield from calls.source.flow(("<|tool_call|>",), calls.text)):
        yield from calls.attempt(_phi(calls, array=False))


def _phi(calls: Calls, *, array: bool) -> Reading[None]:
    source = calls.source
    if array:
        source.back("[")
    yield from objects(calls)
    yield from source.skip_white()
    yield from source.accept("<|/tool_call|>")
    yield from _after(calls)


_BEGIN, _END = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
_ONE, _ONE_END = "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581end\uff5c>"
_SEP = "<\uff5ctool\u2581sep\uff5c>"
# What stands before a call, between its name and its arguments, and after it.
DEEPSEEK_CALL = (_ONE, _SEP, _ONE_END)


def deepseek(calls: Calls) -> Reading[None]:
    """DeepSeek: V3 and R1 with the arguments in a code block, V3.1 without; all between tokens of their own."""
    while marker := (yield from calls.source.flow((_BEGIN, _ONE), calls.text)):
        yield from calls.attempt(_deepseek(calls, begun=marker == _ONE))


def _deepseek(calls: Calls, *, begun: bool) -> Reading[None]:
    source = calls.source
    while True:
        yield from source.skip_white()
        if not begun and not (yield from source.accept(_ONE)):
            yield from source.expect(_END)
            break
        begun = False
        name, _ = yield from source.until(_SEP, longest=128)
        fenced = name == "function"
        if fenced:
            name, _ = yield from source.until("\n", longest=128)
            yield from source.skip_white()
            yield from source.expect("```json")
            yield from source.skip_white()
        yield from _named(calls, name.strip())
        yield from source.skip_white()
        if fenced:
            yield from source.accept("```")
            yield from source.skip_white()
        yield from source.accept(_ONE_END)
        yield from _after(calls)
        if not (yield from source.peek()):
            break
    yield from _after(calls)


_HARMONY_ENDS = ("<|end|>", "<|return|>", "<|call|>", "<|start|>")


def harmony(calls: Calls) -> Reading[None]:
    """gpt-oss: channels for reasoning (analysis), calls (commentary to=functions.name) and the answer (final)."""
    source = calls.source
    while (yield from source.flow(("<|start|>", "<|channel|>"), calls.text)):
        try:
            header, _ = yield from source.until("<|message|>", longest=512)
        except BrokenError:
            source.tell()  # markers alone: nothing that anybody should read
            continue
        called = re.search(r"to=functions\.([\w.-]+)", header)
        words = header.split("<|channel|>")[-1].split()
        if called:
            yield from calls.attempt(_harmony(calls, called.group(1)))
        else:
            source.tell()
            emit = calls.thought if words[:1] == ["analysis"] else calls.text
            ended = yield from source.flow(_HARMONY_ENDS, emit)
            if ended == "<|start|>":
                source.back(ended)
        source.tell()


def _harmony(calls: Calls, name: str) -> Reading[None]:
    yield from calls.source.skip_white()
    yield from _named(calls, name)
    yield from calls.source.accept("<|call|>")
    yield from _after(calls)


def guided(calls: Calls) -> Reading[None]:
    """An answer that was guided to be a call, or an array of calls, from its first character to its last."""
    yield from calls.attempt(objects(calls, known=True))
    yield from _after(calls)
    yield from calls.source.flow((), calls.text)


def anything(calls: Calls) -> Reading[None]:
    """A model whose format is not known: a call is a bare object at the beginning, or stands between Hermes's tags."""
    source = calls.source
    yield from source.skip_white()
    if (yield from source.peek()) in ("{", "["):
        yield from calls.attempt(objects(calls, known=True))
        yield from _after(calls)
    yield from hermes(calls)


def _named(calls: Calls, name: str, *, opened: bool = False) -> Reading[None]:
    """The arguments of a call whose name has been read."""
    _check(name)
    source = calls.source
    if opened:
        source.back("{")
    yield from source.skip_white()
    if (yield from source.peek()) != "{":
        raise BrokenError if (yield from source.peek()) else CutError
    calls.begin(name)
    yield from source.value(calls.arguments)
    calls.end()


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BrokenError


def _after(calls: Calls) -> Reading[None]:
    """What stands after a call: white space is nothing."""
    yield from calls.source.skip_white()
    calls.source.tell()
