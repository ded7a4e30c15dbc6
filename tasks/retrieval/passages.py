"""A document in passages: cut at headings and sentences, never inside a number or a table's row."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tasks.core.digest import sha256_json
from tasks.retrieval.documents import Document

ID_CHARACTERS = 16
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,2}[.)、]|[（(]\d{1,2}[)）])\s*")
_TABLE_RULE = re.compile(r"^\s*\|?[\s:|-]*-[\s:|-]*\|?\s*$")
#: A sentence ends behind a Chinese stop and what closes behind it, or behind a Latin one before a space: 0.5 is whole.
_END = re.compile(
    r"(?:[。！？；]|…+)[”’」』）】]*|(?<!\be\.g)(?<!\bi\.e)(?<!\bNo)(?<!\bFig)(?<!\bvs)[.!?;][\"')\]]*(?=\s)"
)
#: Where a sentence that is too long may be cut: behind a comma, else where neither a word nor a number is torn.
_COMMA = re.compile(r"[，、,：:]")
_WHOLE = re.compile(r"\d[^，。；：、！？,;:!?\n]{0,12}|[A-Za-z][A-Za-z0-9'-]*")
_HAN = re.compile(r"[\u3000-\u9fff\uff00-\uffef]")


@dataclass(frozen=True)
class Passage:
    """A piece of a document.

    Args:
        id: from the document's id, the headings and the text: the same as long as these are.
        document: id of its document.
        heading: title and headings above it, joined by ›.
        text: its sentences, items or rows.
    """

    id: str
    document: str
    heading: str
    text: str


def passages_of(document: Document, longest: int) -> list[Passage]:
    """Return the passages of a document, in order.

    Args:
        document: as read.
        longest: characters of a passage; a row of a table with its head may be longer.
    """
    found: dict[str, Passage] = {}
    for heading, pieces in _sections(document):
        for text in _packed(pieces, longest):
            digest = sha256_json([document.id, heading, text])
            passage = Passage(f"p-{digest[:ID_CHARACTERS]}", document.id, heading, text)
            # The same words under the same heading are one passage.
            found.setdefault(passage.id, passage)
    return list(found.values())


def sentences(text: str) -> list[str]:
    """Return the sentences of a text of one line or more; nothing of it is lost but the space around them."""
    found = []
    for line in text.split("\n"):
        ends = [0, *(match.end() for match in _END.finditer(line)), len(line)]
        found += [line[start:end].strip() for start, end in pairwise(ends)]
    return [sentence for sentence in found if sentence]


def _sections(document: Document) -> Iterator[tuple[str, list["_Piece"]]]:
    """Yield the text under each heading as pieces that are not cut further where they fit."""
    above: list[tuple[int, str]] = []
    lines: list[str] = []
    for line in [*document.text.split("\n"), None]:
        heading = _HEADING.match(line) if line is not None else None
        if line is not None and heading is None:
            lines.append(line)
            continue
        if any(one.strip() for one in lines):
            titles = [document.title, *(title for _, title in above if title != document.title)]
            yield " › ".join(titles), list(_pieces(lines))
        lines = []
        if heading:
            depth = len(heading[1])
            above = [one for one in above if one[0] < depth] + [(depth, heading[2])]


@dataclass(frozen=True)
class _Piece:
    """A sentence, an item of a list or a row of a table; `head` is repeated above rows that stand apart from it."""

    text: str
    head: str = ""
    joins: str = "\n"


def _pieces(lines: list[str]) -> Iterator[_Piece]:
    """Yield the pieces of the lines under one heading."""
    paragraph: list[str] = []
    table: list[str] = []
    for line in [*lines, ""]:
        is_row = line.lstrip().startswith("|")
        if table and not is_row:
            yield from _rows(table)
            table = []
        if paragraph and (is_row or not line.strip() or _LIST_ITEM.match(line)):
            yield from _sentences_of(paragraph)
            paragraph = []
        if is_row:
            table.append(line.strip())
        elif line.strip():
            paragraph.append(line.strip())


def _rows(table: list[str]) -> Iterator[_Piece]:
    """Yield the rows of a table, each with the table's head."""
    has_head = len(table) > 1 and _TABLE_RULE.match(table[1])
    head = "\n".join(table[:2]) if has_head else ""
    for row in table[2 if has_head else 0 :] or table:
        yield _Piece(row, head)


def _sentences_of(paragraph: list[str]) -> Iterator[_Piece]:
    """Yield the sentences of a paragraph or of one item; lines of Chinese are joined without a space."""
    text = paragraph[0]
    for line in paragraph[1:]:
        text += ("" if _HAN.match(text[-1]) and _HAN.match(line[0]) else " ") + line
    for number, sentence in enumerate(sentences(text)):
        yield _Piece(sentence, joins="\n" if number == 0 else "" if _HAN.match(sentence[0]) else " ")


def _packed(pieces: list[_Piece], longest: int) -> Iterator[str]:
    """Yield texts of at most `longest` characters, each of as many pieces as fit."""
    text = head = ""
    for piece in (part for whole in pieces for part in _fitting(whole, longest)):
        if text and (piece.head != head or len(text) + len(piece.joins) + len(piece.text) > longest):
            yield text
            text = ""
        if not text:
            text, head = f"{piece.head}\n{piece.text}" if piece.head else piece.text, piece.head
        else:
            text += piece.joins + piece.text
    if text:
        yield text


def _fitting(piece: _Piece, longest: int) -> Iterator[_Piece]:
    """Yield a piece, in parts where it is no row and longer than a passage may be."""
    rest = piece.text
    while not piece.head and not rest.startswith("|") and len(rest) > longest:
        cut = _cut(rest, longest)
        yield _Piece(rest[:cut].rstrip(), joins=piece.joins)
        rest = rest[cut:].lstrip()
    yield _Piece(rest, piece.head, piece.joins)


def _cut(text: str, longest: int) -> int:
    """Return where a long sentence is cut: the last comma that leaves half a passage, else beside no number or word."""
    torn = {place for whole in _WHOLE.finditer(text) for place in range(whole.start() + 1, whole.end())}
    commas = [found.end() for found in _COMMA.finditer(text, longest // 2, longest) if found.end() not in torn]
    if commas:
        return commas[-1]
    return next((place for place in range(longest, longest // 2, -1) if place not in torn), longest)
