"""What the calls look like on the wire: paths, bodies, and what their answers mean.

Knows: both dialects of the host's API. Does not know: connections, sync or async; it makes values and reads them.
"""

from __future__ import annotations

import array
import base64
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

import httpx

from illama.client.reply import Growing, Reply, broke_off, framed, not_an_answer
from illama.client.shapes import Shape
from illama.discovery import Endpoint
from illama.errors import HostError, ModelNotFoundError, from_wire
from illama.transport import ANSWER_TIMEOUT, QUICK_TIMEOUT

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")
Prompt = str | Sequence[Mapping[str, Any]]
# Named here because a client's own `list` would hide the built-in one in its signatures.
Models = list[dict[str, Any]]
Texts = list[str]
Vectors = list[list[float]]
Ranking = list[tuple[int, float]]
# Seconds after which a stream opens and tells what it waits for, when somebody wants to know.
NOTES_AFTER = 0.3


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer's parsed JSON becomes the result. A patient one waits as long as it takes."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: dict[str, Any] | None = None
    patient: bool = False

    def result(self, response: httpx.Response) -> T:
        """What the answer, read to its end, means. Raises the error that it carries."""
        check(response)
        try:
            return self.read(response.json() if response.content else None)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise not_an_answer() from None


def request(http: httpx.Client | httpx.AsyncClient, endpoint: Endpoint, call: Call[Any]) -> httpx.Request:
    """The request for a call, with the host's key."""
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    url = endpoint.url + call.path
    timeout = ANSWER_TIMEOUT if call.patient else QUICK_TIMEOUT
    return http.build_request(call.method, url, json=call.body, headers=headers, timeout=timeout)


Told = Callable[[str], None] | None


def feed(growing: Growing, line: str, on_note: Told, on_thought: Told) -> str:
    """Give one line of an event stream to the answer, and return the new text.

    Tells of a note and of a piece of reasoning that came with it.
    """
    notes, thoughts = len(growing.notes), len(growing.thoughts)
    piece = growing.feed(line)
    if on_note and len(growing.notes) > notes:
        on_note(growing.notes[-1])
    if on_thought and len(growing.thoughts) > thoughts:
        on_thought(growing.thoughts[-1])
    return piece


def check(response: httpx.Response) -> None:
    """Raise what an answer of status 400 or more (read to its end) says."""
    if response.status_code < 400:
        return
    try:
        body = response.json()
    except ValueError:
        body = None
    error = from_wire(response.status_code, body)
    if response.headers.get("retry-after", "").isdigit():
        error.retry_after = int(response.headers["retry-after"])
    raise error


def failure(problem: httpx.HTTPError, endpoint: Endpoint, *, begun: bool = False) -> HostError:
    """The error for a call that httpx could not finish; `begun` says that the answer had begun."""
    if begun or isinstance(problem, (httpx.ReadError, httpx.RemoteProtocolError)):
        return broke_off()
    if isinstance(problem, httpx.TimeoutException):
        what = f"The host at {endpoint.url} did not answer in time."
    else:
        what = f"The host at {endpoint.url} cannot be reached: {str(problem) or type(problem).__name__}."
    if endpoint.state:
        return HostError(what, hint="Ask again. If it stays so, `illama stop --host --force` ends that host.")
    return HostError(what, hint="Check ILLAMA_BASE_URL, or unset it to have a host found or started on this machine.")


def version() -> Call[dict[str, Any]]:
    """The host's version and protocol."""
    return Call("GET", "/api/version", dict)


def tags() -> Call[Models]:
    """The models that are installed."""
    return Call("GET", "/api/tags", _models)


def ps() -> Call[Models]:
    """The models that are loaded, or on their way in or out."""
    return Call("GET", "/api/ps", _models)


def jobs() -> Call[Models]:
    """The pulls that run, and those that ended lately."""
    return Call("GET", "/api/ps", _jobs)


def show(model: str) -> Call[dict[str, Any]]:
    """All that is known about one model."""
    return Call("POST", "/api/show", dict, {"model": model})


def copy(source: str, destination: str) -> Call[None]:
    """Give a model a second name."""
    return Call("POST", "/api/copy", _nothing, {"source": source, "destination": destination}, patient=True)


def delete(model: str, *, force: bool) -> Call[int]:
    """Remove a model: the bytes that came free."""
    return Call("DELETE", "/api/delete", _freed, _with_force({"model": model}, force), patient=True)


def load(model: str, keep_alive: float | str | None) -> Call[None]:
    """Load a model: the answer comes when it is ready."""
    body: dict[str, Any] = {"model": model, "stream": False}
    if keep_alive is not None:
        body["keep_alive"] = keep_alive
    return Call("POST", "/api/generate", _nothing, body, patient=True)


def unload(model: str, *, force: bool) -> Call[None]:
    """Unload a model: the answer comes when its memory is free."""
    body = _with_force({"model": model, "keep_alive": 0, "stream": False}, force)
    return Call("POST", "/api/generate", _nothing, body, patient=True)


class Wanted(TypedDict, total=False):
    """What may be asked of a pull beside its source."""

    name: str | None  # what the model is to be called here
    device: str | None  # the OpenVINO device that it is pinned to
    weight_format: str | None  # what a checkpoint's weights become: "int4", "int8", "fp16" or "auto"
    trust_remote_code: bool  # run the code that its repository brings
    make_environment: bool  # make the converter's environment if it is needed


def pull(source: str, hf_token: str | None = None, watcher: str | None = None, **wanted: Unpack[Wanted]) -> Call[None]:
    """Fetch or make a model: the answer is a stream of JSON lines, see `progress`. None and False are not sent."""
    unknown = wanted.keys() - Wanted.__annotations__.keys()
    if unknown:
        raise TypeError(f"a pull has no {', '.join(sorted(unknown))}")
    given = {"model": source, **wanted, "hf_token": hf_token, "watcher": watcher, "stream": True}
    body = {key: value for key, value in given.items() if value not in {None, False}}
    return Call("POST", "/api/pull", _nothing, body, patient=True)


def stop_pull(
    source: str, *, name: str | None = None, watcher: str | None = None, force: bool = False
) -> Call[dict[str, Any]]:
    """Stop a pull, by its source or its id: for the watcher of that token, with `force` for all."""
    given = {"model": source, "name": name, "watcher": watcher}
    body = {key: value for key, value in given.items() if value is not None}
    return Call("DELETE", "/api/pull", dict, _with_force(body, force))


def progress(line: str) -> dict[str, Any]:
    """One line of a pull. Raises the error that it carries."""
    try:
        found = json.loads(line)
    except ValueError:
        raise not_an_answer() from None
    if not isinstance(found, dict):
        raise not_an_answer()
    if found.get("error"):
        status = found.get("status_code")
        raise from_wire(status, found) if isinstance(status, int) else framed(found)
    return found


def embed(texts: Texts, model: str, kind: str, dimensions: int | None) -> Call[Vectors]:
    """The vectors of texts, in their order."""
    body = {"model": model, "input": texts, "input_type": kind, "dimensions": dimensions, "encoding_format": "base64"}
    given = {key: value for key, value in body.items() if value is not None}
    return Call("POST", "/v1/embeddings", _vectors, given, patient=True)


def rerank(query: str, documents: Texts, model: str, top_n: int | None) -> Call[Ranking]:
    """The places of the most relevant documents and their relevance, the best first."""
    body = {"model": model, "query": query, "documents": documents, "top_n": top_n}
    given = {key: value for key, value in body.items() if value is not None}
    return Call("POST", "/v1/rerank", _ranking, given, patient=True)


def only(installed: Models, task: str) -> str:
    """The model of a task that is meant where none is named: the only or the latest one installed."""
    usable = [m for m in installed if m.get("task") == task]
    if not usable:
        raise ModelNotFoundError(f"No {task} model is installed.", hint="Pull one, or name it with model=.")
    return str(max(usable, key=lambda m: str(m.get("modified_at") or ""))["name"])


def chat(body: dict[str, Any], shape: Shape | None = None) -> Call[Reply]:
    """One question, its answer as a whole or (`body` says so) as an event stream."""
    return Call("POST", "/v1/chat/completions", lambda answer: Reply.of(answer, body, shape), body, patient=True)


def chat_body(
    prompt: Prompt, *, system: str | None = None, shape: Shape | None = None, stream: bool = False, **fields: Any
) -> dict[str, Any]:
    """The body of a question. Fields that are None are left out: the host's and the model's defaults count.

    `prompt` is a text or a list of messages; `system` goes in front of them. `shape` is what the answer is to be.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body: dict[str, Any] = {"messages": messages, **{k: v for k, v in fields.items() if v is not None}}
    if shape is not None:
        body["response_format"] = shape.response_format
    if stream:
        body.update(stream=True, stream_options={"include_usage": True})
    return body


def choose(loaded: Models, installed: Models) -> str:
    """The model that is meant where none is named: the only one loaded, else the only or the latest one installed."""
    ready = [m["name"] for m in loaded if m.get("state", "ready") in {"ready", "loading"} and _generates(m)]
    if len(ready) == 1:
        return str(ready[0])
    usable = [m for m in installed if _generates(m)]
    if not usable:
        raise ModelNotFoundError("No model is installed.", hint="`illama pull smollm2` fetches a small one (98 MB).")
    return str(max(usable, key=lambda m: str(m.get("modified_at") or ""))["name"])


def _generates(model: Mapping[str, Any]) -> bool:
    return (model.get("task") or "text-generation") in {"text-generation", "image-text-to-text"}


class Lines:
    """Cuts bytes into lines at the line feed alone.

    `str.splitlines`, and so httpx's `iter_lines`, also cuts at characters such as U+2028, which JSON texts may contain.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` completes, without their ends."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")

    def end(self) -> Iterator[str]:
        """The last line, if it had no end."""
        if self._rest:
            yield self._rest.decode("utf-8", "replace")
            self._rest = b""


def _vectors(answer: Any) -> Vectors:
    found = []
    for each in answer["data"]:
        numbers = array.array("f", base64.b64decode(each["embedding"]))
        if sys.byteorder == "big":
            numbers.byteswap()
        found.append(numbers.tolist())
    return found


def _ranking(answer: Any) -> Ranking:
    return [(int(each["index"]), float(each["relevance_score"])) for each in answer["results"]]


def _models(answer: Any) -> Models:
    return [dict(model) for model in answer["models"]]


def _jobs(answer: Any) -> Models:
    return [dict(job) for job in answer.get("jobs", ())]


def _freed(answer: Any) -> int:
    return int(answer["freed"])


def _nothing(answer: Any) -> None:
    """The answer's status has said it all."""


def _with_force(body: dict[str, Any], force: bool) -> dict[str, Any]:
    return {**body, "force": True} if force else body
