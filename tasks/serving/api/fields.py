"""Every field of the API, a line each: where it may stand, what happens to it, within which bounds, and why.

vLLM accepts far more than the OpenAI API: fields that load files or URLs, choose templates, turn off the stop token,
ask for thousands of log-probabilities. A list of what is allowed does not grow holes when vLLM grows fields: what has
no line here is refused. In every field null says nothing, and so does the value a line calls neutral; what would change
the answer is honoured or refused by name.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tasks.serving.api import items, messages, options, responses, tools
from tasks.serving.api.caps import Caps
from tasks.serving.api.checks import (
    Biases,
    Check,
    Flag,
    Made,
    Number,
    OneOf,
    Several,
    Something,
    Text,
    Tokens,
    Whole,
    same,
)
from tasks.serving.api.refusal import Refusal, bad, unsupported

Kind = Literal["chat", "completion", "responses", "embedding"]
Place = Literal["chat", "completion", "responses", "embedding", "message"]
#: Where what is asked stands.
PROMPTS: dict[Kind, str] = {"chat": "messages", "completion": "prompt", "responses": "input", "embedding": "input"}
#: `read`: the gateway itself acts on it; `dropped`: says nothing about the answer.
Does = Literal["passed", "read", "dropped", "refused"]


@dataclass(frozen=True)
class Field:
    """One line of the table.

    Args:
        name: of the field.
        places: where it may stand.
        does: what happens to it.
        check: its bounds; None where it is refused anyway.
        neutral: values that are taken as if the field were not there, beside null.
        why: the reason, or what to do instead.
    """

    name: str
    places: tuple[Place, ...]
    does: Does
    check: Check | None = None
    neutral: tuple[Any, ...] = ()
    why: str = ""


def _line(does: Does, name: str, places: str, check: Check | None = None, *neutral: Any, why: str = "") -> Field:
    """Return a line; places are letters: c chat, t completion (text), r responses, e embedding, m message of a chat."""
    where: dict[str, Place] = {"c": "chat", "t": "completion", "r": "responses", "e": "embedding", "m": "message"}
    return Field(name, tuple(where[letter] for letter in places), does, check, neutral, why)


def _passed(name: str, places: str, check: Check, *neutral: Any, why: str = "") -> Field:
    """Return the line of a field that goes to vLLM within its bounds."""
    return _line("passed", name, places, check, *neutral, why=why)


def _read(name: str, places: str, check: Check, *neutral: Any, why: str = "") -> Field:
    """Return the line of a field that the gateway acts on."""
    return _line("read", name, places, check, *neutral, why=why)


def _dropped(name: str, places: str, check: Check, why: str = "says nothing about the answer") -> Field:
    """Return the line of a field that says nothing about the answer."""
    return _line("dropped", name, places, check, why=why)


def _refused(name: str, places: str, *neutral: Any, why: str) -> Field:
    """Return the line of a field that is not offered."""
    return _line("refused", name, places, None, *neutral, why=why)


_OBJECT, _STRING = Something((dict,)), Something((str,))
#: Above every vocabulary; vLLM refuses what is above its own.
_HIGHEST_TOKEN_ID = 1_000_000
_INT64 = 2**63
_TEMPLATE = "the template is the one the safety floors were measured in"
_INTERNAL = "is vLLM's own, not for callers"
_HOLDS = "one caller would hold the server"
_TEXT_ONLY = "text in, text out"
_LENGTH = "not named: the cap, or what the prompt leaves of the context; named, it must fit beside the prompt"

FIELDS: tuple[Field, ...] = (
    # what is asked
    _read("model", "ctr", Text(256), why="the registered name, champion or a lineage id"),
    _read("model", "e", Text(256), why="`serve.embedding.name`, or the id of its weights"),
    _read("messages", "c", Something((list,)), why="see the fields of a message"),
    _read("prompt", "t", Several(Text(), "max_prompts", alone=True, fewest=1), why="token ids would hide their text"),
    _read("input", "r", Made(items.read_input, items.INPUT_WORDS, items.input_schema)),
    _read("input", "e", Several(Text(), "max_embedding_inputs", alone=True, fewest=1),
          why="each of at most `serve.embedding.max_length_tokens`; token ids would hide their text"),
    _passed("instructions", "r", Text(), ""),
    # the form of a vector
    _passed("encoding_format", "e", OneOf(("float", "base64"))),
    _passed("dimensions", "e", Whole(1, 65_536), why="refused by a model that was not trained for shorter vectors"),
    # how long, how many
    _read("max_tokens", "ct", Tokens(), why=_LENGTH),
    _read("max_completion_tokens", "c", Tokens(), why=_LENGTH),
    _read("max_output_tokens", "r", Tokens(), why=_LENGTH),
    _passed("min_tokens", "ct", Whole(0, "max_completion_tokens"), 0, why="not above max_tokens"),
    _passed("n", "ct", Whole(1, "max_choices"), 1),
    _read("stream", "ctr", Flag(), False),
    _read("stream_options", "ctr", Made(options.read_stream_options, options.STREAM_WORDS,
                                        options.stream_options_schema), {}),
    # sampling
    _passed("temperature", "ctr", Number(0, 2)),
    _passed("top_p", "ctr", Number(0, 1, above=True)),
    _passed("top_k", "ctr", Whole(-1, 100_000), why="0 and -1: all"),
    _passed("min_p", "ctr", Number(0, 1)),
    _passed("presence_penalty", "ctr", Number(-2, 2)),
    _passed("frequency_penalty", "ctr", Number(-2, 2)),
    _passed("repetition_penalty", "ctr", Number(0.1, 2)),
    _passed("seed", "ctr", Whole(-_INT64, _INT64 - 1)),
    _passed("stop", "ctr", Several(Text(256), 16, alone=True), [], ""),
    _passed("stop_token_ids", "ctr", Several(Whole(0, _HIGHEST_TOKEN_ID), 16), []),
    _passed("include_stop_str_in_output", "ctr", Flag(), False),
    _passed("logit_bias", "ctr", Biases(300, _HIGHEST_TOKEN_ID), {}),
    # log-probabilities
    _passed("logprobs", "c", Flag(), False),
    _passed("top_logprobs", "c", Whole(0, 20), why="with logprobs"),
    _passed("logprobs", "t", Whole(0, 20)),
    _passed("echo", "t", Flag(), False),
    # tools, thought, form of the answer
    _passed("tools", "c", Made(tools.read_tools, tools.TOOLS_WORDS, tools.tools_schema), [],
            why="where the live model's template and a parser know tools"),
    _passed("tools", "r", Made(tools.read_flat_tools, tools.FLAT_TOOLS_WORDS, tools.flat_tools_schema), [],
            why="where the live model's template and a parser know tools; no other tool is run here"),
    _read("tool_choice", "r", Made(tools.read_flat_choice, tools.CHOICE_WORDS, tools.flat_choice_schema)),
    _read("tool_choice", "c", Made(tools.read_choice, tools.CHOICE_WORDS, tools.choice_schema)),
    _read("parallel_tool_calls", "cr", Flag(), True, why="false: one call at most, passed beside tools"),
    _read("chat_template_kwargs", "c", Made(options.read_template_settings, options.TEMPLATE_WORDS,
                                            options.template_schema), {}, why=f"nothing else: {_TEMPLATE}"),
    _read("reasoning_effort", "c", OneOf(options.EFFORTS),
          why="none: without a thought; every other: with one, where the live model's template can switch it"),
    _passed("include_reasoning", "c", Flag(), True),
    _passed("response_format", "c", Made(tools.read_format, tools.FORMAT_WORDS, tools.format_schema)),
    _passed("text", "r", Made(responses.read_text, responses.TEXT_WORDS, responses.text_schema), {}),
    _read("reasoning", "r", Made(responses.read_reasoning, responses.REASONING_WORDS, responses.reasoning_schema), {}),
    # said for the caller's own books
    _dropped("user", "ctre", _STRING),
    _dropped("metadata", "ctr", _OBJECT),
    _dropped("safety_identifier", "cr", _STRING),
    _dropped("prompt_cache_key", "cr", _STRING),
    _dropped("prompt_cache_retention", "cr", _STRING),
    # OpenAI's, not offered
    _refused("store", "cr", False, why="nothing is kept to be asked for later"),
    _refused("service_tier", "cr", "auto", "default", why="there is one tier"),
    _refused("verbosity", "c", "medium", why="say it in the system message"),
    _refused("modalities", "c", ["text"], why=_TEXT_ONLY),
    _refused("audio", "c", why=_TEXT_ONLY),
    _refused("prediction", "c", why="answers are not predicted from a given text"),
    _refused("web_search_options", "c", why="nothing is fetched"),
    _refused("functions", "c", [], why="use tools"),
    _refused("function_call", "c", "none", "auto", why="use tool_choice"),
    _refused("best_of", "ct", 1, why="use n"),
    _refused("suffix", "t", "", why="no model here fills in"),
    _refused("previous_response_id", "r", why="nothing is stored: send the conversation as input"),
    _refused("conversation", "r", why="nothing is stored: send the conversation as input"),
    _refused("background", "r", False, why="nothing is stored to be asked for later"),
    _refused("include", "r", [], ["reasoning.encrypted_content"], why="an answer holds all there is"),
    _refused("prompt", "r", why="prompts are not stored here"),
    _refused("max_tool_calls", "r", why="counts tools that a server runs; here the caller runs them"),
    _refused("top_logprobs", "r", 0, why="use the chat route for log-probabilities"),
    _refused("truncation", "r", "disabled", why="nothing is cut without being said"),
    # vLLM's, not offered
    _refused("ignore_eos", "ctr", False, why=_HOLDS),
    _refused("use_beam_search", "ct", False, why=_HOLDS),
    _refused("length_penalty", "ct", 1.0, why="belongs to beam search"),
    _refused("bad_words", "ct", [], why="use logit_bias"),
    _refused("allowed_token_ids", "ct", [], why="use logit_bias or response_format"),
    _refused("logprob_token_ids", "ct", [], why="use top_logprobs"),
    _refused("prompt_logprobs", "ct", why=_HOLDS),
    _refused("skip_special_tokens", "ctr", True, why=_TEMPLATE),
    _refused("spaces_between_special_tokens", "ct", True, why=_TEMPLATE),
    _refused("add_special_tokens", "c", False, why=_TEMPLATE),
    _refused("add_special_tokens", "te", True, why=_TEMPLATE),
    _refused("add_generation_prompt", "c", True, why=_TEMPLATE),
    _refused("continue_final_message", "c", False, why="the caller would write the beginning of the answer"),
    _refused("echo", "c", False, why="the caller has the message"),
    _refused("chat_template", "c", why=_TEMPLATE),
    _refused("chat_template_kwargs", "r", {}, why="use reasoning"),
    _refused("documents", "c", [], why="put them into a message"),
    _refused("structured_outputs", "ctr", {}, why="use response_format"),
    _refused("thinking_token_budget", "ct", why="use reasoning_effort"),
    _refused("truncate_prompt_tokens", "cte", why="nothing is cut without being said"),
    _refused("truncation_side", "cte", why="nothing is cut without being said"),
    _refused("priority", "ctre", 0, why=_INTERNAL),
    _refused("request_id", "ctre", why="the gateway gives the id: header x-request-id"),
    _refused("session_id", "ctr", why=_INTERNAL),
    _refused("cache_salt", "ctre", why=_INTERNAL),
    _refused("watermarking", "ctr", False, why=_INTERNAL),
    _refused("repetition_detection", "ct", why=_INTERNAL),
    _refused("stream_interval", "ct", why=_INTERNAL),
    _refused("return_tokens_as_token_ids", "ct", False, why=_INTERNAL),
    _refused("return_token_ids", "ct", False, why=_INTERNAL),
    _refused("return_token_offsets", "ct", False, why=_INTERNAL),
    _refused("return_prompt_text", "c", False, why=_INTERNAL),
    _refused("routed_experts_prompt_start", "ct", 0, why=_INTERNAL),
    _refused("prompt_embeds", "t", why="embeddings hide their text"),
    _refused("response_format", "t", {"type": "text"}, why="use the chat route"),
    _refused("media_io_kwargs", "cr", {}, why=_TEXT_ONLY),
    _refused("mm_processor_kwargs", "cre", {}, why=_TEXT_ONLY),
    _refused("mm_payload", "ctr", "tensors", why=_TEXT_ONLY),
    _refused("return_mm_kwargs", "ctr", why=_TEXT_ONLY),
    _refused("kv_transfer_params", "ctr", {}, why=_INTERNAL),
    _refused("ec_transfer_params", "ctr", {}, why=_INTERNAL),
    _refused("vllm_xargs", "ctr", {}, why=_INTERNAL),
    _refused("include_reasoning", "r", True, why="drop the items of type reasoning"),
    _refused("enable_response_messages", "r", False, why=_INTERNAL),
    _refused("previous_input_messages", "r", [], why="send the conversation as input"),
    _refused("padding", "e", "do_not_pad", why=_INTERNAL),
    _refused("embed_dtype", "e", "float32", why="use encoding_format"),
    _refused("endianness", "e", "native", why=_INTERNAL),
    _refused("use_activation", "e", why="vectors come as the model makes them"),
    _refused("messages", "e", why="text alone: write a conversation as text"),
    # a message of a chat: what an answer holds comes back in the next turn
    _passed("role", "m", OneOf(messages.ROLES), why="developer is passed as system"),
    _passed("content", "m", Made(messages.read_content, "text, or a list of text parts", messages.content_schema),
            why="an assistant's may be null beside tool_calls or a thought"),
    _passed("name", "m", Text(256)),
    _passed("tool_calls", "m", Made(messages.read_calls, messages.CALLS_WORDS, messages.calls_schema), []),
    _passed("tool_call_id", "m", Text(messages.LONGEST_ID), why="of a message of the tool"),
    _passed("reasoning", "m", Text(), "", why="an assistant's thought; the template decides what of it is shown again"),
    _passed("reasoning_content", "m", Text(), "", why="an older name of reasoning"),
    _refused("refusal", "m", "", why="an answer's refusal stands in its content"),
    _refused("annotations", "m", [], why="an answer here has none"),
    _refused("audio", "m", why=_TEXT_ONLY),
    _refused("function_call", "m", why="use tool_calls"),
    _dropped("parsed", "m", Something((dict, list, str, bool, int)), why="made of the content by the openai client"),
    _dropped("provider_specific_fields", "m", _OBJECT, why="made of the message by the litellm client"),
)  # fmt: skip

_BY_PLACE: dict[Place, dict[str, Field]] = {
    place: {field.name: field for field in FIELDS if place in field.places}
    for place in ("chat", "completion", "responses", "embedding", "message")
}


def fields_of(place: Place) -> dict[str, Field]:
    """Return the lines of one place by name."""
    return _BY_PLACE[place]


def read_fields(given: dict[str, Any], place: Place, caps: Caps, at: str = "") -> dict[str, Any]:
    """Return the fields that say something, checked.

    Args:
        given: an object of the caller's: a body, or a message of a chat.
        place: what it is.
        caps: bounds from the settings.
        at: what stands before a field's name in a refusal, e.g. "messages[0].".

    Raises:
        Refusal: 400, naming the field at fault.
    """
    lines, found = _BY_PLACE[place], {}
    for name, value in given.items():
        line = lines.get(name)
        if line is None:
            raise unsupported(f"{at}{name[:80]} is not supported here", f"{at}{name[:80]}")
        if value is None or any(same(value, neutral) for neutral in line.neutral):
            continue
        if line.check is None:
            raise _not_offered(line, at)
        checked = line.check(value, f"{at}{name}", caps)
        if line.does != "dropped":
            found[name] = checked
    return found


def read_messages(messages_given: list[Any], caps: Caps) -> list[dict[str, Any]]:
    """Return the messages of a chat, each as the server takes it.

    Raises:
        Refusal: 400, naming the message and the field at fault.
    """
    if not messages_given:
        raise bad("messages must be a list with at least one message", "messages")
    return [_message(message, f"messages[{place}]", caps) for place, message in enumerate(messages_given)]


def _message(message: Any, where: str, caps: Caps) -> dict[str, Any]:
    """Return one message."""
    if not isinstance(message, dict):
        raise bad(f"{where} must be an object", where)
    found = read_fields(message, "message", caps, f"{where}.")
    if "role" not in found:
        raise bad(f"{where}.role must be {OneOf(messages.ROLES).words()}", f"{where}.role")
    messages.require_order(found, where)
    older = found.pop("reasoning_content", None)
    if older and "reasoning" not in found:
        found["reasoning"] = older
    if found["role"] == "developer":
        found["role"] = "system"
    return {"content": "", **found}


def _not_offered(line: Field, at: str) -> Refusal:
    """Return the refusal of a field that is not offered."""
    return unsupported(f"{at}{line.name} is not supported here: {line.why}", f"{at}{line.name}")
