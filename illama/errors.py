"""Every error that illama raises, in one tree.

IllamaError
├── ConfigError              a variable or option has a value that cannot be used
├── RequestError             the request itself is at fault
│   ├── ContextLengthError       the prompt does not fit the model's context
│   ├── BodyTooLargeError        the body is over the host's limit
│   ├── InvalidNameError         not a name that a model may have
│   └── UnsupportedError         understood, but this build or model cannot do it
├── AuthError                no key, or a wrong one
├── ForbiddenError           the key is right, but this is not for its holder
├── NotFoundError            no such endpoint or thing
│   └── ModelNotFoundError       no model of that name in the registry
├── RegistryError            the registry cannot be read or written
│   ├── ModelExistsError         that name is taken; nothing is overwritten
│   └── BrokenModelError         a model's files are missing or cut
├── PullError                a model could not be fetched or made
│   └── ConverterNeededError     the converter's environment has to be made first, which nobody has agreed to
├── HostError                the model host cannot be reached, started or asked
│   ├── HostBusyError            the queue is full, or the host is stopping
│   └── PortInUseError           something else listens where the host should
├── EngineError              the engine process failed
│   ├── LoadError                it could not load the model
│   └── EngineDiedError          it ended while it had work
├── AnswerError              an answer came, but it is not of the shape that was asked for
└── CancelledError           the caller, or an operator, stopped it

An error says what happened (`message`) and what to do next (`hint`); it carries the HTTP `status` and the `code` under
which clients know it. It prints in two lines, in a terminal as in a cell, and travels as JSON in both HTTP dialects.
"""

from __future__ import annotations

from typing import Any

from illama.paths import private


class IllamaError(Exception):
    """The base of all of illama's errors.

    `status` is the HTTP status, `type` and `code` are those of OpenAI's error object, `param` names the request's field
    at fault. `retry_after` is a number of seconds for the `Retry-After` header, or None.
    """

    status = 500
    type = "server_error"
    code = "internal_error"
    retry_after: int | None = None

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> Any:
        return (from_wire, (self.status, self.to_openai()))

    def _render_traceback_(self) -> list[str]:
        # IPython prints just these lines, and the cell still fails.
        lines = [f"{type(self).__name__}: {self.message}", *([self.hint] if self.hint else [])]
        return [private(line) for line in lines]

    def one_line(self) -> str:
        """The message and the hint as one sentence after the other, for places that show a single string."""
        return f"{self.message} {self.hint}".strip()

    def to_openai(self) -> dict[str, dict[str, Any]]:
        """The error object of OpenAI's API: its four keys, always, and `hint` where there is one."""
        error = {"message": self.one_line(), "type": self.type, "param": self.param, "code": self.code}
        return {"error": {**error, "hint": self.hint} if self.hint else error}

    def to_ollama(self) -> dict[str, str]:
        """The error of Ollama's native API: one string. `code` and `hint` are ours, for our own client."""
        body = {"error": self.one_line(), "code": self.code}
        return {**body, "hint": self.hint} if self.hint else body


class ConfigError(IllamaError):
    """A variable or option has a value that cannot be used; the message names it, the value and what is allowed."""

    status, type, code = 400, "invalid_request_error", "invalid_config"


class RequestError(IllamaError):
    """The request is at fault: `param` says which field."""

    status, type, code = 400, "invalid_request_error", "invalid_request"


class ContextLengthError(RequestError):
    """The prompt does not fit the model's context. Raised before a stream opens."""

    code = "context_length_exceeded"

    @classmethod
    def of(cls, limit: int, tokens: int, *, at_least: bool = False) -> ContextLengthError:
        """The error for a prompt of `tokens` tokens (or at least as many) and a context of `limit` tokens."""
        # LiteLLM recognises an overflow by the first sentence's wording, so it stays as OpenAI has it.
        return cls(
            f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
            f"{'at least ' if at_least else ''}{tokens} tokens.",
            hint="Shorten the messages, or use a model with a longer context.",
            param="messages",
        )


class BodyTooLargeError(RequestError):
    """The body is over the host's limit."""

    status, code = 413, "request_too_large"


class InvalidNameError(RequestError):
    """Not a name that a model may have."""

    code = "invalid_model_name"

    def __init__(self, message: str, **kwargs: Any) -> None:
        kwargs.setdefault("param", "model")
        super().__init__(message, **kwargs)


class UnsupportedError(RequestError):
    """Understood, but this build or model cannot do it."""

    code = "unsupported_parameter"


class AuthError(IllamaError):
    """No key, or a wrong one. Says nothing about which."""

    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class ForbiddenError(IllamaError):
    """The caller is known, but may not do this."""

    status, type, code = 403, "invalid_request_error", "forbidden"


class NotFoundError(IllamaError):
    """No such endpoint or thing."""

    status, type, code = 404, "invalid_request_error", "not_found"


class ModelNotFoundError(NotFoundError):
    """No model of that name is in the registry."""

    code = "model_not_found"

    def __init__(self, message: str, **kwargs: Any) -> None:
        kwargs.setdefault("param", "model")
        super().__init__(message, **kwargs)


class RegistryError(IllamaError):
    """The registry cannot be read or written."""

    code = "registry_error"


class ModelExistsError(RegistryError):
    """That name is taken. Nothing is ever overwritten."""

    status, type, code = 409, "invalid_request_error", "model_exists"


class BrokenModelError(RegistryError):
    """Files of a model are missing or cut."""

    code = "model_broken"


class PullError(IllamaError):
    """A model could not be fetched or made."""

    code = "pull_failed"


class ConverterNeededError(PullError):
    """The model has to be converted, and the environment for that has to be made first: only when somebody agrees."""

    status, type, code = 409, "invalid_request_error", "converter_needed"


class HostError(IllamaError):
    """The model host cannot be reached, started or asked."""

    status, type, code = 503, "server_error", "host_unavailable"


class HostBusyError(HostError):
    """The queue is full or the host is stopping: the same request may succeed a little later."""

    code = "overloaded"
    retry_after = 5


class PortInUseError(HostError):
    """Something else listens where the host should."""

    code = "port_in_use"


class EngineError(IllamaError):
    """The engine process failed this request."""

    code = "engine_error"


class LoadError(EngineError):
    """The engine could not load the model."""

    status, code = 503, "model_load_failed"


class EngineDiedError(EngineError):
    """The engine process ended while it had work. The next request starts a new one."""

    status, code = 502, "engine_died"


class AnswerError(IllamaError):
    """An answer came, but it is not of the shape that was asked for."""

    status, code = 502, "answer_unusable"


class CancelledError(IllamaError):
    """The caller, or an operator, stopped it before it was done."""

    status, type, code = 499, "server_error", "cancelled"


def _tree(cls: type[IllamaError]) -> list[type[IllamaError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _tree(child))]


# Which class a `code` on the wire stands for. Codes are unique, so that an error arrives as what it was.
BY_CODE: dict[str, type[IllamaError]] = {cls.code: cls for cls in _tree(IllamaError)}

# For answers that carry no code of ours, such as those of another server that speaks one of the dialects.
BY_STATUS: dict[int, type[IllamaError]] = {
    400: RequestError,
    401: AuthError,
    403: ForbiddenError,
    404: NotFoundError,
    413: BodyTooLargeError,
    503: HostBusyError,
}


def from_wire(status: int, body: object) -> IllamaError:
    """Make the error again that an HTTP answer or an event stream carries.

    `body` is the parsed JSON of either dialect: `{"error": {...}}` or `{"error": "..."}`. What is neither becomes a
    plain `IllamaError` with that status.
    """
    error = body.get("error") if isinstance(body, dict) else None
    fields = error if isinstance(error, dict) else body if isinstance(body, dict) and isinstance(error, str) else {}
    message = fields.get("message") or error
    if not isinstance(message, str):
        message = f"The host answered {status} without an explanation."
    code, hint = str(fields.get("code") or ""), str(fields.get("hint") or "")
    cls = BY_CODE.get(code) or BY_STATUS.get(status, IllamaError)
    param = fields.get("param")
    return cls(message.removesuffix(hint).rstrip(), hint=hint, param=param, code=code or None, status=status)
