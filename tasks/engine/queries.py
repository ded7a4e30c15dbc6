"""What one asks a vLLM server in token ids, and how its answer is read: scores of given tokens, greedy continuations.

Both kinds of scores are vLLM's `raw_logprobs` (its default): log-softmax of the logits before penalties, temperature
and masks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.core.errors import DataContractError
from tasks.engine.client import Query, finite

COMPLETIONS = "/v1/completions"
#: vLLM's route from tokens to tokens, where it was started with the flag.
TOKENS, TOKENS_FLAG = "/inference/v1/generate", "--enable-scale-out"
#: Most likely tokens kept at each position of a scored text: enough to compare two hops' distributions.
TOP_TOKENS = 10
#: Digits kept of their log-probabilities: a server's batching moves those behind.
TOP_DIGITS = 4
#: A written answer ends where its last tokens, 4 to 128 of them, stand there eight times in a row: greedy decoding does
#: not leave such a loop, and a thinking model may have 1,536 tokens to go. Rules of wide tables are shorter.
LOOP = {"min_pattern_size": 4, "max_pattern_size": 128, "min_count": 8}
#: vLLM's `finish_reason` of an answer that was ended so.
LOOPED = "repetition"


@dataclass(frozen=True)
class Scored:
    """A continuation given its context.

    Args:
        token_ids: of the continuation, length n.
        logprobs: natural logarithm of each token's probability given all before it, length n.
        top_ids: the model's most likely token at each position, length n.
        top: its most likely tokens at each position as [id, log-probability], likeliest first; empty where not asked.
    """

    token_ids: list[int]
    logprobs: list[float]
    top_ids: list[int]
    top: list[list[list[float]]] = field(default_factory=list)

    @property
    def total(self) -> float:
        """Log-probability of the whole continuation."""
        return sum(self.logprobs)

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding would produce it."""
        return self.token_ids == self.top_ids


def greedy_query(prompt: Sequence[int], tokens: int, what: str) -> Query:
    """Return a request for the token ids of a greedy continuation (not stopped by end of turn)."""
    body = {
        "prompt": list(prompt),
        "temperature": 0,
        "max_tokens": tokens,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    return Query(COMPLETIONS, body, lambda answer: list(_choice(answer, what)["token_ids"]), what)


def answer_query(prompt: Sequence[int], tokens: int, what: str) -> Query:
    """Return a request for a greedy answer of at most `tokens` tokens as {"text", "finish_reason"}; a loop ends it."""
    body = {"prompt": list(prompt), "temperature": 0, "max_tokens": tokens, "repetition_detection": LOOP}

    def read(answer: dict[str, Any]) -> dict[str, Any]:
        choice = _choice(answer, what)
        if not isinstance(choice.get("text"), str):
            raise DataContractError(f"{what}: the server's answer has no text", "read vLLM's log")
        return {"text": choice["text"], "finish_reason": choice.get("finish_reason")}

    return Query(COMPLETIONS, body, read, what)


def generation_query(prompt: Sequence[int], tokens: int, stop: list[str], what: str) -> Query:
    """Return a request for the text of a greedy answer up to a stop string, a loop or `tokens` tokens."""
    body = {"prompt": list(prompt), "temperature": 0, "max_tokens": tokens, "stop": stop, "repetition_detection": LOOP}
    return Query(COMPLETIONS, body, lambda answer: _choice(answer, what)["text"], what)


def continuation_query(before: Sequence[int], after: Sequence[int], what: str, *, token_route: bool = False) -> Query:
    """Return a request that scores `after` given `before` from prompt log-probabilities.

    Args:
        before: token ids of the context.
        after: token ids that are scored.
        what: names the item in error messages.
        token_route: whether the server has the route from tokens to tokens. The same numbers come from it without the
            text of ten tokens at every position, which took a third of the time on two cores.
    """
    # The most likely tokens beside the actual one, so that hops can be compared token by token.
    asked = {"max_tokens": 1, "temperature": 0, "prompt_logprobs": TOP_TOKENS}
    ids = [*before, *after]
    path, body = COMPLETIONS, {"prompt": ids, **asked}
    if token_route:
        path, body = TOKENS, {"token_ids": ids, "sampling_params": asked | {"detokenize": False}}
    return Query(path, body, lambda answer: [_read_continuation(answer, list(after), what)], what)


def choice_query(before: Sequence[int], choices: Sequence[int], what: str) -> Query:
    """Return a request that scores single-token continuations of one context at once."""
    body = {
        "prompt": list(before),
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": 1,
        "logprob_token_ids": list(choices),
        "return_tokens_as_token_ids": True,
    }
    return Query(COMPLETIONS, body, lambda answer: _read_choices(answer, list(choices), what), what)


def _choice(answer: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the single choice of a completion."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise DataContractError(
            f"{what}: the server's answer has no choice: {json.dumps(answer)[:200]}", "read vLLM's log"
        )
    found: dict[str, Any] = choices[0]
    return found


def _read_choices(answer: dict[str, Any], choices: list[int], what: str) -> list[dict[str, Any]]:
    """Return the log-probability of each choice token and the most likely token of all."""
    logprobs = _choice(answer, what).get("logprobs") or {}
    tops, tokens = logprobs.get("top_logprobs") or [None], logprobs.get("tokens") or [None]
    values = {_token_id(name): value for name, value in (tops[0] or {}).items()}
    top = _token_id(tokens[0])
    return [
        {"token_ids": [token], "logprobs": [finite(values.get(token), what)], "top_ids": [top]} for token in choices
    ]


def _token_id(name: Any) -> int:
    """Return the id in `token_id:123`, -1 where there is none."""
    digits = str(name).removeprefix("token_id:")
    return int(digits) if digits.isdigit() else -1


def _read_continuation(answer: dict[str, Any], after: list[int], what: str) -> dict[str, Any]:
    """Return log-probability and most likely token at each position of the continuation."""
    choice = _choice(answer, what)
    positions = (choice.get("prompt_logprobs") or answer.get("prompt_logprobs") or [])[-len(after) :]
    if len(positions) != len(after):
        raise DataContractError(
            f"{what}: the server returned no prompt log-probabilities",
            "serve with a vLLM that supports prompt_logprobs",
        )
    entries = [position or {} for position in positions]
    logprobs = [
        finite(entry.get(str(token), {}).get("logprob"), what) for token, entry in zip(after, entries, strict=True)
    ]
    top = [_top_tokens(entry, what) for entry in entries]
    return {"token_ids": after, "logprobs": logprobs, "top_ids": [int(ranked[0][0]) for ranked in top], "top": top}


def _top_tokens(entry: dict[str, Any], what: str) -> list[list[float]]:
    """Return the most likely tokens at one position as [id, log-probability], likeliest first."""
    ranked = sorted((value["rank"], int(token), value["logprob"]) for token, value in entry.items() if "rank" in value)
    if not ranked or ranked[0][0] != 1:
        raise DataContractError(f"{what}: the server ranks no token first", "serve with vLLM's default logprobs mode")
    return [[token, round(value, TOP_DIGITS)] for rank, token, value in ranked if rank <= TOP_TOKENS]
