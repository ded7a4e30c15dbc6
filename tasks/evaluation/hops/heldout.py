"""Held-out text, scored token by token through the served path: what two hops are compared on beyond right and wrong.

The text is given (teacher forcing): at each position of an answer the model says what it would have written next. The
answers are the pack's references and the last answers of validation rows; neither was trained on.
"""

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.chat.conversation import split_thought
from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl
from tasks.engine.client import ServedClient
from tasks.engine.queries import Scored, continuation_query
from tasks.engine.spans import answer_span

PACK, VALIDATION = "domain_short", "validation"


@dataclass(frozen=True)
class HeldoutRow:
    """One answer and the conversation before it.

    Args:
        row_id: id of the pack's item or of the validation row.
        source: `domain_short` or `validation`.
        messages: up to the user's last turn.
        tools: functions on offer, as the chat template takes them; None for most.
        answer: the assistant's turn; what is scored is its text behind a thought.
    """

    row_id: str
    source: str
    messages: list[dict[str, str]]
    tools: list[Any] | None
    answer: str


def heldout_rows(short_items: list[dict[str, Any]], validation: Path, rows: int) -> list[HeldoutRow]:
    """Return the pack's reference answers and the last answers of the first `rows` validation rows.

    Args:
        short_items: the pack's items with a `reference`.
        validation: validation.jsonl of the prepared data.
        rows: how many of its rows.

    Raises:
        DataContractError: there is no held-out text at all.
    """
    found = [
        HeldoutRow(item["id"], PACK, [{"role": "user", "content": item["question"]}], None, item["reference"])
        for item in short_items
    ]
    for row in itertools.islice(read_jsonl(validation), rows):
        *before, answer = row["messages"]
        if not split_thought(answer["content"])[1].strip():
            # A thought without an answer behind it: nothing to score.
            continue
        tools = json.loads(row["tools"]) if row.get("tools") else None
        found.append(HeldoutRow(row["row_id"], VALIDATION, before, tools, answer["content"]))
    if not found:
        raise DataContractError(f"{validation} and the domain pack hold no answer to score", "tunegate stage prepare")
    return found


def score_heldout(rows: list[HeldoutRow], client: ServedClient, tokenizer: Any) -> list[dict[str, Any]]:
    """Return one prediction a row, as predictions.jsonl keeps it.

    Args:
        rows: what to score.
        client: the server.
        tokenizer: of the served model.

    Returns:
        {"row_id", "source", "bytes": of the scored text, "reference": token ids (n), "logprobs" (n), "top1": ids (n),
        "top": (n, up to 10, 2)} each.
    """
    queries = []
    for row in rows:
        before, after = answer_span(tokenizer, row.messages, row.answer, row.tools)
        what = f"held-out row {row.row_id}"
        queries.append(continuation_query(before, after, what, token_route=client.token_route))
    answers = [Scored(**value[0]) for value in client.ask(queries, "held-out text")]
    texts = [tokenizer.decode(scored.token_ids, clean_up_tokenization_spaces=False) for scored in answers]
    return [_prediction(row, scored, text) for row, scored, text in zip(rows, answers, texts, strict=True)]


def summary(rows: list[HeldoutRow], predictions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return {"rows", "tokens", "bits_per_byte", "perplexity" (a token)} over the validation rows.

    The pack's references are left out: not every hop is asked them, and they are a suite of their own.
    """
    scored = [pair for pair in zip(rows, predictions, strict=True) if pair[0].source == VALIDATION]
    predictions = [prediction for _, prediction in scored]
    logprob = math.fsum(value for prediction in predictions for value in prediction["logprobs"])
    tokens = sum(len(prediction["reference"]) for prediction in predictions)
    size = sum(prediction["bytes"] for prediction in predictions)
    return {
        "rows": len(predictions),
        "tokens": tokens,
        "bits_per_byte": round(-logprob / math.log(2) / size, 6),
        "perplexity": round(math.exp(-logprob / tokens), 4),
    }


def _prediction(row: HeldoutRow, scored: Scored, text: str) -> dict[str, Any]:
    """Return a row of predictions.jsonl; `text` is what was scored."""
    return {
        "row_id": row.row_id,
        "source": row.source,
        "bytes": len(text.encode()),
        "reference": scored.token_ids,
        "logprobs": [round(value, 4) for value in scored.logprobs],
        "top1": scored.top_ids,
        "top": scored.top,
    }
