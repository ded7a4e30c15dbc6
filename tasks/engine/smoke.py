"""What a version must answer before it goes live: something to every prompt, and what its evidence says it answers."""

import asyncio
import logging
from functools import partial
from typing import Any

import aiohttp

from tasks.chat.template import PROBE
from tasks.core.errors import DataContractError, TransientError
from tasks.core.settings import PromoteParams
from tasks.engine.access import OWN, Access
from tasks.engine.deployment import Deployment
from tasks.engine.drivers.driver import CannotTellError, Driver
from tasks.engine.drivers.known import driver_named
from tasks.engine.drivers.vllm import Vllm
from tasks.engine.fingerprint import Fingerprint, agreement, likest

log = logging.getLogger(__name__)

SMOKE_TOKENS = 64
#: How a good answer ends: by the model's own stop token, or by our length limit.
GOOD_ENDINGS = frozenset({"stop", "length"})
#: How engines are called in messages, where not by the driver's name.
_ENGINE_WORDS = {"vllm": "vLLM"}


async def smoke_test(url: str, deployment: Deployment, params: PromoteParams, access: Access = OWN) -> None:
    """Ask a started server every smoke prompt, and hold it to the fingerprint of its evidence.

    Raises:
        DataContractError: it serves another name than the lineage id, an answer is empty or ends oddly, or it answers
            like another model than the one that was evaluated.
        TransientError: it does not answer in `smoke_timeout_s`.
    """
    timeout = aiohttp.ClientTimeout(total=params.smoke_timeout_s)
    try:
        async with access.session(timeout=timeout) as session:
            await _require_name(session, url, deployment, alone=not access.remote)
            for prompt in params.smoke_prompts:
                await _require_answer(session, url, deployment, prompt)
            if deployment.abilities.tool_parser:
                await _require_call(session, url, deployment)
            if deployment.fingerprint:
                await _require_fingerprint(session, url, deployment, deployment.fingerprint, access.engine(url))
    except (TimeoutError, aiohttp.ClientError) as error:
        reason = str(error) or f"no answer in {params.smoke_timeout_s:g} s"
        raise TransientError(
            f"smoke test of version {deployment.version}: {reason}", "read the slot's log in .tunegate/serving"
        ) from error


async def _require_name(session: aiohttp.ClientSession, url: str, deployment: Deployment, *, alone: bool) -> None:
    """Refuse a server that serves something else; one that is not ours alone may serve other models beside it."""
    async with session.get(f"{url}/v1/models") as answer:
        names = [model["id"] for model in (await answer.json())["data"]]
    if names != [deployment.lineage_id] and (alone or deployment.lineage_id not in names):
        raise _failed(deployment, f"it serves {', '.join(names)} instead of {deployment.lineage_id}")


async def _require_answer(session: aiohttp.ClientSession, url: str, deployment: Deployment, prompt: str) -> None:
    """Refuse a server whose answer to a prompt is an error, empty, by another model, or ends oddly."""
    request = {
        "model": deployment.lineage_id,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": SMOKE_TOKENS,
        "temperature": 0,
    }
    async with session.post(f"{url}/v1/chat/completions", json=request) as answer:
        if answer.status != 200:
            raise _failed(deployment, f"{prompt!r} gave HTTP {answer.status}: {(await answer.text())[:300]}")
        value: dict[str, Any] = await answer.json()
    choice = value["choices"][0]
    if value["model"] != deployment.lineage_id:
        raise _failed(deployment, f"{prompt!r} was answered by {value['model']!r}, not by {deployment.lineage_id}")
    _require_said(choice, deployment, prompt)
    if choice["finish_reason"] not in GOOD_ENDINGS:
        raise _failed(deployment, f"the answer to {prompt!r} ended with {choice['finish_reason']!r}")


def _require_said(choice: dict[str, Any], deployment: Deployment, prompt: str) -> None:
    """Refuse an answer that is empty, or that was taken for a thought: callers read `content`."""
    content, thought = (choice["message"].get(name) or "" for name in ("content", "reasoning"))
    if content.strip() or (thought.strip() and choice["finish_reason"] == "length"):
        return
    if thought.strip():
        parser = deployment.abilities.reasoning_parser
        raise _failed(deployment, f"parser {parser} takes the whole answer to {prompt!r} for a thought: no content")
    raise _failed(deployment, f"{prompt!r} got an empty answer")


async def _require_call(session: aiohttp.ClientSession, url: str, deployment: Deployment) -> None:
    """Refuse a server that does not give the call it is told to make as a call."""
    parameters = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
                  "additionalProperties": False}  # fmt: skip
    tool = {"type": "function", "function": {"name": PROBE, "parameters": parameters, "strict": True}}
    request = {
        "model": deployment.lineage_id,
        "messages": [{"role": "user", "content": "?"}],
        "tools": [tool],
        "tool_choice": {"type": "function", "function": {"name": PROBE}},
        "include_reasoning": deployment.abilities.thinking == "always",
        "max_tokens": SMOKE_TOKENS,
        "temperature": 0,
        # A grammar lets white space repeat, and a weak model may never leave it.
        "frequency_penalty": 2,
    }
    async with session.post(f"{url}/v1/chat/completions", json=request) as answer:
        value = await answer.json() if answer.status == 200 else {}
    choice = (value.get("choices") or [{}])[0]
    calls = (choice.get("message") or {}).get("tool_calls") or []
    # One cut off in its thought or in the call itself shows nothing.
    cut = choice.get("finish_reason") == "length"
    if cut:
        log.warning("smoke test of version %s: the call it must make was not finished", deployment.version)
    if [call["function"]["name"] for call in calls] != [PROBE] and not cut:
        parser = deployment.abilities.tool_parser
        raise _failed(deployment, f"a call it must make did not come as a call (HTTP {answer.status}, parser {parser})")


async def _require_fingerprint(
    session: aiohttp.ClientSession, url: str, deployment: Deployment, expected: Fingerprint, engine: str
) -> None:
    """Refuse a server that answers otherwise than the evaluated weights did in the evaluated template."""
    kind = driver_named(engine)
    standard = kind.standard
    wanted = expected.answers.get(standard.hop)
    if not wanted:
        raise _failed(deployment, f"its evidence has no answers of hop {standard.hop}, which {engine} is held to")
    ask = _greedy_ids if kind is Vllm else partial(_driven_ids, kind)
    asked = zip(expected.prompts, map(len, wanted), strict=True)
    opening = list(expected.opening)
    found = await asyncio.gather(*(ask(session, url, deployment, prompt, length, opening) for prompt, length in asked))
    share = agreement(found, wanted)
    log.info("smoke test of version %s: %.0f %% of the fingerprint's tokens agree", deployment.version, 100 * share)
    if share >= standard.least and standard.not_hop is None:
        return
    hop, nearest = likest(found, {name: ids for name, ids in expected.answers.items() if ids})
    if share >= standard.least and hop != standard.not_hop:
        return
    guess = f"; hop {hop} answered so ({nearest:.0%})" if hop != standard.hop and nearest >= standard.least else ""
    raise _failed(
        deployment,
        f"{share:.0%} of its answers' tokens are those of its evidence, at least {standard.least:.0%} must be{guess}: "
        f"other weights, another chat template, or another {_ENGINE_WORDS.get(engine, engine)} than the one evaluated",
    )


async def _driven_ids(
    kind: type[Driver],
    session: aiohttp.ClientSession,
    url: str,
    deployment: Deployment,
    prompt: str,
    tokens: int,
    opening: list[int],
) -> list[int]:
    """Return the token ids of a greedy answer of an engine that is no vLLM, as its driver asks for them."""
    driver = kind(session, url, deployment.lineage_id)
    try:
        rendered = await driver.chat_ids([{"role": "user", "content": prompt}])
        return await driver.greedy([*rendered, *opening], tokens)
    except CannotTellError as error:
        raise _failed(deployment, f"{kind.name} cannot be held to its evidence: {error}") from error


async def _greedy_ids(
    session: aiohttp.ClientSession, url: str, deployment: Deployment, prompt: str, tokens: int, opening: list[int]
) -> list[int]:
    """Return the token ids of a greedy answer in the server's own chat template, not stopped by end of turn.

    With an opening the answer begins behind it: the server renders the prompt (/tokenize), the opening follows as ids.
    """
    messages = [{"role": "user", "content": prompt}]
    route = "chat/completions"
    asked: dict[str, Any] = {"messages": messages}
    if opening:
        rendered = await _rendered_ids(session, url, deployment, messages)
        route, asked = "completions", {"prompt": [*rendered, *opening]}
    request = {
        "model": deployment.lineage_id,
        **asked,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    async with session.post(f"{url}/v1/{route}", json=request) as answer:
        value = await answer.json() if answer.status == 200 else {}
    try:
        return [int(token) for token in value["choices"][0]["token_ids"]]
    except (KeyError, IndexError, TypeError) as error:
        raise _failed(deployment, f"{prompt!r} got no token ids (HTTP {answer.status})") from error


def _failed(deployment: Deployment, reason: str) -> DataContractError:
    """Return the error of a failed smoke test."""
    return DataContractError(
        f"version {deployment.version} failed its smoke test: {reason}",
        "the old version goes on serving; mend the model, tunegate run",
    )


async def _rendered_ids(
    session: aiohttp.ClientSession, url: str, deployment: Deployment, messages: list[dict[str, str]]
) -> list[int]:
    """Return the token ids the server makes of a conversation."""
    request = {"model": deployment.lineage_id, "messages": messages, "add_generation_prompt": True}
    async with session.post(f"{url}/tokenize", json=request) as answer:
        value = await answer.json() if answer.status == 200 else {}
    if not value.get("tokens"):
        raise _failed(deployment, f"{messages[0]['content']!r} got no token ids of its own (HTTP {answer.status})")
    return [int(token) for token in value["tokens"]]
