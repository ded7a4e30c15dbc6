"""What may pass to vLLM: a list of allowed fields and caps. All that is not named here is refused, not ignored.

vLLM accepts far more than the OpenAI API: fields that load files or URLs, choose templates, turn off the stop token,
ask for thousands of log-probabilities. A list of what is allowed does not grow holes when vLLM grows fields.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["chat", "completion"]

_SAMPLING = frozenset(
    {"model", "temperature", "top_p", "n", "max_tokens", "stream", "stream_options", "stop", "presence_penalty",
     "frequency_penalty", "logit_bias", "logprobs", "seed", "user"}
)  # fmt: skip
ALLOWED: dict[Kind, frozenset[str]] = {
    "chat": _SAMPLING | {"messages", "max_completion_tokens", "top_logprobs", "response_format"},
    "completion": _SAMPLING | {"prompt", "echo"},
}
MESSAGE_FIELDS = frozenset({"role", "content", "name"})
MESSAGE_ROLES = frozenset({"system", "user", "assistant"})
#: No JSON schemas: a hostile one can keep the grammar compiler busy for minutes.
RESPONSE_FORMATS = ({"type": "text"}, {"type": "json_object"})
RETRY_AFTER_S = 5
_ERROR_TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error", 408: "timeout_error",
    429: "rate_limit_error", 503: "service_unavailable_error",
}  # fmt: skip


class Refusal(Exception):
    """The gateway's answer to a request it does not pass on, in OpenAI's error shape.

    Args:
        status: HTTP status.
        code: short name for programs.
        message: what is wrong and what to do, for people.
        param: the field at fault.
        retry_after_s: when to try again.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        """Return the JSON body."""
        kind = _ERROR_TYPES.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Caps:
    """Limits on one request, from `serve.gateway` and the model's context."""

    max_completion_tokens: int
    max_choices: int


@dataclass(frozen=True)
class Admitted:
    """A request that may pass.

    Args:
        payload: what vLLM gets, but for `model`, which the slot decides.
        model: what the caller asked for.
        prompt: messages or prompt, for the audit log.
        most_tokens: the most completion tokens the answer can have, over all choices.
        usage_asked: whether the caller asked for a usage chunk at the end of the stream.
        user: whom the caller says it asks for; for the log alone.
    """

    payload: dict[str, Any]
    model: str
    prompt: Any
    stream: bool
    most_tokens: int
    usage_asked: bool
    user: str | None = None


def admit(kind: Kind, body: bytes, caps: Caps) -> Admitted:
    """Check a request's body.

    Raises:
        Refusal: 400, naming the field at fault.
    """
    payload = _parse(body)
    if unknown := sorted(set(payload) - ALLOWED[kind]):
        raise _bad(f"not supported here: {', '.join(unknown)}", unknown[0], "unsupported_field")
    model = payload.pop("model", None)
    if not isinstance(model, str) or not model:
        raise _bad("model is missing: the registered name, 'champion' or a lineage id", "model")
    prompt = _messages(payload) if kind == "chat" else _prompt(payload, caps)
    most = _cap_tokens(kind, payload, caps)
    choices = _cap_choices(payload, caps)
    prompts = len(prompt) if kind == "completion" and isinstance(prompt, list) else 1
    stream, usage_asked = _stream(payload)
    user = payload.pop("user", None)
    if user is not None and not isinstance(user, str):
        raise _bad("user must be text", "user")
    return Admitted(payload, model, prompt, stream, most * choices * prompts, usage_asked, user)


def _parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; no NaN, no half surrogate pairs, no endless nesting."""
    try:
        value = json.loads(body, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _bad(f"the body is not valid JSON: {error}", None, "malformed_json") from error
    if not isinstance(value, dict):
        raise _bad("the body is not a JSON object", None, "malformed_json")
    return value


def _no_constant(name: str) -> None:
    """Refuse NaN and the infinities, which Python reads and JSON has not."""
    raise ValueError(f"{name} is no JSON number")


def _messages(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages after checking that they are text and nothing else: no pictures to fetch, no tools."""
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages must be a list with at least one message", "messages")
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict) or message.get("role") not in MESSAGE_ROLES:
            raise _bad(f"{where}.role must be one of {', '.join(sorted(MESSAGE_ROLES))}", f"{where}.role")
        if unknown := sorted(set(message) - MESSAGE_FIELDS):
            raise _bad(f"{where} has fields not supported here: {', '.join(unknown)}", where, "unsupported_field")
        if not _is_text(message.get("content")):
            raise _bad(f"{where}.content must be text", f"{where}.content")
    if payload.get("response_format") not in (None, *RESPONSE_FORMATS):
        raise _bad("response_format must be text or json_object", "response_format", "unsupported_field")
    return messages


def _is_text(content: Any) -> bool:
    """Return whether a message's content is a string, or a list of text parts as the OpenAI client may send it."""
    if isinstance(content, list):
        return bool(content) and all(
            isinstance(part, dict) and set(part) == {"type", "text"} and part["type"] == "text"
            and isinstance(part["text"], str)
            for part in content
        )  # fmt: skip
    return isinstance(content, str)


def _prompt(payload: dict[str, Any], caps: Caps) -> str | list[str]:
    """Return the prompt of a completion: text, or as many texts as choices are allowed (token ids hide their text)."""
    prompt = payload.get("prompt")
    texts = prompt if isinstance(prompt, list) else [prompt]
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise _bad("prompt must be text", "prompt")
    if len(texts) > caps.max_choices:
        raise _bad(f"prompt may hold {caps.max_choices} text(s)", "prompt", "over_the_cap")
    return prompt  # type: ignore[return-value]


def _cap_tokens(kind: Kind, payload: dict[str, Any], caps: Caps) -> int:
    """Return the completion tokens asked for; where nothing is asked for, ask for the cap."""
    names = [name for name in ("max_completion_tokens", "max_tokens") if payload.get(name) is not None]
    for name in names:
        _require_int(payload, name, caps.max_completion_tokens)
    if not names:
        payload["max_tokens"] = caps.max_completion_tokens
        names = ["max_tokens"]
    return int(payload[names[0]])


def _cap_choices(payload: dict[str, Any], caps: Caps) -> int:
    """Return the number of choices asked for."""
    if payload.get("n") is None:
        return 1
    _require_int(payload, "n", caps.max_choices)
    return int(payload["n"])


def _require_int(payload: dict[str, Any], name: str, most: int) -> None:
    """Refuse a field that is not a whole number from 1 to `most`."""
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(f"{name} must be a whole number from 1 to {most}", name)
    if value > most:
        raise _bad(f"{name} is {value}, the cap here is {most}", name, "over_the_cap")


def _stream(payload: dict[str, Any]) -> tuple[bool, bool]:
    """Return whether to stream and whether usage is asked for; the gateway always asks, to know the tokens."""
    stream, options = payload.get("stream") or False, payload.pop("stream_options", None)
    if not isinstance(stream, bool):
        raise _bad("stream must be true or false", "stream")
    if options is not None and not (isinstance(options, dict) and set(options) <= {"include_usage"}):
        raise _bad("stream_options may hold include_usage", "stream_options", "unsupported_field")
    if stream:
        payload["stream_options"] = {"include_usage": True}
    return stream, bool(stream and options and options.get("include_usage"))


def unavailable(code: str, message: str) -> Refusal:
    """Return a 503 that asks to come back."""
    return Refusal(503, code, message, retry_after_s=RETRY_AFTER_S)


def _bad(message: str, param: str | None, code: str = "invalid_value") -> Refusal:
    """Return a 400."""
    return Refusal(400, code, message, param=param)
