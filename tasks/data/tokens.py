"""Rows too long to be trained on, counted with the base model's own tokenizer and chat template.

Rendering and tokenizing a row costs as much as everything else that is done to it. No token is shorter than a byte, so
a row whose rendered text has no more bytes than the limit has tokens fits without being counted.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from unicodedata import is_normalized

from tasks.chat.additions import template_additions
from tasks.chat.conversation import OPEN, Message, with_thought
from tasks.chat.rows import RowRefused, TokenRow, encode_row, thought_samples
from tasks.chat.template import CALL, offers_tools, served_messages, served_tools
from tasks.data.problems import BadRowError

UNCOUNTED = -1
#: More than a template and the encoder write around an empty thought that a server opens.
_EMPTY_THOUGHT_BYTES = 32
#: Longer conversations are not tried on the template before they are trained on.
_MOST_TURNS = 32
#: Why training would refuse a row of this form, in words.
_REFUSALS = {
    "template_drops_the_thought": "it never shows the reasoning of the last answer",
    "template_rewrites_earlier_turns": "it writes earlier turns anew when a turn is added",
    "answer_merges_with_prompt": "prompt and answer share a token, and the tokenizer cannot encode them apart",
}


@dataclass(frozen=True)
class TemplateEffect:
    """What the base model's chat template makes of conversations of one form.

    Args:
        history: answers that carry no loss, by place: (place, why: a key of `tasks.chat.rows.NO_LOSS`).
        alone: answers whose thought it drops, by place: each is taught where it is last, in a sample of its own.
        restored: it drops the last answer's thought as well, which is given back: the row has more than is rendered.
        joined: prompt and last answer are encoded apart, because whole the tokens at the border would be others.
        refused: why training would leave such a row out, in words; "" where it would not.
        tools_hidden: whether the row offers tools and the template never shows them.
    """

    history: tuple[tuple[int, str], ...] = ()
    alone: tuple[int, ...] = ()
    restored: bool = False
    joined: bool = False
    refused: str = ""
    tools_hidden: bool = False


NO_EFFECT = TemplateEffect()
_Form = tuple[tuple[str, bool, bool], ...]


class RowLengths:
    """Token counts of chat rows, as training renders them.

    Args:
        base: folder of the base model.
        max_length_tokens: longest row that is trained on.
    """

    def __init__(self, base: Path, max_length_tokens: int) -> None:
        self._tokenizer = _tokenizer(base)
        self.max_length_tokens = max_length_tokens
        self._special = re.compile("|".join(map(re.escape, self._tokenizer.all_special_tokens)))
        self._byte_level, self._composes = _byte_level(self._tokenizer)
        self._template_bytes = lru_cache(4096)(self._measure_template)
        self._tried = lru_cache(4096)(self._try)
        self._shows_tools: bool | None = None

    def additions(self) -> dict[str, str]:
        """Return what the base model's chat template adds to rows (`tasks.chat.additions`)."""
        return template_additions(self._tokenizer)

    def count_where_needed(
        self, messages: Sequence[Message], tools: str | None, effect: TemplateEffect = NO_EFFECT
    ) -> int:
        """Return the tokens of a row as it is trained, or `UNCOUNTED` for one that surely fits.

        Args:
            messages: of the row.
            tools: JSON text of the tools on offer.
            effect: of the template on rows of its form.

        Raises:
            BadRowError: the text holds a special token of the tokenizer, or the chat template refuses the row.
        """
        for number, message in enumerate(messages, start=1):
            if self._special.search(message["content"]):
                raise BadRowError("special_token", f"turn {number} holds a special token of the base model")
        if any(CALL in message["content"] for message in messages):
            return self.count(messages, tools, effect)  # the template writes calls in its own way, with other bytes
        template = self._template_bytes(tuple(message["role"] for message in messages), tools)
        if self._byte_level and (not self._composes or all(map(_is_composed, messages))):
            size = template + sum([len(message["content"].encode()) for message in messages])
            size += _EMPTY_THOUGHT_BYTES if effect.restored else 0
            if size <= self.max_length_tokens:
                return UNCOUNTED
        return self.count(messages, tools, effect)

    def effect(self, messages: Sequence[Message], tools: str | None) -> TemplateEffect:
        """Return what the template makes of a row of this form; tried once a form, on a conversation of one word each.

        Raises:
            BadRowError: training would leave the row out.
        """
        found = self._effect_of(messages, tools)
        if found.refused:
            raise BadRowError("template_refuses", f"the chat template of the base model: {found.refused}")
        return found

    def _effect_of(self, messages: Sequence[Message], tools: str | None) -> TemplateEffect:
        """Return what the template makes of a row of this form, of those tried last from memory."""
        if len(messages) > _MOST_TURNS:
            return NO_EFFECT
        form = tuple((said["role"], OPEN in said["content"], CALL in said["content"]) for said in messages)
        return self._tried(form, tools is not None)

    def _try(self, form: _Form, offered: bool) -> TemplateEffect:
        """Encode the shortest conversation of a form as training would."""
        messages = [{"role": role, "content": _word(role, thinks, calls)} for role, thinks, calls in form]
        tools = [{"name": "f", "parameters": {"type": "object", "properties": {}}}] if offered else None
        if self._shows_tools is None:
            self._shows_tools = offers_tools(self._tokenizer)
        hidden = offered and not self._shows_tools
        try:
            row = encode_row("", messages, self._tokenizer, tools)
        except RowRefused as refusal:
            # What the template itself refuses is said where the row is rendered, with the template's own words.
            return TemplateEffect(refused=_REFUSALS.get(str(refusal), ""), tools_hidden=hidden)
        alone = {turn for one in thought_samples(row, messages, self._tokenizer, tools) for turn in one.trained_turns}
        history = tuple((turn, why) for turn, why in row.history_turns if turn not in alone)
        return TemplateEffect(history, tuple(sorted(alone)), row.thought_restored, row.joined, "", hidden)

    def fitting(self, effect: TemplateEffect, messages: Sequence[Message], tools: str | None) -> TemplateEffect:
        """Return the effect on a long row: a sample of its own that is too long teaches nothing."""
        row = self._encoded(messages, tools)
        samples = thought_samples(row, list(messages), self._tokenizer, _parsed(tools))
        fit = [one for one in samples if len(one.input_ids) <= self.max_length_tokens]
        taught = {turn for one in fit for turn in one.trained_turns}
        lost = [(turn, "too_long_alone") for turn in effect.alone if turn not in taught]
        alone = tuple(turn for turn in effect.alone if turn in taught)
        return replace(effect, history=tuple(sorted((*effect.history, *lost))), alone=alone)

    def _encoded(self, messages: Sequence[Message], tools: str | None) -> TokenRow:
        """Return a row as training encodes it.

        Raises:
            BadRowError: training would leave it out.
        """
        try:
            return encode_row("", list(messages), self._tokenizer, _parsed(tools))
        except RowRefused as refusal:
            raise refused_by_encoder(refusal) from refusal

    def count(self, messages: Sequence[Message], tools: str | None, effect: TemplateEffect | None = None) -> int:
        """Return the tokens of a row as it is trained; the effect on rows of its form is looked up where not given."""
        effect = effect or self._effect_of(messages, tools)
        if effect.restored or effect.joined:
            return len(self._encoded(messages, tools).input_ids)
        return self._tokens_in(self._render(messages, tools))

    def _tokens_in(self, text: str) -> int:
        """Return the tokens of rendered text; where each begins is not asked for, which is a quarter of the work."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            # Quiet about rows that are longer than the model takes: that is what is being found out.
            return len(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return len(backend.encode_batch_fast([text], add_special_tokens=False)[0])

    def _measure_template(self, roles: tuple[str, ...], tools: str | None) -> int:
        """Return how many bytes the template itself adds to turns of these roles."""
        probe = [{"role": role, "content": "a"} for role in roles]
        return len(self._render(probe, tools).encode())

    def _render(self, messages: Sequence[Message], tools: str | None) -> str:
        """Return a row as the model sees it."""
        from jinja2.exceptions import TemplateError

        try:
            declared = served_tools(_parsed(tools))
        except ValueError as error:
            raise BadRowError("malformed_tool_call", str(error)) from error
        served = served_messages(list(messages), self._tokenizer)
        try:
            text: str = self._tokenizer.apply_chat_template(served, tools=declared, tokenize=False)
        except (TemplateError, TypeError) as error:
            raise BadRowError("template_refuses", f"the chat template says: {error}") from error
        return text


def refused_by_encoder(refusal: RowRefused) -> BadRowError:
    """Return why training would leave a row out, as `prepare` says it."""
    if str(refusal) == "special_token_in_text":
        return BadRowError("special_token", "the text holds a special token of the base model")
    words = _REFUSALS.get(str(refusal), str(refusal).replace("_", " "))
    return BadRowError("template_refuses", f"the chat template of the base model: {words}")


def _parsed(tools: str | None) -> list[Any] | None:
    """Return the tools on offer."""
    return json.loads(tools) if tools else None


def _word(role: str, thinks: bool, calls: bool) -> str:
    """Return the shortest content of a form."""
    word = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>' if calls and role == "assistant" else "a"
    return with_thought("b", word) if thinks and role == "assistant" else word


@lru_cache(2)
def _tokenizer(base: Path) -> Any:
    """Return the tokenizer of a model folder, read once a process."""
    from tasks.chat.tokenizer import load_tokenizer

    return load_tokenizer(base)


def _is_composed(message: Message) -> bool:
    """Tell whether Unicode normalization form C would change nothing, so that it adds no bytes either."""
    return is_normalized("NFC", message["content"])


def _byte_level(tokenizer: Any) -> tuple[bool, bool]:
    """Tell whether a text never has more tokens than bytes (byte-level BPE), and whether NFC is applied to it first."""
    try:
        parts = json.loads(tokenizer.backend_tokenizer.to_str())
    except AttributeError:
        return False, False
    normalizer = parts["normalizer"] or {"type": "Sequence", "normalizers": []}
    kinds = [step["type"] for step in normalizer.get("normalizers", [normalizer])]
    plain = parts["model"]["type"] == "BPE" and (parts["decoder"] or {}).get("type") == "ByteLevel"
    return plain and set(kinds) <= {"NFC"}, "NFC" in kinds
