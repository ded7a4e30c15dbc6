"""The language model lm-eval talks to: token ids out, log-probabilities back, from a vLLM server over HTTP.

Items whose continuations are single tokens (multiple choice by letter) cost one request each: the next token's raw
log-probabilities for exactly those tokens. Other continuations are scored from prompt log-probabilities.
Both are vLLM's `raw_logprobs` (its default): log-softmax of the logits before penalties, temperature and masks.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from tasks.chat.conversation import OPEN
from tasks.chat.template import thought_opened
from tasks.core.errors import ConfigError, DataContractError
from tasks.engine.client import Query, ServedClient
from tasks.engine.queries import Scored, choice_query, continuation_query, generation_query
from tasks.engine.spans import answer_span, split_ids

#: Tokens a free generation may take where the task says nothing.
GENERATED_TOKENS = 256


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder; never anything from a hub, never custom code."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


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
        self._before_letters: dict[str, list[int]] = {}
        #: Prompts by what they render; an answer already begun is text to go on with.
        self._rendered: dict[str, list[dict[str, str]]] = {}

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
        self._rendered[text] = chat_history if add_generation_prompt else []
        return text

    def encode(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the token ids of both, split where the continuation begins.

        After a rendered conversation the continuation is an answer, and begins where training puts answers: behind an
        empty thought where the template has one. Plain text gets the special tokens that the tokenizer adds.
        """
        if continuation and (messages := self._rendered.get(context)):
            return self._answer(context, messages, continuation)
        return split_ids(self.tokenizer, context, continuation, special=context not in self._rendered)

    def _answer(self, context: str, messages: list[dict[str, str]], answer: str) -> tuple[list[int], list[int]]:
        """Return the ids before an answer and its own; those before the letters of one question are made once."""
        one_letter = len(answer) == 1 and answer.isalnum()
        alone: list[int] = self.tokenizer.encode(answer, add_special_tokens=False)
        if one_letter and context in self._before_letters:
            return self._before_letters[context], alone
        before, after = answer_span(self.tokenizer, messages, answer)
        if one_letter and after == alone:
            self._before_letters[context] = before
        return before, after

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
                afters = [encoded[text][1] for text in group]
                queries.append(_query(before, afters, context, token_route=self.client.token_route))
                owners.append([(context, text) for text in group])
        for group_pairs, values in zip(owners, self.client.ask(queries, self.what), strict=True):
            self.scored |= {pair: Scored(**value) for pair, value in zip(group_pairs, values, strict=True)}
        return [(self.scored[pair].total, self.scored[pair].greedy) for pair in pairs]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refuse: no suite of Tunegate scores whole texts without a context."""
        raise ConfigError(f"{self.what}: rolling log-likelihood is not supported over HTTP", "use a loglikelihood task")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return the greedy continuation of each context up to a stop string, as the turn it makes.

        A thought that the context opened is part of the turn: the reader of answers must see whether it was closed.
        """
        contexts = [str(request.args[0]) for request in requests]
        queries = [
            self._generation(context, dict(request.args[1]))
            for context, request in zip(contexts, requests, strict=True)
        ]
        answers = self.client.ask(queries, self.what)
        return [
            f"{OPEN}\n{answer}" if context in self._rendered and thought_opened(context) else answer
            for context, answer in zip(contexts, answers, strict=True)
        ]

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
        stops = [stop] if isinstance(stop, str) else stop
        tokens = int(arguments.get("max_gen_toks", GENERATED_TOKENS))
        return generation_query(self.encode(context, "")[0], tokens, stops, f"generation after {context[-40:]!r}")


def _by_context(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the different continuations of each context, in order."""
    found: dict[str, dict[str, None]] = {}
    for context, continuation in pairs:
        found.setdefault(context, {})[continuation] = None
    return {context: list(continuations) for context, continuations in found.items()}


def _requests_of(encoded: dict[str, tuple[list[int], list[int]]]) -> list[list[str]]:
    """Return which continuations go into one request: all where each is a token of its own, else one each."""
    singles = {after[0] for _, after in encoded.values() if len(after) == 1}
    contexts = {tuple(before) for before, _ in encoded.values()}
    if len(encoded) > 1 and len(singles) == len(encoded) and len(contexts) == 1:
        return [list(encoded)]
    return [[text] for text in encoded]


def _query(before: list[int], afters: list[list[int]], context: str, *, token_route: bool) -> Query:
    """Return the request for one group of continuations."""
    what = f"item ...{context[-60:]!r}"
    if len(afters) > 1:
        return choice_query(before, [after[0] for after in afters], what)
    return continuation_query(before, afters[0], what, token_route=token_route)
