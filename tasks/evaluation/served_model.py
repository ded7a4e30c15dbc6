"""The language model lm-eval talks to: token ids out, log-probabilities back, from a vLLM server over HTTP.

Items whose continuations are single tokens (multiple choice by letter) cost one request each: the next token's raw
log-probabilities for exactly those tokens. Other continuations are scored from prompt log-probabilities.
Both are vLLM's `raw_logprobs` (its default): log-softmax of the logits before penalties, temperature and masks.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from tasks.core.errors import ConfigError, DataContractError
from tasks.evaluation.client import Query, ServedClient, finite

COMPLETIONS = "/v1/completions"
#: Tokens a free generation may take where the task says nothing.
GENERATED_TOKENS = 256
#: Most likely tokens kept at each position of a scored text: enough to compare two hops' distributions.
TOP_TOKENS = 10
#: Digits kept of their log-probabilities: a server's batching moves those behind.
TOP_DIGITS = 4


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


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder; never anything from a hub, never custom code."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def split_ids(tokenizer: Any, context: str, continuation: str, *, special: bool) -> tuple[list[int], list[int]]:
    """Return the token ids of a context and of what follows it, split exactly where the server's prompt ends.

    Args:
        tokenizer: of the served model.
        context: the prompt as text.
        continuation: what follows.
        special: add the tokens that the tokenizer puts around plain text.
    """
    before: list[int] = tokenizer.encode(context, add_special_tokens=special)
    both: list[int] = tokenizer.encode(context + continuation, add_special_tokens=special)
    if both[: len(before)] == before:
        return before, both[len(before) :]
    # Tokens merge across the boundary: a server that got the context cannot produce that; score what it can.
    return before, tokenizer.encode(continuation, add_special_tokens=False)


class ServedModel(LM):  # type: ignore[misc]
    """lm-eval's view of a served model.

    Args:
        client: the way to the server.
        tokenizer: of the model's own folder; renders the chat template and makes the token ids.
        what: name in the progress line.
    """

    def __init__(self, client: ServedClient, tokenizer: Any, what: str) -> None:
        super().__init__()
        self.client, self.tokenizer, self.what = client, tokenizer, what
        self.scored: dict[tuple[str, str], Scored] = {}
        self._rendered: set[str] = set()

    @property
    def tokenizer_name(self) -> str:
        """Name for lm-eval's own request cache (not used)."""
        return str(self.tokenizer.name_or_path)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render a conversation with the model's chat template."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        self._rendered.add(text)
        return text

    def encode(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the token ids of both, split exactly where the server's prompt ends.

        A chat template writes its own special tokens; plain text gets those the tokenizer adds.
        """
        return split_ids(self.tokenizer, context, continuation, special=context not in self._rendered)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Return (log-probability, is greedy) of each continuation given its context.

        Raises:
            DataContractError: an empty context or continuation, or an answer without usable log-probabilities.
        """
        pairs = [(str(request.args[0]), str(request.args[1])) for request in requests]
        queries: list[Query] = []
        owners: list[list[tuple[str, str]]] = []
        for context, continuations in _by_context(pairs).items():
            encoded = {text: self._encode_checked(context, text) for text in continuations}
            for group in _requests_of(encoded):
                before = encoded[group[0]][0]
                queries.append(_query(before, [encoded[text][1] for text in group], context))
                owners.append([(context, text) for text in group])
        for group_pairs, values in zip(owners, self.client.ask(queries, self.what), strict=True):
            self.scored |= {pair: Scored(**value) for pair, value in zip(group_pairs, values, strict=True)}
        return [(self.scored[pair].total, self.scored[pair].greedy) for pair in pairs]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refuse: no suite of Tunegate scores whole texts without a context."""
        raise ConfigError(f"{self.what}: rolling log-likelihood is not supported over HTTP", "use a loglikelihood task")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return the greedy continuation of each context up to a stop string."""
        queries = [self._generation(str(request.args[0]), dict(request.args[1])) for request in requests]
        return list(self.client.ask(queries, self.what))

    def _encode_checked(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the token ids of both; neither may be empty."""
        before, after = self.encode(context, continuation)
        if not before or not after:
            raise DataContractError(
                f"{self.what}: empty context or continuation: {context[-60:]!r} -> {continuation!r}", "mend the item"
            )
        return before, after

    def _generation(self, context: str, arguments: dict[str, Any]) -> Query:
        """Return the request of one free generation."""
        stop = arguments.get("until") or []
        body = {
            "prompt": self.encode(context, "")[0],
            "temperature": 0,
            "max_tokens": int(arguments.get("max_gen_toks", GENERATED_TOKENS)),
            "stop": [stop] if isinstance(stop, str) else stop,
        }
        what = f"generation after {context[-40:]!r}"
        return Query(COMPLETIONS, body, lambda answer: _choice(answer, what)["text"], what)


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
    """Return a request for a greedy answer of at most `tokens` tokens as {"text", "finish_reason"}."""
    body = {"prompt": list(prompt), "temperature": 0, "max_tokens": tokens}

    def read(answer: dict[str, Any]) -> dict[str, Any]:
        choice = _choice(answer, what)
        if not isinstance(choice.get("text"), str):
            raise DataContractError(f"{what}: the server's answer has no text", "read vLLM's log")
        return {"text": choice["text"], "finish_reason": choice.get("finish_reason")}

    return Query(COMPLETIONS, body, read, what)


def continuation_query(before: Sequence[int], after: Sequence[int], what: str) -> Query:
    """Return a request that scores `after` given `before` from prompt log-probabilities."""
    # The most likely tokens beside the actual one, so that hops can be compared token by token.
    body = {"prompt": [*before, *after], "max_tokens": 1, "temperature": 0, "prompt_logprobs": TOP_TOKENS}
    return Query(COMPLETIONS, body, lambda answer: [_read_continuation(answer, list(after), what)], what)


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


def _by_context(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the different continuations of each context, in order."""
    found: dict[str, dict[str, None]] = {}
    for context, continuation in pairs:
        found.setdefault(context, {})[continuation] = None
    return {context: list(continuations) for context, continuations in found.items()}


def _requests_of(encoded: dict[str, tuple[list[int], list[int]]]) -> list[list[str]]:
    """Return which continuations go into one request: all where each is a token of its own, else one each."""
    singles = {after[0] for _, after in encoded.values() if len(after) == 1}
    if len(encoded) > 1 and len(singles) == len(encoded):
        return [list(encoded)]
    return [[text] for text in encoded]


def _query(before: list[int], afters: list[list[int]], context: str) -> Query:
    """Return the request for one group of continuations."""
    what = f"item ...{context[-60:]!r}"
    if len(afters) > 1:
        return choice_query(before, [after[0] for after in afters], what)
    return continuation_query(before, afters[0], what)


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
