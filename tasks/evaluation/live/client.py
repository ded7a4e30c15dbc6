"""The harness's requests through the gateway: what its allow-list refuses is asked in the forms it passes on.

Token ids become the text they stand for (and must come back as the same ids), prompt log-probabilities become echoed
ones, the log-probabilities of chosen tokens are read from the twenty likeliest, and a prompt that is a rendered
conversation is sent as that conversation, so that the server's own template is used. Answers are put back into vLLM's
form: the harness scores the live endpoint by the code that scored the hops.
"""

import asyncio
import json
import math
from typing import Any

import aiohttp

from tasks.chat.conversation import CLOSE, OPEN
from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.engine.client import RETRY_AFTER_S, TRANSIENT_STATUS, AnswerCache, Query, ServedClient
from tasks.engine.headers import LINEAGE

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
#: vLLM's own cap on the log-probabilities of one position.
TOP = 20
#: A key's rate limit empties within a minute; more than this much waiting for one request is another trouble.
MOST_WAIT_S = 300.0
HINT = "leave the suite out, or evaluate the hop: tunegate stage evaluate@awq"
#: What the tokenizer writes for a piece of a character.
PIECE = "\ufffd"
KEPT_HINT = "run the command again: answers already received are kept"
#: What the gateway passes on as it is.
PASSED = ("max_tokens", "temperature", "stop", "logit_bias", "seed")


class GatewayClient(ServedClient):
    """Ask the live endpoint as a caller would, with a key.

    Args:
        url: of the gateway, without /v1.
        key: an API key.
        lineage_id: of the version that is live; any other one that answers ends the run.
        tokenizer: of that version.
        concurrency: requests in flight; callers want to be answered too.
        cache: where answers are kept.
    """

    def __init__(
        self, url: str, key: str, lineage_id: str, tokenizer: Any, *, concurrency: int, cache: AnswerCache
    ) -> None:
        super().__init__(url, lineage_id, model_digest=lineage_id, concurrency=concurrency, cache=cache)
        self.key, self.tokenizer = key, tokenizer
        self.conversations: dict[tuple[int, ...], list[dict[str, str]]] = {}

    def register(self, messages: list[dict[str, str]]) -> list[int]:
        """Return the prompt of a conversation; from now on it is sent as the conversation itself."""
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        self.conversations[tuple(prompt)] = messages
        return prompt

    async def _post(self, session: aiohttp.ClientSession, query: Query) -> dict[str, Any]:
        """Return an answer in vLLM's form."""
        body, prompt = query.body, query.body["prompt"]
        if refused := {"ignore_eos", "return_token_ids"} & set(body):
            raise ConfigError(f"{query.what}: the gateway does not pass on {', '.join(sorted(refused))}", "ask vLLM")
        if "prompt_logprobs" in body:
            return {"choices": [{"prompt_logprobs": await self._echoed(session, prompt, query.what)}]}
        if "logprob_token_ids" in body:
            return await self._chosen(session, query)
        passed = {name: body[name] for name in PASSED if body.get(name)} | {"temperature": 0}
        if messages := self.conversations.get(tuple(prompt)):
            answer = await self._send(session, CHAT, passed | {"messages": messages}, query.what)
            choice = answer["choices"][0]
            return answer | {"choices": [choice | {"text": _as_written(choice["message"])}]}
        return await self._send(session, COMPLETIONS, passed | {"prompt": self._text(prompt, query.what)}, query.what)

    async def _echoed(
        self, session: aiohttp.ClientSession, prompt: list[int], what: str
    ) -> list[dict[str, dict[str, Any]] | None]:
        """Return the log-probability of each prompt token, and whether it is the likeliest, as `prompt_logprobs`."""
        body = {"prompt": self._text(prompt, what), "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        found = _logprobs(await self._send(session, COMPLETIONS, body, what), what)
        values, tops = found["token_logprobs"][:-1], found["top_logprobs"][:-1]
        if len(values) != len(prompt):
            raise DataContractError(
                f"{what}: the endpoint sees {len(values)} tokens in a text of {len(prompt)}: it has another tokenizer",
                "tunegate status: is the version that is live the one its name says?",
            )
        pairs = zip(prompt[1:], values[1:], tops[1:], strict=True)
        return [None, *(_position(token, value, top) for token, value, top in pairs)]

    async def _chosen(self, session: aiohttp.ClientSession, query: Query) -> dict[str, Any]:
        """Return the log-probability of each chosen token: from the likeliest, else each asked for by itself.

        A token that is neither among the likeliest nor can be written behind the prompt gets the least of the
        likeliest: it has no more than that, and is never the best of a choice.
        """
        prompt, tokens, what = query.body["prompt"], query.body["logprob_token_ids"], query.what
        body = {"prompt": self._text(prompt, what), "max_tokens": 1, "temperature": 0, "logprobs": TOP}
        body |= {"logit_bias": bias} if (bias := query.body.get("logit_bias")) else {}
        found = _logprobs(await self._send(session, COMPLETIONS, body, what), what)
        likely, first = found["top_logprobs"][0] or {}, found["tokens"][0]
        names = {token: self.tokenizer.decode([token]) for token in tokens}
        # A piece of a character has no name of its own.
        values = {token: likely[name] for token, name in names.items() if name in likely and PIECE not in name}
        for token in tokens:
            if token not in values and self._as_text([*prompt, token]) is not None:
                last = (await self._echoed(session, [*prompt, token], what))[-1] or {}
                values[token] = last[str(token)]["logprob"]
        if not values:
            raise DataContractError(f"{what}: none of its tokens can be scored through the gateway", HINT)
        top = next((f"token_id:{token}" for token, name in names.items() if name == first), "")
        shown = {f"token_id:{token}": values.get(token, min(likely.values())) for token in tokens}
        return {"choices": [{"logprobs": {"tokens": [top], "top_logprobs": [shown]}}]}

    def _text(self, prompt: list[int], what: str) -> str:
        """Return the text that the server will make these very token ids of.

        Raises:
            DataContractError: there is none; the item can be asked of vLLM itself only.
        """
        text = self._as_text(prompt)
        if text is None:
            raise DataContractError(
                f"{what}: its token ids are no text that has them as its own, and the gateway takes text only", HINT
            )
        return text

    def _as_text(self, prompt: list[int]) -> str | None:
        """Return the text that becomes these token ids, or None where there is none."""
        added = self.tokenizer.encode("")  # what the server puts in front of any text
        for ids in (prompt, prompt[len(added) :] if prompt[: len(added)] == added else prompt):
            text: str = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            if self.tokenizer.encode(text) == prompt:
                return text
        return None

    async def _send(self, session: aiohttp.ClientSession, path: str, body: dict[str, Any], what: str) -> dict[str, Any]:
        """Return one answer of the gateway; waits where it asks to wait, tries again where it is busy."""
        waited, pauses = 0.0, iter(RETRY_AFTER_S)
        while True:
            status, text, headers = await self._once(session, path, body)
            if status == 200:
                self._require_version(headers.get(LINEAGE), what)
                return _json(text, what)
            if status != 429 and status not in TRANSIENT_STATUS and status != 0:
                raise _refused(status, text, what)
            pause = _retry_after(headers) if status == 429 else next(pauses, math.inf)
            waited += pause
            if waited > MOST_WAIT_S:
                raise TransientError(
                    f"the gateway at {self.url} is lost ({what}): HTTP {status}: {text[:300]}", KEPT_HINT
                )
            await asyncio.sleep(pause)

    async def _once(
        self, session: aiohttp.ClientSession, path: str, body: dict[str, Any]
    ) -> tuple[int, str, dict[str, str]]:
        """Return status, text and headers of one try; status 0 where the connection was lost."""
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            async with session.post(self.url + path, json={"model": self.model, **body}, headers=headers) as answer:
                return (
                    answer.status,
                    await answer.text(),
                    {name.lower(): value for name, value in answer.headers.items()},
                )
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
            return 0, f"{type(error).__name__}: {error}", {}

    def _require_version(self, lineage_id: str | None, what: str) -> None:
        """Stop when another version answers: half of one and half of another is evidence about neither."""
        if lineage_id != self.model:
            raise TransientError(
                f"{what}: the live version changed: {lineage_id or 'none'} answered instead of {self.model}",
                "tunegate eval live evaluates the version that is live now",
            )


def _as_written(message: dict[str, Any]) -> str:
    """Return an answer as the model wrote it: the server gives its thought in a field of its own."""
    thought, content = message.get("reasoning"), message["content"] or ""
    if not thought:
        return content
    return f"{OPEN}\n{thought}\n{CLOSE}\n\n{content}" if content else f"{OPEN}\n{thought}"


def _position(token: int, value: Any, top: dict[str, float] | None) -> dict[str, dict[str, Any]]:
    """Return one entry of `prompt_logprobs`; a likeliest token other than the actual one has no id here: -1."""
    best = max((top or {}).values(), default=value)
    entry: dict[str, dict[str, Any]] = {str(token): {"logprob": value, "rank": 1}}
    if isinstance(value, float) and isinstance(best, float) and best > value:
        entry = {str(token): {"logprob": value, "rank": 2}, "-1": {"logprob": best, "rank": 1}}
    return entry


def _logprobs(answer: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the log-probabilities of a completion.

    Raises:
        DataContractError: the endpoint gave none.
    """
    found = answer["choices"][0].get("logprobs")
    if not found or not found.get("tokens") or not found.get("top_logprobs"):
        raise DataContractError(
            f"{what}: the endpoint gave no log-probabilities", "read vLLM's log in .tunegate/serving"
        )
    value: dict[str, Any] = found
    return value


def _json(text: str, what: str) -> dict[str, Any]:
    """Return a completion.

    Raises:
        DataContractError: it is none.
    """
    try:
        value: dict[str, Any] = json.loads(text)
        if not isinstance(value["choices"][0], dict):
            raise TypeError("a choice is no object")
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise DataContractError(
            f"{what}: the endpoint's answer is no completion: {error}", "tunegate status"
        ) from error
    return value


def _retry_after(headers: dict[str, str]) -> float:
    """Return the seconds the gateway asks to wait."""
    value = headers.get("retry-after", "")
    return float(value) if value.isdigit() else RETRY_AFTER_S[-1]


def _refused(status: int, text: str, what: str) -> Exception:
    """Return the error for an answer that will be the same next time."""
    if status in (401, 403):
        return ConfigError(
            f"the gateway refuses the key: {text[:300]}", "set TUNEGATE_API_KEY, or unset it: the command makes its own"
        )
    if status == 404:
        return TransientError(f"{what}: the live version changed, or is none: {text[:300]}", "tunegate status")
    return ConfigError(f"{what}: the gateway refuses the request (HTTP {status}): {text[:300]}",
                       "an item too long for the gateway's caps is raised in serve.gateway")  # fmt: skip
