"""Whether a served model stops by itself: asked like a caller asks, greedily, with room for twice the known answer."""

from typing import Any

from tasks.chat.shapes import Conversation
from tasks.chat.template import render, served_messages
from tasks.core.errors import DataContractError
from tasks.engine.client import Query, ServedClient

COMPLETIONS = "/v1/completions"
#: Prompts asked: those with the shortest known answers, so that the answer fits.
PROMPTS = 6
#: A short answer gets room to be said in other words.
LEAST_TOKENS = 64


def check_stop(client: ServedClient, tokenizer: Any, conversations: list[Conversation]) -> dict[str, Any]:
    """Return how many answers the model ended by itself; a trained model must, the base need not.

    Args:
        client: the server.
        tokenizer: of the served model.
        conversations: rows with known answers.

    Returns:
        token: the end-of-turn id. asked: prompts. stopped: answers that ended with it. tokens: room for each.
    """
    answers = {row.row_id: tokenizer.encode(row.messages[-1]["content"], add_special_tokens=False)
               for row in conversations if not row.tools}  # fmt: skip
    chosen = sorted((row for row in conversations if not row.tools), key=lambda row: (len(answers[row.row_id]),
                                                                                    row.row_id))[:PROMPTS]  # fmt: skip
    room = max([LEAST_TOKENS, *(2 * len(answers[row.row_id]) for row in chosen)])
    found = client.ask([_query(row, tokenizer, room) for row in chosen], "stop token")
    return {
        "token": tokenizer.eos_token_id,
        "asked": len(chosen),
        "stopped": sum(reason == "stop" for reason in found),
        "tokens": room,
    }


def _query(row: Conversation, tokenizer: Any, tokens: int) -> Query:
    """Return the request for one answer, as far as the model goes by itself."""
    prompt = render(tokenizer, served_messages(row.messages[:-1], tokenizer), True)
    body = {"prompt": prompt, "temperature": 0, "max_tokens": tokens}
    return Query(COMPLETIONS, body, lambda answer: _reason(answer, row.row_id), f"stop token, row {row.row_id}")


def _reason(answer: dict[str, Any], row_id: str) -> str:
    """Return why a generation ended."""
    choices = answer.get("choices") or [{}]
    reason = choices[0].get("finish_reason")
    if not isinstance(reason, str):
        raise DataContractError(f"row {row_id}: the server does not say why it stopped", "serve with vLLM")
    return reason
