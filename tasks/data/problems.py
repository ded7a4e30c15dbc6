"""Why a raw row cannot become a chat row."""

from typing import Final

#: Reason code -> what it means; the codes a ledger may carry for quarantined rows.
QUARANTINE_REASONS: Final = {
    "malformed_json": "the line is not JSON",
    "malformed_encoding": "the row is not in the encoding of its file",
    "malformed_csv": "the row has other columns than the header, or its quotes do not close",
    "oversized": "the row is longer than max_row_mib",
    "damaged_file": "the rest of the file cannot be read; counted as one row",
    "not_an_object": "the row is JSON but no object",
    "unknown_format": "no known format has these fields",
    "missing_field": "a field the format needs is absent",
    "wrong_type": "a field has the wrong type",
    "unknown_role": "a turn's role is none of the format's",
    "malformed_tool_call": "a call or a list of tools is not the JSON it must be",
    "orphan_result": "a tool's result belongs to no call",
    "media": "images, sound or video, or their placeholders: this pipeline teaches text",
    "marked_bad": "its author marks the answer as a bad one",
    "nothing_to_learn": "its author marks every answer as not to be learnt",
    "unclear_mark": "a mark (weight, loss, train, ...) says neither yes nor no",
    "wrong_role_order": "turns do not alternate from user (calls and results between) to a last assistant",
    "empty_turn": "a turn is empty",
    "reasoning_without_answer": "reasoning with no answer after it",
    "unclosed_think": "<think> without </think>",
    "unopened_think": "</think> without <think>",
    "nested_think": "more than one reasoning block in a turn",
    "misplaced_think": "reasoning where none belongs",
    "untagged_reasoning": "reasoning left in the answer, outside <think>",
    "language_mismatch": "reasoning or answer in another language than `reasoning_language`",
    "invalid_text": "NUL or half a surrogate pair in the text",
    "mojibake": "text decoded with the wrong encoding",
    "unsupported_language": "neither Chinese nor in Latin letters",
    "special_token": "a special token of the base model in the text",
    "template_refuses": "the base model's chat template cannot render the conversation, or training not use it",
}

#: Reason code -> what it means; for dropped rows.
DROP_REASONS: Final = {
    "exact_duplicate": "the same conversation after normalization stands elsewhere",
    "near_duplicate": "the same conversation in other words around it, or with a slip of the hand, stands elsewhere",
    "eval_leak": "the row carries a question of an evaluation set",
    "personal_data": "personal data of a type whose policy drops the row",
    "too_long": "more tokens than training takes",
}


class BadRowError(Exception):
    """A raw row is refused.

    Args:
        reason: a key of `QUARANTINE_REASONS`.
        detail: what is wrong where; never the row's own text.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadRowError"], tuple[str, str]]:
        """Travel between processes: an exception is otherwise rebuilt from its one message."""
        return BadRowError, (self.reason, self.detail)
