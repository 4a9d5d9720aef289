"""A script that uses `/api` as Ollama's documentation tells, endpoint by endpoint, and holds each answer against it.

It sends what the documentation's examples send (bodies without a content type, as curl does) and looks for the fields
that they show. The same for the fake engine and for a real model: what a model says is no part of the documentation.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import httpx

FIGURES = {
    *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"),
}
AGE = {
    "type": "object",
    "properties": {"age": {"type": "integer"}, "available": {"type": "boolean"}},
    "required": ["age", "available"],
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather for a location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The location to get the weather for, e.g. Paris, FR"},
                "format": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location", "format"],
        },
    },
}
# The documentation's own example, which "sets every available option"; what there is no such thing for here is ignored.
EVERY_OPTION = json.loads("""{
    "num_keep": 5, "seed": 42, "num_predict": 12, "top_k": 20, "top_p": 0.9, "min_p": 0.0, "typical_p": 0.7,
    "repeat_last_n": 33, "temperature": 0.8, "repeat_penalty": 1.2, "presence_penalty": 1.5, "frequency_penalty": 1.0,
    "penalize_newline": true, "stop": ["user:"], "numa": false, "num_ctx": 1024, "num_batch": 2, "num_gpu": 1,
    "main_gpu": 0, "use_mmap": true, "num_thread": 8
}""")
SHORT = {"num_predict": 12}


class Script:
    """One run of it, against one model."""

    def __init__(self, http: httpx.Client, model: str) -> None:
        self._http = http
        self._model = model

    def post(self, path: str, **body: Any) -> httpx.Response:
        """One request as curl sends it."""
        response = self._http.post(path, content=json.dumps({"model": self._model, **body}).encode())
        assert response.status_code == 200, response.text
        return response

    def one(self, path: str, **body: Any) -> dict[str, Any]:
        """A request that is answered by one object: the last part of an answer, or all of it."""
        found: dict[str, Any] = self.post(path, **body).json()
        return self._told(found)

    def stream(self, path: str, **body: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """A request that is answered by lines: all but the last, and the last."""
        *pieces, last = [json.loads(line) for line in self.post(path, **body).text.splitlines()]
        assert all(piece["done"] is False and not FIGURES & piece.keys() for piece in pieces)
        return [self._told(piece) for piece in pieces], self._told(last)

    def _told(self, part: dict[str, Any]) -> dict[str, Any]:
        assert part["model"] == self._model
        assert datetime.fromisoformat(part["created_at"]).tzinfo is not None
        return part

    def finished(self, last: dict[str, Any]) -> None:
        """See that an answer tells its figures, by which its rate is computed as the documentation says."""
        assert last["done"] is True
        assert last["done_reason"] in ("stop", "length")
        assert last.keys() >= FIGURES
        assert last["eval_count"] > 0
        assert last["eval_count"] / max(last["eval_duration"], 1) * 1e9 > 0

    def generate(self) -> None:
        """ "Generate a completion"."""
        pieces, last = self.stream("/api/generate", prompt="Why is the sky blue?", options=SHORT)
        assert all(isinstance(piece["response"], str) for piece in pieces)
        assert last["response"] == ""
        self.finished(last)
        whole = self.one("/api/generate", prompt="Why is the sky blue?", stream=False, options=SHORT)
        assert whole["response"]
        self.finished(whole)
        asked = "Ollama is 22 years old and is busy saving the world. Respond using JSON"
        options = {"num_predict": 100}
        told = self.one("/api/generate", prompt=asked, stream=False, format=AGE, options=options)["response"]
        assert isinstance(json.loads(told), dict)
        # Of any JSON a small model may write more than it is let.
        told = self.one("/api/generate", prompt=asked, stream=False, format="json", options=options)
        assert told["response"].startswith("{")
        assert told["done_reason"] == "length" or isinstance(json.loads(told["response"]), dict)
        raw = self.one("/api/generate", prompt="[INST] why? [/INST]", raw=True, stream=False, options=SHORT)
        assert "context" not in raw
        again = [
            self.one("/api/generate", prompt="Why?", stream=False, options={"seed": 123, **SHORT})["response"]
            for _ in range(2)
        ]
        assert again[0] == again[1]
        self.finished(self.one("/api/generate", prompt="Why is the sky blue?", stream=False, options=EVERY_OPTION))

    def chat(self) -> None:
        """ "Generate a chat completion"."""
        history = [
            {"role": "user", "content": "why is the sky blue?"},
            {"role": "assistant", "content": "due to rayleigh scattering."},
            {"role": "user", "content": "how is that different than mie scattering?"},
        ]
        for messages in (history[:1], history):
            pieces, last = self.stream("/api/chat", messages=messages, options=SHORT)
            assert all(piece["message"]["role"] == "assistant" for piece in pieces)
            assert "".join(piece["message"]["content"] for piece in pieces)
            self.finished(last)
        self.finished(self.one("/api/chat", messages=history[:1], stream=False, options=SHORT))
        told = self.one("/api/chat", messages=history[:1], stream=False, format=AGE, options={"num_predict": 100})
        assert isinstance(json.loads(told["message"]["content"]), dict)
        self.finished(self.one("/api/chat", messages=history[:1], stream=False, tools=[WEATHER], options=SHORT))

    def load_and_unload(self) -> None:
        """ "Load a model" and "Unload a model", by both endpoints; "List Running Models" between."""
        for path, empty in (("/api/generate", {}), ("/api/chat", {"messages": []})):
            loaded = self.one(path, **empty)
            assert (loaded["done"], loaded["done_reason"]) == (True, "load")
            (running,) = self._http.get("/api/ps").json()["models"]
            assert running["name"] == running["model"] == self._model
            assert running.keys() >= {"size", "digest", "details", "expires_at", "size_vram"}
            gone = self.one(path, **empty, keep_alive=0)
            assert (gone["done"], gone["done_reason"]) == (True, "unload")
            assert self._http.get("/api/ps").json()["models"] == []

    def models(self) -> None:
        """ "List Local Models", "Show Model Information", "Copy a Model", "Delete a Model", "Version"."""
        details = {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"}
        listed = {model["name"]: model for model in self._http.get("/api/tags").json()["models"]}
        mine = listed[self._model]
        assert mine.keys() >= {"name", "model", "modified_at", "size", "digest", "details"}
        assert mine["details"].keys() == details
        shown = self.post("/api/show", verbose=False).json()
        assert shown.keys() >= {"modelfile", "parameters", "template", "details", "model_info", "capabilities"}
        assert "completion" in shown["capabilities"]
        copy = json.dumps({"source": self._model, "destination": "backup"}).encode()
        assert self._http.post("/api/copy", content=copy).status_code == 200
        delete = json.dumps({"model": "backup"}).encode()
        assert self._http.request("DELETE", "/api/delete", content=delete).status_code == 200
        # "Returns a 404 Not Found if the model to be deleted doesn't exist."
        assert self._http.request("DELETE", "/api/delete", content=delete).status_code == 404
        assert isinstance(self._http.get("/api/version").json()["version"], str)
        assert self._http.head("/").status_code == 200

    def run(self) -> None:
        """All of it."""
        self.models()
        self.generate()
        self.chat()
        self.load_and_unload()
