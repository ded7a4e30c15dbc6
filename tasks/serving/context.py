"""Whether prompt and answer fit into the model's context: asked of the engine where an estimate cannot tell.

vLLM 0.32 lowers the length of an answer to what the prompt leaves of the context, without a word
(vllm/entrypoints/serve/utils/api_utils.py, get_max_tokens). That is right where the caller named no length; one that
was named is given or refused.
"""

import json
import re
from typing import Any

import aiohttp

from tasks.serving.admission import Admitted, Kind, Refusal
from tasks.serving.api.fields import PROMPTS
from tasks.serving.api.items import as_chat
from tasks.serving.api.refusal import bad
from tasks.serving.door.estimate import prompt_tokens, tools_tokens
from tasks.serving.slot import Lease

TOO_LONG = "context_length_exceeded"
#: What a template may add of its own: a system prompt, how to call functions.
TEMPLATE_TOKENS = 512
#: vLLM's words for a prompt that leaves no room at all (0.32: renderers/params.py, sampling_params.py,
#: entrypoints/openai/responses/serving.py), and llama.cpp's (tools/server/server-context.cpp).
_NO_ROOM = re.compile(
    r"maximum context length is|exceeds the max_model_len|max_tokens must be at least 1, got 0"
    r"|exceeds the available context size"
)


async def require_room(session: aiohttp.ClientSession, lease: Lease, admitted: Admitted, context_tokens: int) -> None:
    """Refuse an answer of a named length that the prompt leaves no room for.

    Raises:
        Refusal: 400, with how much room there is.
        ClientError: the engine was lost.
    """
    named = admitted.named_tokens or 0
    for asked in _prompts(admitted) if named else ():
        most = prompt_tokens(asked.get("messages", asked.get("prompt")), context_tokens) + tools_tokens(asked)
        if most + TEMPLATE_TOKENS + named <= context_tokens:
            continue
        count = await _count(session, lease, asked)
        # A prompt that alone is too long is told in the engine's refusal.
        if count is not None and count < context_tokens < count + named:
            raise bad(
                f"the prompt has {count} tokens and the answer may have {named}, the context of this model is "
                f"{context_tokens}: ask for at most {context_tokens - count}, or for no length",
                PROMPTS[admitted.kind], TOO_LONG,
            )  # fmt: skip


def refused_by_model(status: int, body: bytes, kind: Kind) -> Refusal:
    """Return vLLM's refusal of a request in OpenAI's shape: its own has a number for a code."""
    try:
        error = json.loads(body)["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError):
        message, param = "the model server refused this request", None
    if not _NO_ROOM.search(message):
        return Refusal(status, "invalid_value", message, param=param)
    return Refusal(status, TOO_LONG, f"the prompt leaves no room for an answer: {message}", param=PROMPTS[kind])


def _prompts(admitted: Admitted) -> list[dict[str, Any]]:
    """Return what vLLM's /tokenize is to count, one for each prompt."""
    payload = admitted.payload
    if admitted.kind == "completion":
        prompts = payload["prompt"]
        return [{"prompt": prompt} for prompt in (prompts if isinstance(prompts, list) else [prompts])]
    chat = as_chat(payload) if admitted.kind == "responses" else payload
    return [{name: chat[name] for name in ("messages", "tools", "chat_template_kwargs") if name in chat}]


async def _count(session: aiohttp.ClientSession, lease: Lease, asked: dict[str, Any]) -> int | None:
    """Return a prompt's tokens by the engine's own count; None where it does not say (a router in front of it)."""
    payload = {"model": lease.deployment.lineage_id, **asked}
    async with session.post(f"{lease.url}/tokenize", json=payload) as answer:
        found = await answer.json(content_type=None) if answer.status == 200 else None
        count = found.get("count") if isinstance(found, dict) else None
        return count if isinstance(count, int) else None
