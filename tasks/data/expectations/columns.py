"""Prepared rows as flat columns, chunk by chunk in worker processes; no column holds a row's text.

Personal data and evaluation items are looked for again, with the policy prepare wrote down: rows that were changed or
added after prepare do not slip through.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from tasks.chat.conversation import OPEN, ROLE_LETTERS
from tasks.core.errors import DataContractError
from tasks.core.settings import DecontaminateParams, PrivacyParams
from tasks.data.matching.decontaminate import LeakFinder, with_unspoken
from tasks.data.matching.deduplicate import content_digests
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.matching.normalization import NormalizedRow, normalized_rows
from tasks.data.privacy.desensitize import ALL_TYPES, Desensitizer
from tasks.data.reading.reasoning import is_well_formed

CHUNK_BYTES: Final = 4 << 20
FIELDS: Final = frozenset({"row_id", "source", "language", "concept", "messages"})
#: Types of the fields as prepare writes them; a field that may be absent may be null. Others are not looked at.
TYPES: Final[dict[str, tuple[type, ...]]] = {
    "source": (str,), "language": (str,), "concept": (str, NoneType), "tools": (str, NoneType),
    "rejected": (str, NoneType),
}  # fmt: skip
#: Columns of texts that repeat; they become codes. The others are numbers, but for `row_id`.
TEXT_COLUMNS: Final = ("source", "split", "language", "concept", "roles", "rejected", "personal_data", "eval_leak")

#: What stands in place of personal data.
_MASK = re.compile(rf"\[(?:{'|'.join(type_.upper() for type_ in ALL_TYPES)})\]")

Columns = dict[str, list[Any] | npt.NDArray[Any]]


@dataclass(frozen=True)
class Lines:
    """Whole lines of a JSON Lines file.

    Args:
        path: the file.
        split: what the file is called without its ending.
        first_line: number of the first line, from 1.
        data: the bytes.
    """

    path: Path
    split: str
    first_line: int
    data: bytes

    def values(self) -> Iterator[tuple[int, Any]]:
        """Yield line number and value of every line that is not empty.

        Raises:
            DataContractError: a line is not JSON; the message names file and line.
        """
        for number, line in enumerate(self.data.split(b"\n"), start=self.first_line):
            if line.strip():
                try:
                    yield number, orjson.loads(line)
                except ValueError as error:
                    raise DataContractError(
                        f"{self.path}:{number} is not valid JSON", "tunegate stage prepare writes it anew"
                    ) from error


def read_lines(path: Path) -> Iterator[Lines]:
    """Yield a file in pieces of about `CHUNK_BYTES`, cut between lines."""
    line = 1
    with path.open("rb") as stream:
        while data := stream.read(CHUNK_BYTES):
            data += stream.readline()
            yield Lines(path, path.stem, line, data)
            line += data.count(b"\n")


def digest(row_id: str) -> int:
    """Return 64 bits that stand for a row id: a million of them fit in 8 MB."""
    return int.from_bytes(hashlib.blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class RowColumns:
    """Lines of prepared rows to columns; one in each worker process.

    Args:
        privacy: policies prepare worked with.
        decontaminate: how leaks are looked for.
        items: the evaluation items to look for.
        raw: data/raw of the project; the list of organisations lies there.
    """

    def __init__(
        self, privacy: PrivacyParams, decontaminate: DecontaminateParams, items: Sequence[EvalItem], raw: Path
    ) -> None:
        self._desensitizer = Desensitizer(masking(privacy), raw, None)
        self._finder = LeakFinder(items, decontaminate)

    def __call__(self, lines: Lines) -> Columns:
        """Return the columns of these rows.

        Raises:
            DataContractError: a line is no chat row.
        """
        values = [_chat_row(lines.path, number, value) for number, value in lines.values()]
        if not values:
            return {}
        wrong_types = [
            [name for name, types in TYPES.items() if not isinstance(row.get(name), types)] for row in values
        ]
        # What has another type is counted, and looked at no further: no other expectation was written for it.
        rows = [row | dict.fromkeys(wrong) for row, wrong in zip(values, wrong_types, strict=True)]
        spoken = normalized_rows([row["messages"] for row in rows])
        columns: Columns = {name: [row[name] for row in rows] for name in ("row_id", "source", "language", "concept")}
        shapes = [_shape(row) for row in rows]
        columns |= {name: np.array([shape[name] for shape in shapes]) for name in shapes[0]}
        return columns | {
            "wrong_types": np.array([len(wrong) for wrong in wrong_types]),
            "split": [lines.split] * len(rows),
            "roles": ["".join(ROLE_LETTERS.get(turn["role"], "?") for turn in row["messages"]) for row in rows],
            "rejected": [_rejected(row) for row in rows],
            "row_digest": np.array([digest(row["row_id"]) for row in rows], dtype=np.uint64),
            "content_digest": _content_digests(rows, spoken),
            "personal_data": [self._personal_data(row) for row in rows],
            "eval_leak": self._leaks(rows, spoken),
        }

    def _personal_data(self, row: dict[str, Any]) -> str | None:
        """Return how much personal data of which type a row holds, in every text of it; None for none."""
        # Read together and in the order prepare did: a name that one text gives away is known in the others.
        further = [{"role": name, "content": row[name]} for name in ("tools", "rejected") if row.get(name)]
        masks = self._desensitizer.clean([*row["messages"], *further]).masks
        found = Counter(mask["type"] for mask in masks)
        return ", ".join(f"{n} {type_}" for type_, n in sorted(found.items())) or None

    def _leaks(self, rows: Sequence[dict[str, Any]], spoken: Sequence[NormalizedRow]) -> list[str | None]:
        """Return the best hit of an evaluation item in each row, what nobody says in it included."""
        searched = with_unspoken(spoken, [row["messages"] for row in rows], [row.get("rejected") for row in rows])
        return [f"{hits[0].eval_set} {hits[0].item_id}" if hits else None for hits in self._finder.find(searched)]


def masking(privacy: PrivacyParams, *, everything: bool = False) -> PrivacyParams:
    """Return policies under which looking needs no key: what is pseudonymized or dropped is looked for like a mask.

    Args:
        privacy: policies prepare worked with.
        everything: look for the types that are kept, too.
    """
    policies = privacy.policies.model_dump()
    looked_for = {
        type_: policy if policy == "keep" and not everything else "mask" for type_, policy in policies.items()
    }
    return PrivacyParams.model_validate({**privacy.model_dump(), "policies": looked_for})


def _content_digests(rows: Sequence[dict[str, Any]], spoken: Sequence[NormalizedRow]) -> npt.NDArray[np.uint64]:
    """Return 64 bits of each conversation.

    Two rows that differed in what is masked now are two, and prepare kept both: their ids tell them apart.
    """
    digests = content_digests(spoken)[:, 0].copy()
    for place, row in enumerate(rows):
        if any(_MASK.search(turn["content"]) for turn in row["messages"]):
            digests[place] ^= np.uint64(digest(row["row_id"]))
    return digests


def _chat_row(path: Path, number: int, row: Any) -> dict[str, Any]:
    """Return a value after checking that it has the fields of a chat row."""
    messages = row.get("messages") if isinstance(row, dict) else None
    whole = isinstance(messages, list) and set(row) >= FIELDS and isinstance(row["row_id"], str)
    if not whole or not all(_is_message(message) for message in messages or []):
        raise DataContractError(f"{path}:{number} is no chat row", "tunegate stage prepare writes it anew")
    return dict(row)


def _is_message(message: Any) -> bool:
    """Tell whether a value is an object with a role and a text."""
    return isinstance(message, dict) and all(isinstance(message.get(field), str) for field in ("role", "content"))


def _shape(row: dict[str, Any]) -> dict[str, int]:
    """Return the numbers that describe a row."""
    messages = row["messages"]
    texts = [message["content"] for message in messages]
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    lengths = [len(answer) for answer in answers]
    return {
        "turns": sum(message["role"] != "system" for message in messages),
        "characters": sum(map(len, texts)),
        "empty_turns": sum(not text.strip() for text in texts),
        "shortest_answer_characters": min(lengths, default=0),
        "longest_answer_characters": max(lengths, default=0),
        "malformed_reasoning": sum(not is_well_formed(answer) for answer in answers),
        "reasoned_answers": sum(OPEN in answer for answer in answers),
        "undeclared_tool_turns": 0 if row.get("tools") else sum(turn["role"] == "tool" for turn in messages),
    }


def _rejected(row: dict[str, Any]) -> str | None:
    """Return what a preference row has beside the chosen answer: `given`, or `same` where nothing is preferred."""
    rejected = row.get("rejected")
    if not rejected:
        return None
    return "same" if row["messages"] and rejected == row["messages"][-1]["content"] else "given"
