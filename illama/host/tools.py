"""Tools: how they are offered to a model, how a call is made sure of, how calls and results are told in a history.

Knows: OpenAI's tools and messages, JSON schemas. Does not know: how a model writes calls (`parsing` does), HTTP.

A model whose template renders tools is told of them by its template. Any other is told of none, unless a call is
required: then a prompt in the system message tells of them (`instructed`), and a schema guides the answer (`guide`).
A call that a model makes by its own choice is guided from its beginning on, if a tool is strict (`tagged`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from illama.host.guiding import compact
from illama.host.parsing import Style, Tags

# The most calls that a guided answer makes, where several were asked for.
MOST_CALLS = 8
_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")
# A function without parameters takes none, rather than anything.
_NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
_ANYTHING: dict[str, Any] = {"type": "object", "additionalProperties": True}
_INSTRUCTION = """\
You can call these functions, described by JSON schemas:
{functions}
Answer with a JSON object that calls one: {{"name": the function's name, "arguments": an object of its parameters}}."""


@dataclass
class Tools:
    """What a request says of tools: OpenAI's function objects, and whether a call is made sure of.

    `required`: the answer has to be a call of one of them. `parallel`: None leaves it to the model; a guided answer has
    one call unless it is True.
    """

    functions: list[dict[str, Any]] = field(default_factory=list)
    required: bool = False
    parallel: bool | None = None

    @property
    def strict(self) -> bool:
        """Whether the arguments of one of them must fit its schema even if nobody requires the call."""
        return any(function.get("strict") for function in self.functions)

    def offered(self) -> list[dict[str, Any]]:
        """The tools as OpenAI writes them, for chat templates; with what some templates take for granted."""
        return [{"type": "function", "function": _described(function)} for function in self.functions]

    def schemas(self) -> dict[str, dict[str, Any]]:
        """The parameters' schema of each function by name."""
        return {function["name"]: _parameters(function) for function in self.functions}


def _described(function: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in function.items() if key != "strict"}  # says nothing to a model
    return {"name": "", "description": "", "parameters": {"type": "object", "properties": {}}, **given}


def _parameters(function: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = function.get("parameters") or {}
    return _NOTHING if set(found) <= {"type", "properties"} and not found.get("properties") else found


def guide(tools: Tools, answer: Any = None) -> dict[str, str]:
    """What guides an answer to be a call of one of the tools, or, with `answer`, to fit that schema otherwise."""
    definitions: dict[str, Any] = {}
    one: list[Any] = []
    for at, function in enumerate(tools.functions):
        arguments = _hoisted(_parameters(function), f"f{at}", definitions)
        # The name first: what follows depends on it.
        call = {"name": {"const": function["name"]}, "arguments": arguments}
        required = ["name", "arguments"]
        one.append({"type": "object", "properties": call, "required": required, "additionalProperties": False})
    schema: dict[str, Any] = one[0] if len(one) == 1 else {"anyOf": one}
    if tools.parallel:
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": MOST_CALLS}
    if answer is not None:
        schema = {"anyOf": [schema, _hoisted(answer, "answer", definitions)]}
    if definitions:
        schema = {**schema, "$defs": definitions}
    return {"json_schema": json.dumps(schema), "param": "tools"}


def tagged(tools: Tools, tags: Tags) -> dict[str, str]:
    """What guides the calls, if any, that an answer makes between a family's tags; all else of it is free.

    A function's arguments fit its schema if it is strict, and are any object if not.
    """
    functions = [one if one.get("strict") else {**one, "parameters": _ANYTHING} for one in tools.functions]
    if tags.inside == "arguments":
        schemas = [(one["name"], json.dumps(_parameters(one))) for one in functions]
    else:
        schemas = [("", guide(Tools(functions, parallel=tags.inside == "calls"))["json_schema"])]
    made = []
    for name, schema in schemas:
        trigger, then = (text.replace("{name}", name) for text in (tags.trigger, tags.then))
        guided = compact({"json_schema": schema, "param": "tools"})
        made.append({"trigger": trigger, "begin": trigger + then, "end": tags.end, **guided})
    return {"tags": json.dumps(made), "param": "tools"}


def _hoisted(schema: Any, prefix: str, definitions: dict[str, Any]) -> Any:
    """The schema as a part of a larger one: its definitions moved there, under names of their own."""

    def moved(part: Any) -> Any:
        if isinstance(part, list):
            return [moved(item) for item in part]
        if not isinstance(part, dict):
            return part
        made = {key: moved(value) for key, value in part.items()}
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            _, _, path = reference.partition("#/")
            container, _, name = path.partition("/")
            inside = container in ("$defs", "definitions") and name
            made["$ref"] = f"#/$defs/{prefix}.{name}" if inside else f"#/$defs/{prefix}"
            if not inside:
                whole.append(True)
        return made

    whole: list[bool] = []  # not empty if the schema refers to itself as a whole
    if not isinstance(schema, dict):
        return schema
    own = {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}
    rest = moved({key: value for key, value in schema.items() if key not in ("definitions", "$defs", "$schema", "$id")})
    for name, part in own.items():
        definitions[f"{prefix}.{name}"] = moved(part)
    if whole:
        definitions[prefix] = rest
        return {"$ref": f"#/$defs/{prefix}"}
    return rest


def instructed(messages: Sequence[dict[str, Any]], tools: Tools) -> list[dict[str, Any]]:
    """The messages with the tools in the system message, for a model whose template knows none."""
    functions = "\n".join(json.dumps(function, ensure_ascii=False) for function in tools.functions)
    return _with_system(messages, _INSTRUCTION.format(functions=functions))


def history(messages: Sequence[dict[str, Any]], style: Style, tools: Tools | None) -> list[dict[str, Any]]:
    """The messages as the model's template takes them.

    Calls and results that it does not know become text; `tools` go into the system message of those that want them
    there.
    """
    made: list[dict[str, Any]] = []
    names = {call["id"]: call["function"]["name"] for m in messages for call in m.get("tool_calls") or ()}
    for message in messages:
        message = _calling(message, style) if message.get("tool_calls") else message
        if message["role"] in ("tool", "function"):
            name = message.get("name") or names.get(message.get("tool_call_id"), "")
            if not style.results:
                text = f"The result of {name or 'the tool'}:\n{message['content']}"
                if made and made[-1].get("role") == "user" and made[-1].get("result"):
                    made[-1] = {**made[-1], "content": f"{made[-1]['content']}\n\n{text}"}
                    continue
                message = {"role": "user", "content": text, "result": True}
            else:
                message = {**message, "role": "tool", **({"name": name} if name else {})}
                if style.short_ids and message.get("tool_call_id"):
                    message["tool_call_id"] = short_id(message["tool_call_id"])
        made.append(message)
    made = [{key: value for key, value in message.items() if key != "result"} for message in made]
    if tools and tools.functions and style.tools_in_system:
        described = json.dumps([_described(function) for function in tools.functions], ensure_ascii=False)
        made = _with_system(made, "" if made and made[0]["role"] == "system" else "You are a helpful assistant.")
        made[0] = {**made[0], "tools": described}
    return made


def _calling(message: dict[str, Any], style: Style) -> dict[str, Any]:
    """A message with calls: those whole, or as text."""
    calls = message["tool_calls"]
    if style.calls_in_history:
        made = []
        for call in calls:
            function = {**call["function"], "arguments": _valid(call["function"]["arguments"])}
            id = short_id(call["id"]) if style.short_ids else call["id"]
            made.append({"id": id, "type": "function", "function": function})
        content = message["content"] or (None if style.calls_without_content else "")
        return {**message, "content": content, "tool_calls": made}
    texts = [message["content"]] if message["content"] else []
    for call in calls:
        function = call["function"]
        texts.append(f'{{"name": {json.dumps(function["name"])}, "arguments": {_valid(function["arguments"])}}}')
    return {"role": "assistant", "content": "\n".join(texts)}


def _valid(arguments: str) -> str:
    """Arguments that are JSON, even if the model that wrote them failed at it: templates stumble over others."""
    try:
        return arguments if isinstance(json.loads(arguments), dict) else json.dumps({"value": json.loads(arguments)})
    except ValueError:
        return json.dumps({"text": arguments}) if arguments.strip() else "{}"


def short_id(id: str) -> str:
    """An id of nine letters and digits, the same for the same id."""
    return id if _SHORT_ID.fullmatch(id) else hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:9]


def _with_system(messages: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    if messages and messages[0]["role"] == "system":
        joined = "\n\n".join(part for part in (messages[0]["content"], text) if part)
        return [{**messages[0], "content": joined}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]
