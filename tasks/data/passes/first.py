"""First pass: everything that can be decided about a row alone, a chunk at a time, in a process of its own."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tasks.chat.conversation import Message
from tasks.chat.rows import NO_LOSS, taught_alone
from tasks.core.errors import DataContractError
from tasks.core.settings import PrepareParams
from tasks.data.ledger.ledger import row_name, row_number
from tasks.data.matching.decontaminate import Hit, LeakFinder, with_unspoken
from tasks.data.matching.deduplicate import Fingerprinter, content_digests
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.matching.normalization import NormalizedRow, normalize_all, normalized_rows
from tasks.data.matching.wording import core_keys, fact_keys, wordings
from tasks.data.passes.facts import FORMATS, LANGUAGE_NUMBERS, REASON_NUMBER, ChunkFacts, Columns, Spool
from tasks.data.passes.masked import Masked, masked_strings
from tasks.data.privacy.desensitize import Cleaned, Desensitizer
from tasks.data.problems import BadRowError
from tasks.data.reading.formats import Parsed
from tasks.data.reading.raw import Parser, parser_of
from tasks.data.reading.rows import Chunk, RawRow, rows_of
from tasks.data.tokens import NO_EFFECT, UNCOUNTED, RowLengths, TemplateEffect


@dataclass(frozen=True)
class FirstPass:
    """What a process needs to judge rows.

    Args:
        params: section `prepare`.
        raw: folder of the raw data; paths in the parameters start there.
        base: folder of the base model, whose tokenizer counts.
        max_length_tokens: longest row that is trained on.
        items: evaluation items to look for.
        key: key of the pseudonyms.
        spool: folder the texts go to.
    """

    params: PrepareParams
    raw: Path
    base: Path
    max_length_tokens: int
    items: list[EvalItem]
    key: bytes | None
    spool: Path


@dataclass
class _Judged:
    """One row after every rule about single rows."""

    raw: RawRow
    name: int
    reason: str = ""
    detail: str = ""
    parsed: Parsed | None = None
    messages: tuple[Message, ...] = ()
    tools: str | None = None
    rejected: str | None = None
    cleaned: Cleaned | None = None
    tokens: int = UNCOUNTED
    effect: TemplateEffect = NO_EFFECT

    @property
    def notes(self) -> list[str]:
        """What was left out of the row or is not learnt, in words."""
        lost = [f"no loss on turn {place + 1}: {NO_LOSS[why]}" for place, why in self._history]
        alone = [taught_alone(self._alone)] if self._alone else []
        return [*(self.parsed.notes if self.parsed else ()), *lost, *alone]

    @property
    def effects(self) -> list[str]:
        """What the base model's template does to the row."""
        effect = self.effect
        return [
            *(["answers_without_loss"] if self._history else []),
            *(["thoughts_alone"] if self._alone else []),
            *(["encoded_apart"] if effect.joined else []),
            *(["tools_never_shown"] if effect.tools_hidden else []),
        ]

    @property
    def _history(self) -> list[tuple[int, str]]:
        untaught = self.parsed.untaught if self.parsed else ()
        return [(place, why) for place, why in self.effect.history if place not in untaught]

    @property
    def _alone(self) -> list[int]:
        untaught = self.parsed.untaught if self.parsed else ()
        return [place for place in self.effect.alone if place not in untaught]


class ChunkJudge:
    """The rules about single rows, made ready once a process."""

    def __init__(self, setup: FirstPass) -> None:
        self._setup = setup
        self._read = setup.params.read
        self._desensitizer = Desensitizer(setup.params.privacy, setup.raw, setup.key)
        self._fingerprinter = Fingerprinter(setup.params.near_duplicate)
        self._finder = LeakFinder(setup.items, setup.params.decontaminate)
        self._lengths = RowLengths(setup.base, setup.max_length_tokens)
        self._spool = Spool(setup.spool)

    def __call__(self, numbered: tuple[int, Chunk]) -> ChunkFacts:
        """Judge the rows of a chunk, write their texts to the spool, return the facts about them."""
        number, chunk = numbered
        parse = parser_of(chunk.source, self._read)
        rows = [self._judge(raw, parse) for raw in rows_of(chunk, self._read)]
        texts = normalized_rows([row.messages for row in rows])
        said = _unmasked(rows, texts)
        hits = self._find_leaks(rows, said)
        lines = [_line(row) if row.messages else b"" for row in rows]
        self._spool.write(number, b"".join(lines), orjson.dumps(_evidence(rows, hits), option=orjson.OPT_NON_STR_KEYS))
        concepts = {"": 0}
        worded, masked = wordings(said), _masked_values(rows)
        columns = _columns(rows, hits, concepts, np.cumsum([len(line) for line in lines]))
        columns |= _digests(texts, said) | {"core": core_keys(worded)}
        languages = [row.parsed.language if row.parsed else "en" for row in rows]
        bands = self._fingerprinter.bands(texts, languages, fact_keys(worded, masked))
        effects = [(place, effect) for place, row in enumerate(rows) for effect in row.effects]
        counts, strings = _masked(rows)
        return ChunkFacts(number, chunk.source, Columns(**columns), bands, counts, list(concepts), effects, strings)

    def _judge(self, raw: RawRow, parse: Parser) -> _Judged:
        """Return a row with its reason to leave, if it has one."""
        row = _Judged(raw, row_number(raw.source, raw.content))
        try:
            if raw.problem:
                raise raw.problem
            row.parsed = parse(raw.value)
            self._clean(row, row.parsed)
            row.effect = self._lengths.effect(row.messages, row.tools)
            row.tokens = self._lengths.count_where_needed(row.messages, row.tools, row.effect)
            if row.effect.alone and row.tokens != UNCOUNTED:
                row.effect = self._lengths.fitting(row.effect, row.messages, row.tools)
        except BadRowError as problem:
            if self._read.on_bad_row == "stop":
                raise DataContractError(
                    f"{self._setup.raw / raw.source}:{raw.line}: {problem}",
                    "mend or remove the row, or set prepare.read.on_bad_row: quarantine",
                ) from problem
            row.reason, row.detail = problem.reason, problem.detail
        else:
            if row.cleaned and row.cleaned.drop_types:
                row.reason = "personal_data"
            elif row.tokens > self._setup.max_length_tokens:
                row.reason = "too_long"
        if row.reason:
            # Nothing of a row that leaves goes to the spool.
            row.messages = ()
        return row

    def _clean(self, row: _Judged, parsed: Parsed) -> None:
        """Take personal data out of every text of a row, its tools and a preference's rejected answer included."""
        further = [text for text in (parsed.tools, parsed.rejected) if text is not None]
        row.cleaned = self._desensitizer.clean(
            (*parsed.messages, *({"role": "further", "content": t} for t in further))
        )
        row.messages = row.cleaned.messages[: len(parsed.messages)]
        texts = [message["content"] for message in row.cleaned.messages[len(parsed.messages) :]]
        row.rejected = texts.pop() if parsed.rejected is not None else None
        row.tools = texts.pop() if parsed.tools is not None else None
        if row.tools != parsed.tools:
            _require_json(row.tools)

    def _find_leaks(self, rows: list[_Judged], said: list[NormalizedRow]) -> list[list[Hit]]:
        """Return the evaluation items in every row; rows that leave anyway are not searched.

        What nobody says is searched too: the system prompt, and the answer a preference row refuses.
        """
        places = [place for place, row in enumerate(rows) if not row.reason]
        parsed = [rows[place].parsed for place in places]
        searched = with_unspoken(
            [said[place] for place in places],
            [one.messages if one else () for one in parsed],
            [one.rejected if one else None for one in parsed],
        )
        hits: list[list[Hit]] = [[] for _ in rows]
        for place, found in zip(places, self._finder.find(searched), strict=True):
            hits[place] = found
        return hits


def _digests(texts: list[NormalizedRow], said: list[NormalizedRow]) -> dict[str, Any]:
    """Return the digests of rows as they are written and as they came; most are the same."""
    content = content_digests(texts)
    as_came = content.copy()
    masked = [place for place, (text, came) in enumerate(zip(texts, said, strict=True)) if text is not came]
    as_came[masked] = content_digests([said[place] for place in masked])
    return {"content": content, "said": as_came}


def _unmasked(rows: list[_Judged], texts: list[NormalizedRow]) -> list[NormalizedRow]:
    """Return the normalized rows as they came: before anything was masked."""
    said = list(texts)
    places = [place for place, row in enumerate(rows) if row.messages and row.cleaned and row.cleaned.masks]
    came = normalized_rows([parsed.messages for place in places if (parsed := rows[place].parsed)])
    for place, row in zip(places, came, strict=True):
        said[place] = row
    return said


def _masked_values(rows: list[_Judged]) -> list[str]:
    """Return what was masked in the turns of each row, in order, for digests: nothing of it leaves the process."""
    values, owners = [], []
    for place, row in enumerate(rows):
        if row.messages and row.parsed and row.cleaned:
            spoken = [mask for mask in row.cleaned.masks if mask["message"] < len(row.parsed.messages)]
            values += [row.parsed.messages[one["message"]]["content"][one["start"] : one["end"]] for one in spoken]
            owners += [place] * len(spoken)
    gone: list[list[str]] = [[] for _ in rows]
    for place, value in zip(owners, normalize_all(values), strict=True):
        gone[place].append(value)
    return ["\x1f".join(one) for one in gone]


def _require_json(tools: str | None) -> None:
    """Refuse tools in which a number was personal data: a mask in its place is no JSON."""
    try:
        orjson.loads(tools or "null")
    except orjson.JSONDecodeError as error:
        raise BadRowError("malformed_tool_call", "personal data stands in `tools` as a bare number") from error


def _line(row: _Judged) -> bytes:
    """Return a row as training reads it, as one line of JSON."""
    assert row.parsed is not None
    value: dict[str, Any] = {
        "row_id": row_name(row.name),
        "source": row.raw.source,
        "language": row.parsed.language,
        "concept": row.parsed.concept,
        "messages": row.messages,
    }
    if row.tools:
        value["tools"] = row.tools
    if row.rejected is not None:
        value["rejected"] = row.rejected
    if row.parsed.untaught:
        value["untaught"] = row.parsed.untaught
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _evidence(rows: list[_Judged], hits: list[list[Hit]]) -> dict[str, dict[int, Any]]:
    """Return what the ledger says about the rows of a chunk that something was found in."""
    return {
        "details": {place: row.detail for place, row in enumerate(rows) if row.detail},
        "masks": {place: row.cleaned.masks for place, row in enumerate(rows) if row.cleaned and row.cleaned.masks},
        "dropped": {
            place: sorted(row.cleaned.drop_types)
            for place, row in enumerate(rows)
            if row.cleaned and row.cleaned.drop_types
        },
        "repairs": {place: row.parsed.repairs for place, row in enumerate(rows) if row.parsed and row.parsed.repairs},
        "notes": {place: row.notes for place, row in enumerate(rows) if row.notes and not row.reason},
        "leaks": {place: [hit.as_json() for hit in found] for place, found in enumerate(hits) if found},
    }


def _masked(rows: list[_Judged]) -> tuple[list[tuple[int, str, int]], list[Masked]]:
    """Return (row, type, spans) for every type of personal data replaced in a row, and every masked string's digest."""
    counts: list[tuple[int, str, int]] = []
    strings: list[Masked] = []
    for place, row in enumerate(rows):
        if row.cleaned and row.cleaned.masks and row.parsed:
            types = Counter(mask["type"] for mask in row.cleaned.masks)
            counts += [(place, type_, count) for type_, count in sorted(types.items())]
            strings += masked_strings(place, row.parsed.messages, row.cleaned.masks)
    return counts, strings


def _columns(rows: list[_Judged], hits: list[list[Hit]], concepts: dict[str, int], end: Any) -> dict[str, Any]:
    """Return the flat facts about the rows of a chunk, digests aside; new concepts are numbered in `concepts`."""
    parsed = [row.parsed for row in rows]
    values: dict[str, list[int]] = {
        "name": [row.name for row in rows],
        "line": [row.raw.line for row in rows],
        "reason": [REASON_NUMBER[row.reason] for row in rows],
        "format": [FORMATS.index(one.format) + 1 if one else 0 for one in parsed],
        "language": [LANGUAGE_NUMBERS.index(one.language) if one else 0 for one in parsed],
        "characters": [sum(len(message["content"]) for message in row.messages) for row in rows],
        "answer_characters": [
            sum(len(message["content"]) for message in row.messages if message["role"] == "assistant") for row in rows
        ],
        "untaught": [len(one.untaught) if one else 0 for one in parsed],
        "tokens": [row.tokens for row in rows],
        "concept": [
            concepts.setdefault(one.concept, len(concepts)) if one and one.concept else 0 for one in parsed
        ],
        "leaks": [len(found) for found in hits],
    }  # fmt: skip
    types = {"name": np.uint64, "reason": np.uint8, "format": np.uint8, "language": np.uint8}
    arrays = {name: np.array(value, dtype=types.get(name, np.int64)) for name, value in values.items()}
    return arrays | {"end": np.asarray(end, dtype=np.int64)}
