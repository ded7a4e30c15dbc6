"""Names of columns: which fields make a row, under the names that data sets have, and names that a user maps.

`prepare.read.files` may name a file's columns and speakers: `{columns: {instruction: 提问, output: 答复}, roles: {客服:
assistant}}`. A mapped column is the field's, whatever else the row holds; null says that the row has no such field.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from tasks.core.params.data import COLUMNS
from tasks.data.reading.formats.turns import SPEAKERS, TEXTS

#: Columns that hold turns.
CONTAINERS: Final = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")
#: Question and answer of rows with one exchange, in the order they are looked for. Upper case is no other name.
PAIRS: Final = (
    ("instruction", "output"), ("instruction", "response"), ("instruction", "answer"), ("instruction", "completion"),
    ("query", "response"), ("query", "answer"), ("question", "answer"), ("question", "response"),
    ("question", "output"), ("prompt", "completion"), ("prompt", "response"), ("prompt", "answer"),
    ("prompt", "output"), ("questions", "answers"), ("prompts", "responses"), ("queries", "responses"),
    ("user", "assistant"), ("input", "output"), ("input", "target"), ("指令", "输出"), ("问题", "答案"),
    ("问题", "回答"), ("提问", "回答"),
)  # fmt: skip
#: What belongs to the question, and what stands before it.
CONTEXTS: Final = ("input", "context", "输入")
SYSTEMS: Final = ("system", "system_prompt", "系统")
#: The answer that was refused.
REJECTED: Final = ("rejected", "rejected_response", "rejected_answer")
CHOSEN: Final = ("chosen", "chosen_response", "chosen_answer")
#: What the two answers of a preference row are answers to.
PROMPTS: Final = ("prompt", "question", "query", "input", "提问", "问题")
#: Headers by which a table's delimiter is told.
HEADERS: Final = frozenset(
    name for names in (*PAIRS, CONTAINERS, CHOSEN, REJECTED, PROMPTS, COLUMNS) for name in names if name not in TEXTS
) | {"text"}
_SHOWN = 12
_NAME: Final = re.compile(r"[^\W\d][\w .:/-]{0,39}")
_DIGITS: Final = re.compile(r"\d{4}")


def lowered(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row under the names of its fields in lower case; a name that is there already stays."""
    found = {name.strip().lower(): value for name, value in row.items()}
    return found | {name: value for name, value in row.items() if name in found}


def mapped(row: dict[str, Any], columns: Mapping[str, str | None]) -> dict[str, Any]:
    """Return a row with its columns under the names of the fields they are.

    Args:
        row: as it stands in the file.
        columns: field -> column of the file, null for a field the file has not.
    """
    if not columns:
        return row
    taken = {column for field, column in columns.items() if column is not None and column != field}
    fields = {name: value for name, value in row.items() if name not in taken and name not in columns}
    absent = {field for field, column in columns.items() if column is None}
    fields = {name: value for name, value in fields.items() if name.lower() not in absent}
    if columns.get("instruction"):
        # The mapping says what the row is; turns it may hold as well are not meant.
        fields = {name: value for name, value in fields.items() if name not in CONTAINERS}
    fields |= {field: row[column] for field, column in columns.items() if column is not None and column in row}
    return {name: _mapped_turns(value, columns) for name, value in fields.items()}


def _mapped_turns(value: Any, columns: Mapping[str, str | None]) -> Any:
    """Return turns with their speaker and text under the names that turns have."""
    names = {column: field for field, column in columns.items() if field in ("role", "content") and column}
    if not names or not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        return value
    hidden = {*SPEAKERS, *TEXTS} - set(names)
    return [{names.get(name, name): inner for name, inner in turn.items() if name not in hidden} for turn in value]


def first_given(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of some fields that the row has and that says something, else the first it has."""
    there = [name for name in names if name in row]
    if not there:
        return None
    return next((name for name in there if row[name] not in (None, "", [])), there[0])


def fields_in_words(row: Mapping[str, Any]) -> str:
    """Return the names of a row's fields, without any that may be data."""
    names = [name for name in row if _NAME.fullmatch(name) and not _DIGITS.search(name)]
    more = len(row) - len(names[:_SHOWN])
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + (f" and {more} more" if more else "") or "none"


def mapping_to_write(row: Mapping[str, Any]) -> str:
    """Return the mapping a user may write for a row that no shape fits, from the columns it has."""
    names = [name for name in row if _NAME.fullmatch(name) and not _DIGITS.search(name)]
    turns = [name for name in names if isinstance(row[name], list)]
    if turns:
        return f"columns: {{messages: {turns[0]}}}"
    texts = [name for name in names if isinstance(row[name], str)]
    # A category or a number is shorter than what is asked and answered.
    longest = sorted(texts, key=lambda name: -len(row[name]))[:2]
    texts = [name for name in texts if name in longest] or ["COLUMN"]
    return f"columns: {{instruction: {texts[0]}, output: {texts[1] if len(texts) > 1 else 'COLUMN'}}}"
