"""Items that a working server and an undamaged model cannot fail: scored before anything is believed.

A server without prompt log-probabilities, with processed ones, with answers cut short, or with a scrambled or another
model gives plausible numbers near chance. The canary turns that into a fault. Its answers are never taken from those
kept of an earlier start: it is about the server that runs now.
"""

import copy
import math
from typing import Any

from tasks.engine.client import AnswerCache, Query, ServedClient
from tasks.engine.queries import COMPLETIONS, choice_query, continuation_query, greedy_query

#: (context, continuation that repeats it, the same words shuffled). Any language model prefers the repetition.
REPEATS = (
    ("隐蔽，撤离，碘片，监测。隐蔽，撤离，碘片，监测。隐蔽，撤离，", "碘片，监测。", "测碘，片监。"),
    ("一二三四五六七八。一二三四五六七八。一二三四", "五六七八。", "八六五七。"),
    ("The siren sounds, then the radio speaks. The siren sounds, then", " the radio speaks.", " speaks the radio."),
    ("one two three four five. one two three four five. one two", " three four five.", " five three four."),
    ("2, 4, 6, 8, 10. 2, 4, 6, 8, 10. 2, 4,", " 6, 8, 10.", " 10, 6, 8."),
)
#: A token scored as a choice and as a prompt token is one number; bf16 kernels for the two shapes round differently.
SAME_LOGPROB = 0.15
#: Bits a token of a text said twice already may take at most; chance over 49,152 tokens is 15.6. Measured on the laptop
#: model over all five: base 0.31, with the adapter 0.46, quantized 0.54.
MOST_BITS = 4.0
#: More than one, by no more than rounding: the probabilities of some of the tokens.
MOST_PROBABILITY = 1.01
#: Added to the logit of one token where processed log-probabilities are looked for.
BIAS = 8.0
WHAT = "canary"


def run_canary(client: ServedClient, tokenizer: Any, *, through_gateway: bool = False) -> dict[str, Any]:
    """Score the canary items.

    Args:
        client: the server.
        tokenizer: of the served model.
        through_gateway: leave out what a gateway does not pass on: token ids, answers past the end of turn.

    Returns:
        {"items", "passed", "failures": [words, ...]}.

    Raises:
        DataContractError: the server returns no, or not finite, log-probabilities.
    """
    fresh = copy.copy(client)
    fresh.cache = AnswerCache(None)
    items = [_encoded(tokenizer, *repeat) for repeat in REPEATS]
    checks = [_repeats, _raw, _named] + ([] if through_gateway else [_same_scale, _whole_answers])
    found = [check(fresh, items) for check in checks]
    return {
        "items": sum(count for count, _ in found),
        "passed": not any(failures for _, failures in found),
        "failures": [words for _, failures in found for words in failures],
    }


Item = tuple[list[int], list[int], list[int], str]
Outcome = tuple[int, list[str]]


def _encoded(tokenizer: Any, context: str, repeated: str, shuffled: str) -> Item:
    """Return the token ids of an item's three parts, and the repetition as text."""
    before, right, wrong = (tokenizer.encode(text, add_special_tokens=False) for text in (context, repeated, shuffled))
    return before, right, wrong, repeated


def _scored(client: ServedClient, before: list[int], after: list[int]) -> Query:
    """Return a request that scores tokens by the route that everything else is scored by."""
    return continuation_query(before, after, WHAT, token_route=client.token_route)


def _repeats(client: ServedClient, items: list[Item]) -> Outcome:
    """Find items where a shuffled text scores at least as high as the repeated one, or all are near chance."""
    queries = [_scored(client, item[0], after) for item in items for after in item[1:3]]
    totals = [math.fsum(value[0]["logprobs"]) for value in client.ask(queries, WHAT)]
    failures = [
        f"the shuffled form of {item[3]!r} scored {wrong:.2f}, the repetition {right:.2f}"
        for item, right, wrong in zip(items, totals[::2], totals[1::2], strict=True)
        if not right > wrong
    ]
    bits = -math.fsum(totals[::2]) / math.log(2) / sum(len(item[1]) for item in items)
    if bits > MOST_BITS:
        failures.append(f"texts said twice already take {bits:.1f} bits a token, at most {MOST_BITS:g} are right")
    return len(items) + 1, failures


def _same_scale(client: ServedClient, items: list[Item]) -> Outcome:
    """Find items where a token's log-probability depends on the way it is asked for."""
    pairs = [(choice_query(item[0], item[1][:1], WHAT), _scored(client, item[0], item[1][:1])) for item in items]
    values = [value[0]["logprobs"][0] for value in client.ask([query for pair in pairs for query in pair], WHAT)]
    return len(items), [
        f"one token scored {as_choice:.3f} as a choice and {as_prompt:.3f} in a prompt"
        for as_choice, as_prompt in zip(values[::2], values[1::2], strict=True)
        if abs(as_choice - as_prompt) > SAME_LOGPROB
    ]


def _raw(client: ServedClient, items: list[Item]) -> Outcome:
    """Find log-probabilities that were changed after the model made them, or that are none (unscaled logits)."""
    before, right, wrong, _ = items[-1]
    tokens = list(dict.fromkeys([right[0], *wrong]))
    plain = choice_query(before, tokens, WHAT)
    biased = Query(plain.path, plain.body | {"logit_bias": {str(tokens[-1]): BIAS}}, plain.read, WHAT)
    raw, after = ([row["logprobs"][0] for row in value] for value in client.ask([plain, biased], WHAT))
    failures = []
    if any(abs(one - other) > SAME_LOGPROB for one, other in zip(raw, after, strict=True)):
        failures.append("log-probabilities change with logit_bias: they are processed, not the model's own")
    if (mass := math.fsum(map(math.exp, raw))) > MOST_PROBABILITY:
        failures.append(f"the probabilities of {len(tokens)} tokens add up to {mass:.2f}")
    return 2, failures


def _whole_answers(client: ServedClient, items: list[Item]) -> Outcome:
    """Find greedy answers that are cut short, or begin with another token than the scored one that is most likely."""
    answers = client.ask([greedy_query(item[0], len(item[1]), WHAT) for item in items], WHAT)
    scored = client.ask([_scored(client, item[0], item[1]) for item in items], WHAT)
    failures = []
    for item, answer, value in zip(items, answers, scored, strict=True):
        if len(answer) != len(item[1]):
            failures.append(f"the answer before {item[3]!r} has {len(answer)} tokens, {len(item[1])} were asked for")
        elif _sure(value[0]) and answer[:1] != item[1][:1]:
            failures.append(f"the answer begins with token {answer[0]}, {item[3]!r} with {item[1][0]} scores higher")
    return len(items), failures


def _sure(value: dict[str, Any]) -> bool:
    """Return whether the first token of a scored text is more likely than all others together."""
    return float(value["logprobs"][0]) > math.log(0.6)


def _named(client: ServedClient, items: list[Item]) -> Outcome:
    """Find a server that answers under another name than the one asked."""
    body = {"prompt": items[0][0], "max_tokens": 1, "temperature": 0}
    (name,) = client.ask([Query(COMPLETIONS, body, lambda answer: str(answer.get("model")), WHAT)], WHAT)
    return 1, [] if name == client.model else [f"{client.model!r} was asked, {name!r} answered"]
