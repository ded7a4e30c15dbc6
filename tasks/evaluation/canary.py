"""Items that a working server and an undamaged model cannot fail: scored before anything is believed.

A server without prompt log-probabilities, with processed log-probabilities, or with a scrambled model gives plausible
numbers near chance. The canary turns that into a fault.
"""

import math
from typing import Any

from tasks.evaluation.client import ServedClient
from tasks.evaluation.served_model import choice_query, continuation_query

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


def run_canary(client: ServedClient, tokenizer: Any) -> dict[str, Any]:
    """Score the canary items.

    Args:
        client: the server.
        tokenizer: of the served model.

    Returns:
        {"items", "passed", "failures": [words, ...]}.

    Raises:
        DataContractError: the server returns no, or not finite, log-probabilities.
    """
    failures = [*_repeats(client, tokenizer), *_same_scale(client, tokenizer)]
    return {"items": 2 * len(REPEATS), "passed": not failures, "failures": failures}


def _repeats(client: ServedClient, tokenizer: Any) -> list[str]:
    """Return the items where a shuffled text scores at least as high as the repeated one."""
    queries = []
    for context, *texts in REPEATS:
        before = tokenizer.encode(context, add_special_tokens=False)
        queries += [
            continuation_query(before, tokenizer.encode(text, add_special_tokens=False), "canary") for text in texts
        ]
    totals = [math.fsum(value[0]["logprobs"]) for value in client.ask(queries, "canary")]
    return [
        f"{shuffled!r} scored {wrong:.2f}, the repetition {repeated!r} {right:.2f}"
        for (_, repeated, shuffled), right, wrong in zip(REPEATS, totals[::2], totals[1::2], strict=True)
        if not right > wrong
    ]


def _same_scale(client: ServedClient, tokenizer: Any) -> list[str]:
    """Return the items where a token's log-probability depends on the way it is asked for."""
    pairs = []
    for context, text, _ in REPEATS:
        before, token = (
            tokenizer.encode(context, add_special_tokens=False),
            tokenizer.encode(text, add_special_tokens=False)[0],
        )
        pairs.append((choice_query(before, [token], "canary"), continuation_query(before, [token], "canary")))
    values = client.ask([query for pair in pairs for query in pair], "canary")
    failures = []
    for number in range(len(pairs)):
        as_choice, as_prompt = (values[2 * number + side][0]["logprobs"][0] for side in (0, 1))
        if abs(as_choice - as_prompt) > SAME_LOGPROB:
            failures.append(f"one token scored {as_choice:.3f} as a choice and {as_prompt:.3f} in a prompt")
    return failures
