"""Log-probabilities of a prompt: for evaluators alone, of short prompts, and charged for what they cost.

For each token of the prompt the engine sorts the whole vocabulary and sends the top of it: far more than an answer's
token costs, and no caller needs it.
"""

from typing import Any

from tasks.core.params.door import DoorParams
from tasks.serving.admission import Refusal
from tasks.serving.keys import ApiKey


def asks_for_prompt_logprobs(payload: dict[str, Any]) -> bool:
    """Return whether a request wants the log-probabilities of its prompt, by either name."""
    logprobs = payload.get("logprobs")
    echoed = bool(payload.get("echo")) and logprobs is not None and logprobs is not False
    return echoed or payload.get("prompt_logprobs") is not None


def prompt_cost(key: ApiKey, payload: dict[str, Any], tokens: int, params: DoorParams) -> int:
    """Return what a prompt is charged with.

    Args:
        tokens: the most it may have.

    Raises:
        Refusal: 403 where log-probabilities of the prompt are asked for by no evaluator, 400 where it is too long.
    """
    if not asks_for_prompt_logprobs(payload):
        return tokens
    field = "prompt_logprobs" if payload.get("prompt_logprobs") is not None else "echo"
    if key.role != "evaluator":
        message = f"log-probabilities of the prompt are for evaluators, key {key.name} is a {key.role} key"
        raise Refusal(403, "role_not_allowed", message, param=field)
    if tokens > params.evaluator_prompt_tokens:
        message = f"the prompt may have {tokens} tokens, with its log-probabilities {params.evaluator_prompt_tokens}"
        raise Refusal(400, "over_the_cap", message, param=field)
    return tokens * params.evaluator_cost
