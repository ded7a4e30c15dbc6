"""Chat rows in the form a server receives them, so that the chat template writes one text in training and in serving.

Prepared rows carry function calls as text of the assistant (`<tool_call>...</tool_call>`). Callers send them as
structure, and each model family's template writes them in its own way: training must see what the template writes.
"""

import json
import re
from typing import Any

from tasks.chat.conversation import CLOSE, OPEN, split_thought, with_thought

Message = dict[str, Any]

CALL = "<tool_call>"

_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)
_TRAILING_CALLS = re.compile(r"(?:\A|\n)(?:<tool_call>\n(?:(?!</tool_call>).)*\n</tool_call>\n?)+\Z", re.DOTALL)
#: Fields of a function as vLLM hands them to the template: these in this order, null where not given ...
_ALWAYS = ("name", "description", "parameters")
#: ... and these where given. Source: vllm/entrypoints/generate/base/protocol.py, FunctionDefinition (0.32.0).
_WHERE_GIVEN = ("strict", "defer_loading")
#: The name of a function nobody has.
PROBE = "tunegate_probe"
#: Fields that vLLM hands a template an assistant's thought in. Source: vllm/renderers/chat_utils.py (0.32.0).
THOUGHT_FIELDS = ("reasoning_content", "reasoning")


def served_tools(tools: list[Any] | None) -> list[dict[str, Any]] | None:
    """Return tools as vLLM hands them to the chat template: OpenAI's form, its fields in one order, no others.

    Args:
        tools: functions on offer, bare or in OpenAI's form.

    Raises:
        ValueError: a tool has no name; no server takes it.
    """
    return [_served_tool(tool) for tool in tools] if tools else None


def served_messages(messages: list[Message], tokenizer: Any) -> list[Message]:
    """Return messages as a caller sends them: calls at the end of an assistant's text become `tool_calls`.

    Text that only looks like a call stays text, and so do all calls where the template does not write `tool_calls`. A
    thought stays in the text, unless the template reads thoughts from a field alone: then it is that field.

    Args:
        messages: of a prepared row.
        tokenizer: its template decides.
    """
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    served = [dict(message) for message in messages]
    if any(map(_CALL.search, answers)) and writes_calls(tokenizer):
        served = _with_calls(served)
    if any(CLOSE in answer for answer in answers) and (field := thought_field(tokenizer)):
        served = [_with_thought(message, field) for message in served]
    return served


def _with_calls(messages: list[Message]) -> list[Message]:
    """Return messages with the calls at the end of an assistant's text as structure, and results named by them."""
    served: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        form = dict(message)
        if form["role"] == "assistant" and (calls := _calls_of(form["content"], len(served))):
            form |= {"content": _TRAILING_CALLS.sub("", form["content"]), "tool_calls": calls}
            waiting = [call["id"] for call in calls]
        elif form["role"] == "tool" and waiting:
            form["tool_call_id"] = waiting.pop(0)
        served.append(form)
    return served


def _with_thought(message: Message, field: str) -> Message:
    """Return a message with an assistant's thought in the field the template reads."""
    if message["role"] != "assistant" or CLOSE not in message["content"]:
        return message
    thought, answer = split_thought(message["content"])
    return message | {"content": answer, field: thought}


def thought_and_answer(message: Message) -> tuple[str, str]:
    """Return (reasoning, answer) of an assistant's message as served, wherever its reasoning stands."""
    field = next((name for name in THOUGHT_FIELDS if message.get(name)), None)
    return (message[field], message["content"]) if field else split_thought(message["content"])


def thought_field(tokenizer: Any) -> str | None:
    """Return the field in which the chat template reads a thought, None where it reads it in the text.

    Qwen3.8's puts an empty thought before one that stands in the text; others never show one that is not in the field.
    """
    template = str(tokenizer.chat_template)
    if template not in _fields:
        if len(_fields) >= _MOST_TEMPLATES:
            _fields.clear()
        _fields[template] = _probe_thought(tokenizer)
    return _fields[template]


_fields: dict[str, str | None] = {}
_MOST_TEMPLATES = 64


def _probe_thought(tokenizer: Any) -> str | None:
    """Return the field in which a thought comes out of the template better than in the text."""
    inline = _rendered(tokenizer, [{"role": "assistant", "content": with_thought(PROBE, "!")}], None)
    for field in THOUGHT_FIELDS:
        given = _rendered(tokenizer, [{"role": "assistant", "content": "!", field: PROBE}], None)
        if PROBE in given and (PROBE not in inline or inline.count(OPEN) > given.count(OPEN)):
            return field
    return None


def as_request(messages: list[Message]) -> list[Message]:
    """Return messages as they go over the wire: a call's arguments are JSON text there, a thought is `reasoning`."""
    return [_on_the_wire(message) for message in messages]


def writes_calls(tokenizer: Any) -> bool:
    """Tell whether the chat template writes the structured calls of an assistant's turn."""
    return bool(written_call(tokenizer))


def written_call(tokenizer: Any) -> str:
    """Return a question and a call of the function `PROBE` as the chat template writes them, "" where it does not."""
    call = {"id": "call00000", "type": "function", "function": {"name": PROBE, "arguments": {"a": "b"}}}
    written = _rendered(tokenizer, [{"role": "assistant", "content": "", "tool_calls": [call]}], None)
    return written if PROBE in written else ""


def offers_tools(tokenizer: Any) -> bool:
    """Tell whether the chat template tells the model about the tools on offer."""
    return _probe(tokenizer, [], served_tools([{"name": PROBE, "description": "d", "parameters": {}}]))


def switches_thinking(tokenizer: Any) -> bool:
    """Tell whether `enable_thinking` changes what the model is asked."""
    question = [{"role": "user", "content": "?"}]
    asked = [
        tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True, enable_thinking=switch)
        for switch in (True, False)
    ]
    return bool(asked[0] != asked[1])


def writes_clock(tokenizer: Any) -> bool:
    """Tell whether the chat template writes today's date: the same conversation is then other tokens tomorrow."""
    return "strftime_now" in str(tokenizer.chat_template)


def render(
    tokenizer: Any, messages: list[Message], generate: bool, tools: list[Any] | None = None, **settings: Any
) -> list[int]:
    """Return the token ids of a conversation as the chat template writes it.

    Args:
        tokenizer: its template is used.
        messages: as served.
        generate: whether the assistant is to speak next.
        tools: as served.
        settings: further names for the template (`enable_thinking`).
    """
    text = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=generate, **settings
    )
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def thought_opened(asked: str) -> bool:
    """Tell whether a rendered prompt asks for an answer with a thought already opened."""
    return asked.rstrip().endswith(OPEN)


def _served_tool(tool: Any) -> dict[str, Any]:
    """Return one tool in vLLM's form."""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise ValueError("a tool has no name")
    form = {name: function.get(name) for name in _ALWAYS}
    form |= {name: function[name] for name in _WHERE_GIVEN if function.get(name) is not None}
    return {"type": "function", "function": form}


def _calls_of(content: str, turn: int) -> list[dict[str, Any]] | None:
    """Return the calls at the end of a text, or None where there are none that a caller could send."""
    found = _TRAILING_CALLS.search(content)
    calls = [_call(text) for text in _CALL.findall(found.group())] if found else []
    if not calls or None in calls:
        return None
    # Nine characters: Mistral's templates take no other length.
    return [
        {"id": f"call{turn % 1000:03d}{number:02d}", "type": "function", "function": call}
        for number, call in enumerate(calls)
    ]


def _call(text: str) -> dict[str, Any] | None:
    """Return one call, or None where it is more or other than a name and arguments."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    usable = isinstance(value, dict) and set(value) == {"name", "arguments"} and isinstance(value["arguments"], dict)
    return value if usable and isinstance(value["name"], str) else None


def _on_the_wire(message: Message) -> Message:
    """Return one message with the arguments of its calls as JSON text, and its thought where vLLM takes it."""
    if THOUGHT_FIELDS[0] in message:
        message = {name: value for name, value in message.items() if name != THOUGHT_FIELDS[0]} | {
            THOUGHT_FIELDS[1]: message[THOUGHT_FIELDS[0]]
        }
    if "tool_calls" not in message:
        return message
    calls = [
        call | {"function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"],
                                                                        ensure_ascii=False)}}
        for call in message["tool_calls"]
    ]  # fmt: skip
    return message | {"tool_calls": calls}


def _probe(tokenizer: Any, turns: list[Message], tools: list[Any] | None) -> bool:
    """Tell whether the name of the probe function comes out of the template."""
    return PROBE in _rendered(tokenizer, turns, tools)


def _rendered(tokenizer: Any, turns: list[Message], tools: list[Any] | None) -> str:
    """Return turns after a question as the template writes them, "" where it refuses."""
    from jinja2.exceptions import TemplateError

    messages = [{"role": "user", "content": "?"}, *turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False))
    except (TemplateError, TypeError):
        # TypeError: a template that takes arguments as text only, while vLLM hands every template an object.
        return ""
