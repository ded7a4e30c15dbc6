"""A few rows of a file as training will see them: what was read, masked and is taught; nothing is written."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.chat.labels import taught
from tasks.chat.rows import NO_LOSS, RowRefused, TokenRow, encode_row, taught_alone, thought_samples
from tasks.chat.template import offers_tools
from tasks.core.errors import ConfigError
from tasks.core.settings import PrepareParams
from tasks.data.privacy.desensitize import Desensitizer
from tasks.data.problems import BadRowError
from tasks.data.reading.blocks import DamageError
from tasks.data.reading.formats import Parsed
from tasks.data.reading.raw import Parser, RawRow, file_chunks, kind_of, parser_of, rows_of
from tasks.data.tokens import refused_by_encoder

#: Rows that are looked at for those that are shown.
LOOKED_AT = 2000
#: Around what is taught.
BEGIN, END = "⟦", "⟧"


@dataclass
class Preview:
    """One row.

    Args:
        line: line or item number in the file.
        format: which reader understood it; None where none did.
        refused: why the row would not be trained on; None where it would.
        language: `zh` or `en`.
        turns: roles in order.
        notes: what was left out or carries no loss, in words.
        masked: what was replaced: "TYPE in turn N", with how often.
        tools: whether tools are on offer.
        rejected: whether a refused answer stands beside the answer.
        tokens: of the row as it is trained.
        text: the exact text that is trained on, what is taught between the two signs.
        thought_samples: further texts, of earlier answers whose thought the template shows only where they are last.
    """

    line: int
    format: str | None = None
    refused: str | None = None
    language: str | None = None
    turns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    masked: dict[str, int] = field(default_factory=dict)
    tools: bool = False
    rejected: bool = False
    tokens: int = 0
    text: str = ""
    thought_samples: list[str] = field(default_factory=list)


def preview(
    file: Path, raw: Path, params: PrepareParams, tokenizer: Any, max_length_tokens: int, key: bytes | None, rows: int
) -> list[dict[str, Any]]:
    """Return some rows of a file as training will see them, spread over its beginning.

    Args:
        file: JSON, JSON Lines, CSV or Parquet, in data/raw or elsewhere.
        raw: data/raw of the project; what the settings know of a file in it holds here too.
        params: section `prepare`.
        tokenizer: of the base model.
        max_length_tokens: longest row that is trained on.
        key: of the pseudonyms.
        rows: how many.

    Raises:
        ConfigError: there is no such file, or it is none that is read.
    """
    if not file.is_file() or not kind_of(file):
        raise ConfigError(f"{file} is no JSON, JSON Lines, CSV or Parquet file", "tunegate data preview FILE")
    inside = file.resolve().is_relative_to(raw.resolve())
    source = file.resolve().relative_to(raw.resolve()).as_posix() if inside else file.name
    found = list(islice(_rows(file, source, params), LOOKED_AT))
    if not found:
        raise ConfigError(f"{file} holds no row", "put rows into it")
    parse, desensitizer = parser_of(source, params.read), Desensitizer(params.privacy, raw, key)
    count = min(rows, len(found))
    chosen = [found[place * len(found) // count] for place in range(count)]
    return [asdict(_shown(row, parse, desensitizer, tokenizer, max_length_tokens)) for row in chosen]


def _rows(file: Path, source: str, params: PrepareParams) -> Iterator[RawRow]:
    """Yield the rows of a file, up to where it is damaged."""
    try:
        for chunk in file_chunks(file, source, params.read):
            yield from rows_of(chunk, params.read)
    except DamageError as damage:
        raise ConfigError(f"{file}:{damage.line}: {damage.detail}", "mend the file") from damage


def _shown(raw: RawRow, parse: Parser, desensitizer: Desensitizer, tokenizer: Any, longest: int) -> Preview:
    """Return one row, or why it is refused."""
    shown = Preview(raw.line)
    try:
        if raw.problem:
            raise raw.problem
        parsed = parse(raw.value)
        _fill(shown, parsed)
        row, samples = _encoded(shown, parsed, desensitizer, tokenizer, longest)
    except BadRowError as refusal:
        shown.refused = str(refusal)
        return shown
    except RowRefused as refusal:
        shown.refused = str(refused_by_encoder(refusal))
        return shown
    shown.tokens, shown.text = len(row.input_ids), marked_text(row, tokenizer)
    if shown.tokens <= longest:
        shown.thought_samples = [marked_text(one, tokenizer) for one in samples]
    else:
        shown.refused = f"too_long: more than {longest} tokens (train.max_length_tokens)"
    return shown


def _fill(shown: Preview, parsed: Parsed) -> None:
    """Write what was read."""
    shown.format, shown.language, shown.notes = parsed.format, parsed.language, list(parsed.notes)
    shown.turns = [message["role"] for message in parsed.messages]
    shown.tools, shown.rejected = parsed.tools is not None, parsed.rejected is not None


def _encoded(
    shown: Preview, parsed: Parsed, desensitizer: Desensitizer, tokenizer: Any, longest: int
) -> tuple[TokenRow, list[TokenRow]]:
    """Mask and encode a row as prepare and training do; return it and the samples of its earlier thoughts."""
    tools_text = [{"role": "tools", "content": parsed.tools}] if parsed.tools else []
    cleaned = desensitizer.clean((*parsed.messages, *tools_text))
    messages = list(cleaned.messages[: len(parsed.messages)])
    masked = Counter(f"{mask['type']} in turn {mask['message'] + 1}" for mask in cleaned.masks)
    shown.masked = dict(sorted(masked.items()))
    if cleaned.drop_types:
        raise BadRowError("personal_data", f"{', '.join(cleaned.drop_types)}: the policy drops the row")
    tools = json.loads(cleaned.messages[-1]["content"]) if parsed.tools else None
    if tools and not offers_tools(tokenizer):
        shown.notes.append("the base model's chat template never shows the tools on offer")
    row = encode_row("", messages, tokenizer, tools, parsed.untaught)
    samples = [one for one in thought_samples(row, messages, tokenizer, tools) if len(one.input_ids) <= longest]
    alone = sorted(turn for one in samples for turn in one.trained_turns)
    lost = [(place, why) for place, why in row.history_turns if place not in alone]
    shown.notes += [f"no loss on turn {place + 1}: {NO_LOSS[why]}" for place, why in lost]
    shown.notes += [taught_alone(alone)] if alone else []
    return row, samples


def marked_text(row: TokenRow, tokenizer: Any) -> str:
    """Return the text of a row with what is taught between two signs."""
    pieces, place = [], 0
    for run in taught(row.input_ids, row.labels, tokenizer):
        pieces += [_text(row.input_ids[place : run.first], tokenizer), BEGIN, _text(run.ids, tokenizer), END]
        place = run.first + len(run.ids)
    return "".join([*pieces, _text(row.input_ids[place:], tokenizer)])


def _text(ids: list[int], tokenizer: Any) -> str:
    """Return what token ids decode to."""
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
