"""Third pass: the files of stage prepare, in the order the rows came in."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import orjson

from tasks.chat.conversation import Message
from tasks.core.progress import Progress
from tasks.core.settings import PrepareParams
from tasks.data.ledger.ledger import FATES, Entry, Fate, fate_of, require_balance, row_name
from tasks.data.matching.deduplicate import BEST_ROW_RULE
from tasks.data.matching.normalization import normalized_rows
from tasks.data.matching.wording import differences
from tasks.data.passes.facts import FORMATS, REASONS, Gathered
from tasks.data.passes.second import NOWHERE, Decisions, cluster_name
from tasks.data.problems import DROP_REASONS, QUARANTINE_REASONS

TRAIN, VALIDATION, CALIBRATION = "train", "validation", "calibration"
_LINE = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY


class _Facts(NamedTuple):
    """What is known of one row: its number, its place in its file, and what `Columns` and `Decisions` say."""

    row: int
    name: int
    place: int
    line: int
    format: int
    reason: int
    validation: bool
    end: int


#: The evidence about a row that its chunk's says nothing of.
_NOTHING: Mapping[str, dict[str, Any]] = {kind: {} for kind in ("details", "notes", "repairs", "masks")}


class Outputs:
    """The row files, the ledger, the clusters and the leaks.

    Args:
        output: folder to fill.
        gathered: facts and texts of all rows.
        decisions: the fate of every row.
        params: section `prepare`, for the rules in words.
        max_length_tokens: longest row that is trained on.
    """

    def __init__(
        self, output: Path, gathered: Gathered, decisions: Decisions, params: PrepareParams, max_length_tokens: int
    ) -> None:
        self._output, self._gathered, self._decisions = output, gathered, decisions
        self._rules = _rules(params, max_length_tokens)
        self._clusters = _clusters(decisions)
        # Once a cluster, not once a member: a cluster may be as large as the data.
        self._cluster_ids = {kept: cluster_name(decisions.name[[kept, *rows]]) for kept, rows in self._clusters.items()}
        self._differing: dict[int, list[dict[str, str]]] = {}
        self.fates: Counter[Fate] = Counter()
        self.written: Counter[str] = Counter()
        #: Reason -> place and detail of the first row that left for it.
        self.first_detail: dict[str, str] = {}
        self.leaked: dict[str, tuple[set[str], set[int]]] = defaultdict(lambda: (set(), set()))

    def write(self, progress: Progress) -> None:
        """Write everything.

        Raises:
            DataContractError: the ledger does not balance.
        """
        with ExitStack() as stack:
            files = {
                name: stack.enter_context((self._output / f"{name}.jsonl").open("wb"))
                for name in (TRAIN, VALIDATION, "ledger", "leaks")
            }
            for number, first, after in self._gathered.chunks():
                self._write_chunk(files, number, first, after)
                progress.advance(after - first)
        fates = {fate: self.fates[fate] for fate in FATES}
        require_balance(self._decisions.name, fates, dict(self.written), len(self._gathered.columns))
        self._write_lines("calibration", (self._named(row) for row in self._decisions.calibration.tolist()))
        self._write_lines("clusters", (orjson.dumps(self._cluster(kept), option=_LINE) for kept in self._clusters))

    def cluster_sizes(self) -> dict[int, int]:
        """Return {rows in a cluster: clusters}, clusters of one left out."""
        return dict(sorted(Counter(len(rows) + 1 for rows in self._clusters.values()).items()))

    def largest_clusters(self, count: int) -> list[dict[str, Any]]:
        """Return the clusters with the most rows."""
        largest = sorted(self._clusters, key=lambda kept: (-len(self._clusters[kept]), kept))[:count]
        return [
            {"cluster_id": self._cluster_ids[kept], "kept": self._id(kept), "rows": len(self._clusters[kept]) + 1}
            for kept in largest
        ]

    def _write_chunk(self, files: Mapping[str, BinaryIO], number: int, first: int, after: int) -> None:
        """Write the rows of one chunk to the files they belong to."""
        evidence = self._gathered.spool.evidence(number)
        noted = {int(place) for found in evidence.values() for place in found}
        texts = self._gathered.spool.rows(number)
        self._differing = self._differences(first, after)
        start = 0
        for facts in self._facts(first, after):
            place = facts.row - first
            entry = self._entry(facts, self._gathered.sources[number], evidence if place in noted else None, str(place))
            self.fates[entry.fate] += 1
            if (detail := entry.evidence.get("detail")) and entry.reason not in self.first_detail:
                self.first_detail[entry.reason] = f"{entry.source}:{entry.line}: {detail}"
            files["ledger"].write(orjson.dumps(entry, option=_LINE))
            if entry.fate == "kept":
                split = VALIDATION if facts.validation else TRAIN
                files[split].write(self._renamed(facts.row, texts[start : facts.end]))
                self.written[split] += 1
            if entry.reason == "eval_leak":
                for hit in evidence["leaks"][str(place)]:
                    self._count_leak(facts.row, hit)
                    files["leaks"].write(orjson.dumps({"row_id": entry.row_id, **hit}, option=_LINE))
            start = facts.end

    def _facts(self, first: int, after: int) -> Iterator["_Facts"]:
        """Yield what is known of some rows; one value by one, an array takes ten times as long as a list."""
        columns, decisions, rows = self._gathered.columns, self._decisions, slice(first, after)
        found = (
            np.arange(first, after), decisions.name[rows], decisions.index[rows], columns.line[rows],
            columns.format[rows], decisions.fates.reason[rows], decisions.validation[rows], columns.end[rows],
        )  # fmt: skip
        yield from map(_Facts._make, zip(*(values.tolist() for values in found), strict=True))

    def _entry(self, facts: "_Facts", source: str, evidence: dict[str, dict[str, Any]] | None, place: str) -> Entry:
        """Return the line of the ledger about one row; `evidence` is None where its chunk's says nothing of it."""
        reason = REASONS[facts.reason]
        found: dict[str, Any] = {} if facts.format else {"line": facts.line}
        found |= self._evidence(facts, reason, evidence or _NOTHING, place)
        words = reason or ("personal_data_replaced" if evidence and place in evidence["masks"] else "clean")
        format_ = FORMATS[facts.format - 1] if facts.format else None
        return Entry(
            row_name(facts.name), source, facts.place, facts.line, format_, fate_of(reason), words,
            self._rule(words, found), found,
        )  # fmt: skip

    def _rule(self, words: str, found: dict[str, Any]) -> str:
        """Return the rule that decided, in words; of replaced data the types found."""
        rule = self._rules[words]
        return f"{rule}: {', '.join(found['masks'])}" if words == "personal_data_replaced" else rule

    def _evidence(
        self, facts: "_Facts", reason: str, evidence: Mapping[str, dict[str, Any]], place: str
    ) -> dict[str, Any]:
        """Return what was found in a row, by what it led to."""
        found: dict[str, Any] = {}
        row = facts.row
        if not reason:
            found["split"] = VALIDATION if facts.validation else TRAIN
        if detail := evidence["details"].get(place):
            found["detail"] = detail
        if notes := evidence["notes"].get(place):
            found["notes"] = notes
        if repairs := evidence["repairs"].get(place):
            found["repairs"] = repairs
        if masks := evidence["masks"].get(place):
            found["masks"] = dict(sorted(Counter(mask["type"] for mask in masks).items()))
            found["spans"] = masks
        if reason in ("exact_duplicate", "near_duplicate"):
            found |= self._duplicate_evidence(row)
        elif row in self._clusters:
            found["cluster_id"] = self._cluster_ids[row]
        if reason == "eval_leak":
            hits = evidence["leaks"][place]
            found |= {key: hits[0][key] for key in ("eval_set", "item_id", "containment")} | {"items": len(hits)}
        if reason == "too_long":
            found["tokens"] = int(self._gathered.columns.tokens[row])
        if reason == "personal_data":
            found["types"] = evidence["dropped"][place]
        return found

    def _duplicate_evidence(self, row: int) -> dict[str, Any]:
        """Return which row stands for a duplicate, and why."""
        kept = int(self._decisions.fates.kept_row[row])
        found = {
            "cluster_id": self._cluster_ids[kept],
            "duplicate_of": self._id(kept),
            "jaccard": round(float(self._decisions.fates.jaccard[row]), 4),
            "kept_because": BEST_ROW_RULE,
        }
        if self._decisions.fates.reason[row] == REASONS.index("near_duplicate"):
            found["difference"] = self._differing[row]
        return found

    def _differences(self, first: int, after: int) -> dict[int, list[dict[str, str]]]:
        """Return how each near-duplicate among some rows differs from the row kept in its place."""
        fates = self._decisions.fates
        rows = first + np.flatnonzero(fates.reason[first:after] == REASONS.index("near_duplicate"))
        pairs = np.stack([rows, fates.kept_row[rows]], axis=1).ravel().tolist()
        # All at once: normalized one by one they cost six times as much.
        normal = normalized_rows([self._messages(row) for row in pairs])
        return {
            row: differences(*both)
            for row, both in zip(rows.tolist(), zip(normal[::2], normal[1::2], strict=True), strict=True)
        }

    def _messages(self, row: int) -> list[Message]:
        """Return the conversation of a row, masked."""
        messages: list[Message] = orjson.loads(self._gathered.row(row))["messages"]
        return messages

    def _count_leak(self, row: int, hit: dict[str, Any]) -> None:
        """Count a leaked item and the row it stands in."""
        items, rows = self.leaked[hit["eval_set"]]
        items.add(hit["item_id"])
        rows.add(row)

    def _cluster(self, kept: int) -> dict[str, Any]:
        """Return a cluster as a line of clusters.jsonl."""
        duplicates = [
            {**self._place(row), "reason": REASONS[self._decisions.fates.reason[row]],
             "jaccard": round(float(self._decisions.fates.jaccard[row]), 4)}
            for row in self._clusters[kept]
        ]  # fmt: skip
        return {
            "cluster_id": self._cluster_ids[kept],
            "kept": self._place(kept),
            "duplicates": duplicates,
            "rule": BEST_ROW_RULE,
        }

    def _place(self, row: int) -> dict[str, Any]:
        """Return id and place of a row."""
        return {
            "row_id": self._id(row),
            "source": self._gathered.sources_of(np.array([row]))[0],
            "index": int(self._decisions.index[row]),
        }

    def _id(self, row: int) -> str:
        """Return the id of a row."""
        return row_name(int(self._decisions.name[row]))

    def _named(self, row: int) -> bytes:
        """Return a kept row's line from the spool, under its final id."""
        return self._renamed(row, self._gathered.row(row))

    def _renamed(self, row: int, line: bytes) -> bytes:
        """Return the line of a row; a further copy of a row gets its own id only once all rows are known."""
        if self._decisions.name[row] == self._gathered.columns.name[row]:
            return line
        return orjson.dumps(orjson.loads(line) | {"row_id": self._id(row)}, option=_LINE)

    def _write_lines(self, name: str, lines: Iterator[bytes]) -> None:
        """Write lines to one of the files."""
        with (self._output / f"{name}.jsonl").open("wb") as file:
            file.writelines(lines)


def _clusters(decisions: Decisions) -> dict[int, list[int]]:
    """Return {kept row: rows it stands for}, both in the order they came in."""
    clusters: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(decisions.fates.kept_row != NOWHERE).tolist():
        clusters[int(decisions.fates.kept_row[row])].append(row)
    return dict(sorted(clusters.items()))


def _rules(params: PrepareParams, max_length_tokens: int) -> dict[str, str]:
    """Return the rule behind each reason, in words."""
    near = params.near_duplicate
    policies = params.privacy.policies.model_dump()
    return {
        **QUARANTINE_REASONS,
        **DROP_REASONS,
        "clean": "no rule matched",
        "personal_data_replaced": "replaced",
        "personal_data": f"dropped: {', '.join(t for t, p in policies.items() if p == 'drop')}",
        "near_duplicate": "the same but for greetings and the like around a turn, or but for slips of the hand at a "
        f"Jaccard >= {near.jaccard} of {near.ngram_characters}-grams of characters (Chinese) or "
        f"{near.ngram_words}-grams of words (English); another number, "
        "unit, denial, name or answer is another row, judged before masking",
        "eval_leak": f"at least {params.decontaminate.containment} of an evaluation question stands in the row",
        "too_long": f"more than {max_length_tokens} tokens (train.max_length_tokens)",
    }
