"""What may pass to vLLM: the table of fields, and what fields ask of each other. What is not named there is refused."""

import json
from dataclasses import dataclass, replace
from typing import Any

from tasks.engine.abilities import Abilities
from tasks.serving.api.caps import Caps
from tasks.serving.api.fields import PROMPTS, Kind, read_fields, read_messages
from tasks.serving.api.refusal import Refusal, bad, unavailable, unsupported
from tasks.serving.api.tools import named_in

__all__ = ["Admitted", "Caps", "Kind", "Refusal", "admit", "admit_embedding", "fitted", "unavailable"]

#: Names of the longest answer asked for; vLLM gets one of them.
_LENGTHS = {"chat": "max_tokens", "completion": "max_tokens", "responses": "max_output_tokens"}


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
        kind: route.
        thinks: whether the model is to think; None where the caller did not say.
        begins_within_s: how long the answer may take to begin; None: as long as any other.
        named_tokens: the longest answer the caller named, after clamping; None: as long as there is room.
    """

    payload: dict[str, Any]
    model: str
    prompt: Any
    stream: bool
    most_tokens: int
    usage_asked: bool
    user: str | None = None
    kind: Kind = "chat"
    thinks: bool | None = None
    begins_within_s: float | None = None
    named_tokens: int | None = None


def admit(kind: Kind, body: bytes, caps: Caps) -> Admitted:
    """Check a request's body.

    Raises:
        Refusal: 400, naming the field at fault.
    """
    given = _parse(body)
    said, user = read_fields(given, kind, caps), given.get("user")
    model = said.pop("model", None)
    if not model:
        raise bad("model is missing: the registered name, 'champion' or a lineage id", "model")
    prompt = _asked(kind, said, caps)
    named = _named_length(said)
    most = _longest(kind, said, caps, named)
    stream, usage_asked = said.get("stream", False), said.pop("stream_options", False)
    thinks = _thinks(said)
    _pair_tools(said)
    if stream and kind != "responses":
        # Always asked for: the gateway charges tokens.
        said["stream_options"] = {"include_usage": True}
    if kind == "responses":
        said["store"] = False
    prompts = len(prompt) if kind == "completion" and isinstance(prompt, list) else 1
    limit_s = caps.schema_timeout_s if _is_constrained(said) else None
    most_tokens = most * said.get("n", 1) * prompts
    return Admitted(
        said, model, prompt, stream, most_tokens, bool(stream and usage_asked), user, kind, thinks, limit_s, named
    )


def admit_embedding(body: bytes, caps: Caps) -> Admitted:
    """Check the body of a request for embeddings.

    Raises:
        Refusal: 400, naming the field at fault.
    """
    given = _parse(body)
    said, user = read_fields(given, "embedding", caps), given.get("user")
    for name in ("model", "input"):
        if not said.get(name):
            raise bad(f"{name} is missing", name)
    texts = said["input"]
    if not all(texts):
        raise bad("input must be text, not empty", "input")
    return Admitted(said, said.pop("model"), texts, False, 0, False, user, "embedding")


def fitted(admitted: Admitted, abilities: Abilities) -> Admitted:
    """Return a request in the form that the live model understands.

    Raises:
        Refusal: 400 where it asks for what this model's template does not know.
    """
    if admitted.payload.get("tools") and abilities.tool_parser is None:
        raise unsupported(f"tools: {abilities.why_no_tools}; put what the model should know into a message", "tools")
    return _thinking(_without_thought(admitted, abilities), abilities)


def _without_thought(admitted: Admitted, abilities: Abilities) -> Admitted:
    """Return a request whose answer is held to a form from its first token on, where the prompt opens no thought.

    vLLM holds an answer to its form only behind a thought; one that never comes would leave the answer free.
    """
    if admitted.begins_within_s is None or abilities.reasoning_parser is None or abilities.thinking == "always":
        return admitted
    if admitted.thinks:
        name = "tool_choice" if "tool_choice" in admitted.payload else "response_format"
        raise unsupported(f"{name}: an answer held to a form is given without a thought; leave one of them out", name)
    thinks = False if abilities.thinking == "switched" else admitted.thinks
    return replace(admitted, payload=admitted.payload | {"include_reasoning": False}, thinks=thinks)


def _thinking(admitted: Admitted, abilities: Abilities) -> Admitted:
    """Return a request that says to the template whether the model is to think, where the caller said so."""
    if admitted.thinks is None:
        return admitted
    name = "reasoning" if admitted.kind == "responses" else "reasoning_effort"
    if abilities.thinking == "switched":
        settings = {"chat_template_kwargs": {"enable_thinking": admitted.thinks}}
        return replace(admitted, payload=admitted.payload | settings)
    if admitted.thinks != (abilities.thinking == "always"):
        known = "always thinks" if abilities.thinking == "always" else "has no thinking mode"
        raise unsupported(f"{name}: the model that is live {known}; leave it out", name)
    return admitted


def _parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; no NaN, no infinities, no half surrogate pairs, no endless nesting."""
    try:
        value = json.loads(body, parse_constant=_no_constant)
        written = json.dumps(value, ensure_ascii=False)
        written.encode()
    except (ValueError, RecursionError) as error:
        raise bad(f"the body is not valid JSON: {error}", None, "malformed_json") from error
    if not isinstance(value, dict):
        raise bad("the body is not a JSON object", None, "malformed_json")
    if "Infinity" in written and (name := next((name for name, one in value.items() if not _is_finite(one)), None)):
        raise bad(f"{name} holds a number beyond every range", name)
    return value


def _is_finite(value: Any) -> bool:
    """Tell whether a JSON value holds no infinity: what a number beyond a double's range is read as."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _no_constant(name: str) -> None:
    """Refuse NaN and the infinities, which Python reads and JSON has not."""
    raise ValueError(f"{name} is no JSON number")


def _asked(kind: Kind, said: dict[str, Any], caps: Caps) -> Any:
    """Return what is asked, checked, and put it into the payload."""
    name = PROMPTS[kind]
    asked = said.get(name)
    if kind == "chat":
        said[name] = read_messages(asked or [], caps)
    elif not asked or (isinstance(asked, list) and not all(asked)):
        raise bad(f"{name} must be text", name)
    if kind == "responses" and "instructions" in said:
        return {"instructions": said["instructions"], "input": asked}
    return said[name]


def _named_length(said: dict[str, Any]) -> int | None:
    """Take the longest answer that the caller named out of a payload; None where none is named."""
    lengths = [said.pop(one) for one in ("max_completion_tokens", "max_tokens", "max_output_tokens") if one in said]
    return lengths[0] if lengths else None


def _longest(kind: Kind, said: dict[str, Any], caps: Caps, named: int | None) -> int:
    """Return the completion tokens asked for; where none are named, ask for the cap: vLLM gives what there is room for.

    Source for the latter: vllm/entrypoints/serve/utils/api_utils.py, get_max_tokens (0.32).
    """
    name = _LENGTHS[kind]
    said[name] = caps.max_completion_tokens if named is None else named
    if said.get("min_tokens", 0) > said[name]:
        raise bad(f"min_tokens is above {name}, {said[name]}", "min_tokens")
    return int(said[name])


def _thinks(said: dict[str, Any]) -> bool | None:
    """Return whether the model is to think, from the field of the template or the effort; None: not said."""
    switch = said.pop("chat_template_kwargs", None)
    effort = said.pop("reasoning_effort", None) or said.pop("reasoning", None)
    if switch is not None and effort is not None and switch != (effort != "none"):
        raise bad("reasoning_effort and chat_template_kwargs.enable_thinking say opposite things", "reasoning_effort")
    return switch if effort is None else effort != "none"


def _pair_tools(said: dict[str, Any]) -> None:
    """Refuse a choice among tools that are not there; without tools, what is said about them says nothing."""
    functions = [tool.get("function", tool) for tool in said.get("tools", ())]
    names = {function["name"] for function in functions}
    choice, parallel = said.pop("tool_choice", None), said.pop("parallel_tool_calls", None)
    named = named_in(choice)
    if (choice == "required" and not names) or (named and named not in names):
        raise bad(f"tool_choice asks for {named or 'a tool'}, which is not among tools", "tool_choice")
    if choice == "required" or named:
        # vLLM holds the arguments of a call to their schema where the tool says so; a call that must be made is read
        # by a program.
        for function in functions:
            function.setdefault("strict", True)
    if names:
        said["tool_choice"] = choice or "auto"
        if parallel is not None:
            said["parallel_tool_calls"] = parallel


def _is_constrained(said: dict[str, Any]) -> bool:
    """Tell whether a grammar has to be compiled before the answer."""
    forced = said.get("tool_choice") == "required" or isinstance(said.get("tool_choice"), dict)
    return forced or "response_format" in said or "text" in said
