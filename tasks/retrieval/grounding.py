"""An answer from documents: what is searched, what the model is asked, and what of its answer a caller is told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tasks.core.params.retrieval import GroundedParams
from tasks.data.reading.language import language_of
from tasks.evaluation.thinking import split_thinking
from tasks.retrieval.fence import prompt_of
from tasks.retrieval.index import Hit
from tasks.retrieval.passages import Passage
from tasks.retrieval.support import CITATION, Said, held_to, pieces_of
from tasks.retrieval.words import words

Why = Literal["nothing_found", "said_by_model", "no_answer", "cut_off", "not_supported"]
NOT_THERE = {"zh": "文件中没有。", "en": "Not in the documents."}
#: How a model says it, as it was asked to.
_SAYS_NOT_THERE = re.compile(
    r"文件[中里]?(?:没有|未)|资料[中里]?(?:没有|未)|not in the documents|documents do not say", re.I
)
#: A question this short is read with the one before it: and for pregnant women?
_FOLLOWS = 12
_MOST_QUOTED = 2


class Searchable(Protocol):
    """What answers are taken from: an `Index`, or somebody else's retriever (foreign.py)."""

    about: dict[str, dict[str, str]]

    @property
    def lineage_id(self) -> str:
        """Its name in records."""

    @property
    def digest(self) -> str:
        """Digest of what it holds."""

    def search(self, question: str, count: int) -> list[Hit]:
        """Return the best passages, best first."""

    def is_found(self, hit: Hit, least_share: float) -> bool:
        """Tell whether a passage has to do with the question."""


@dataclass(frozen=True)
class Grounds:
    """What was found for a question.

    Args:
        question: of the caller, the last of the conversation.
        lang: of it: zh or en.
        hits: passages as shown, numbered from 1; none where nothing counts as found.
        index: that was searched.
    """

    question: str
    lang: str
    hits: tuple[Hit, ...]
    index: Searchable

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The passages as shown."""
        return tuple(hit.passage for hit in self.hits)

    def shown(self) -> list[dict[str, Any]]:
        """Return the passages for a caller: where each comes from and what it says."""
        return [
            {"number": number, "id": hit.passage.id, "document": hit.passage.document, "heading": hit.passage.heading,
             **self.index.about[hit.passage.document], "text": hit.passage.text, "share": round(hit.share, 4)}
            for number, hit in enumerate(self.hits, start=1)
        ]  # fmt: skip


@dataclass(frozen=True)
class Settled:
    """What a caller is told.

    Args:
        text: sentences with their citations, or that it is not in the documents.
        cited: numbers of the passages that the sentences were found in.
        why: None where the documents answer; else why not.
        quoted: whether it is the documents' own words and not the model's.
        problems: what is wrong with the model's sentences, each once.
    """

    text: str
    cited: tuple[int, ...] = ()
    why: Why | None = None
    quoted: bool = False
    problems: tuple[str, ...] = ()


def find_grounds(index: Searchable, messages: Sequence[dict[str, Any]], params: GroundedParams) -> Grounds:
    """Search for the last question of a conversation.

    Args:
        index: to search.
        messages: of the chat, at least one of a user.
        params: section `serve.grounded`.

    Raises:
        TransientError: the embedding model does not answer.
    """
    asked = [_text(message["content"]) for message in messages if message["role"] == "user"]
    question = asked[-1]
    whole = f"{asked[-2]}\n{question}" if len(question) < _FOLLOWS and len(asked) > 1 else question
    hits = index.search(whole, params.passages)
    found = any(index.is_found(hit, params.least_share) for hit in hits)
    lang = "en" if language_of(question) == "en" else "zh"
    return Grounds(question, lang, tuple(_fitting(hits, params.passage_characters)) if found else (), index)


def grounded_messages(grounds: Grounds, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a conversation whose last question comes with the passages found."""
    last = max(place for place, message in enumerate(messages) if message["role"] == "user")
    content = prompt_of(grounds.question, grounds.passages, grounds.lang)
    return [message | {"content": content} if place == last else message for place, message in enumerate(messages)]


def settle(grounds: Grounds, answer: str, params: GroundedParams, *, cut_off: bool = False) -> Settled:
    """Hold a model's answer to the passages and return what the caller is told.

    Args:
        grounds: what the model was shown.
        answer: what it said.
        params: section `serve.grounded`.
        cut_off: whether it was ended by its longest length: its last sentence may lack a word that matters.
    """
    said, _ = split_thinking(answer)
    plain = (said or "").strip()
    if plain and _SAYS_NOT_THERE.search(plain):
        return Settled(NOT_THERE[grounds.lang], why="said_by_model")
    held = held_to(plain, grounds.passages, params.least_agreement)
    problems = tuple(sorted({one.why for one in held if one.why}))
    if held and not problems and not cut_off:
        text = (" " if grounds.lang == "en" else "").join(_with_citation(one) for one in held)
        return Settled(text, tuple(dict.fromkeys(number for one in held for number in one.cited)))
    why: Why = "no_answer" if not held else "not_supported" if problems else "cut_off"
    if params.otherwise == "quote" and (quoted := _quoted(grounds)):
        return Settled(quoted, (1,), why, quoted=True, problems=problems)
    return Settled(NOT_THERE[grounds.lang], why=why, problems=problems)


def nothing_found(grounds: Grounds) -> Settled:
    """Return what a caller is told where no passage has to do with the question."""
    return Settled(NOT_THERE[grounds.lang], why="nothing_found")


def _quoted(grounds: Grounds) -> str:
    """Return the sentences of the best passage that have most of the question's words, as they stand there."""
    asked = set(words(grounds.question))
    pieces = pieces_of(grounds.passages[0])
    order = sorted(range(len(pieces)), key=lambda place: (-len(asked & set(words(pieces[place]))), place))
    chosen = sorted(order[:_MOST_QUOTED])
    return "\n".join(f"{_readable(pieces[place])} [1]" for place in chosen)


def _readable(piece: str) -> str:
    """Return a sentence as it is, and a table's row as its cells behind their heads."""
    head, _, row = piece.rpartition("\n")
    if not row.startswith("|"):
        return CITATION.sub("", piece).strip()
    cells, names = _cells(row), _cells(head)
    if len(names) != len(cells):
        return "，".join(cells)
    return "；".join(f"{name}：{cell}" for name, cell in zip(names, cells, strict=True))


def _cells(row: str) -> list[str]:
    """Return the cells of a row."""
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def _with_citation(one: Said) -> str:
    """Return a sentence with its passage's number before its stop."""
    stop = one.text[-1] if one.text[-1] in "。！？；.!?;" else ""
    body = one.text[: len(one.text) - len(stop)]
    return f"{body} {''.join(f'[{number}]' for number in one.cited)}{stop}"


def _fitting(hits: Sequence[Hit], characters: int) -> list[Hit]:
    """Return the first passages that fit together; the best one always."""
    kept: list[Hit] = []
    for hit in hits:
        if kept and sum(len(one.passage.text) for one in [*kept, hit]) > characters:
            break
        kept.append(hit)
    return kept


def _text(content: Any) -> str:
    """Return a message's text, of one string or of its parts."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)
