"""How many tokens a request's text may have, told from its characters before a model has seen it.

An upper estimate for ordinary text of every kind, so that what is reserved covers what comes; what was reserved and not
used is given back when the model has counted. Bytes are counted, not characters: that is exact for the byte-level
tokenizers in use, whose worst case is a token a byte, and it runs at memory speed.
"""

import json
import math
from typing import Any

from tasks.serving.audit.record import texts_in

#: Letters and spaces come in words; a word of two letters is a token.
_LETTERS = b" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ASCII = bytes(range(128))
BYTES_A_TOKEN_IN_WORDS = 2.5
#: Digits and signs can be a token each.
BYTES_A_TOKEN_IN_SIGNS = 1.0
#: A Chinese character is three bytes, and up to two tokens where a model was not made for Chinese.
BYTES_A_TOKEN_ELSE = 1.35
#: What a template puts around each text.
TOKENS_A_TEXT = 8
#: Bytes of JSON that one token of context can need: four escaped Chinese characters (`\\u78d8`).
JSON_BYTES_A_TOKEN = 24
#: Whatever else a body holds: settings, names, a schema, descriptions of tools.
BODY_BYTES_ELSE = 64 << 10


def prompt_tokens(prompt: Any, context_tokens: int) -> int:
    """Return the most tokens that a prompt, messages or several prompts may have.

    Args:
        context_tokens: the model's context; more is refused by the model.
    """
    return min(sum(text_tokens(text) for text in texts_in(prompt)), context_tokens)


def tools_tokens(payload: dict[str, Any]) -> int:
    """Return the most tokens that tools may add to a prompt: their JSON is written out, names of fields and all."""
    tools = payload.get("tools")
    return text_tokens(json.dumps(tools, ensure_ascii=False)) if tools else 0


def text_tokens(text: str) -> int:
    """Return the most tokens that a text may have."""
    data = text.encode("utf-8", "replace")
    ascii_else = data.translate(None, _LETTERS)
    other = len(ascii_else.translate(None, _ASCII))
    signs, letters = len(ascii_else) - other, len(data) - len(ascii_else)
    tokens = letters / BYTES_A_TOKEN_IN_WORDS + signs / BYTES_A_TOKEN_IN_SIGNS + other / BYTES_A_TOKEN_ELSE
    return math.ceil(tokens) + TOKENS_A_TEXT


def body_cap(context_tokens: int, most_bytes: int | None) -> int:
    """Return the bytes a body may have: what the context can hold, or less where the settings say so."""
    by_context = context_tokens * JSON_BYTES_A_TOKEN + BODY_BYTES_ELSE
    return min(by_context, most_bytes) if most_bytes else by_context
