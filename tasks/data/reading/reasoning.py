"""Reasoning in an answer: one form, `<think>\\n...\\n</think>\\n\\nanswer`, or the row is refused."""

from tasks.data.problems import BadRowError

OPEN, CLOSE = "<think>", "</think>"


def fold(answer: str, thinking: str = "") -> str:
    """Return an assistant turn with its reasoning, if any, folded into the one form.

    Args:
        answer: the turn; may carry its own think block.
        thinking: reasoning from a field of its own.

    Raises:
        BadRowError: tags that do not pair, more than one block, text before the block, or no answer after it.
    """
    inline, answer = _split(answer)
    if inline and thinking.strip():
        raise BadRowError("nested_think", "reasoning stands both in the answer and in its own field")
    if thinking.strip():
        _refuse_tags(thinking)
    reasoning = (inline or thinking).strip()
    if not answer.strip():
        raise BadRowError("reasoning_without_answer" if reasoning else "empty_turn", "an assistant turn has no answer")
    return f"{OPEN}\n{reasoning}\n{CLOSE}\n\n{answer.strip()}" if reasoning else answer.strip()


def is_well_formed(answer: str) -> bool:
    """Tell whether an assistant turn has no think block or one well-formed block with an answer after it."""
    try:
        _, rest = _split(answer)
    except BadRowError:
        return False
    return bool(rest.strip())


def _split(answer: str) -> tuple[str, str]:
    """Return (reasoning, answer) of a turn."""
    opened, closed = answer.count(OPEN), answer.count(CLOSE)
    if not opened and not closed:
        return "", answer
    if opened > 1 or closed > 1:
        raise BadRowError("nested_think", f"{opened} {OPEN} and {closed} {CLOSE} in one turn")
    if not closed:
        raise BadRowError("unclosed_think", f"{OPEN} without {CLOSE}")
    if not opened:
        raise BadRowError("unopened_think", f"{CLOSE} without {OPEN}")
    before, _, rest = answer.partition(OPEN)
    reasoning, closing, after = rest.partition(CLOSE)
    if before.strip() or not closing:
        raise BadRowError("misplaced_think", f"the {OPEN} block does not open the turn")
    return reasoning, after


def _refuse_tags(thinking: str) -> None:
    """Refuse think tags inside a field that holds reasoning alone."""
    if OPEN in thinking or CLOSE in thinking:
        raise BadRowError("nested_think", "think tags inside the reasoning field")
