"""Organisations and facilities from a list the user gives: the only names of these that are known to be secret."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tasks.core.errors import ConfigError
from tasks.data.privacy.spans import Span, half_width

Tree = dict[str, "Tree"]

_WORD_START, _WORD_END = "\x02", "\x03"
_ONE = {" ": r"\s+", _WORD_START: r"(?<![0-9A-Za-z])", _WORD_END: r"(?![0-9A-Za-z])"}


def read_organisations(path: Path) -> tuple[str, ...]:
    """Return the names in a UTF-8 file, one a line; blank lines and lines that begin with `#` are skipped.

    Raises:
        ConfigError: the file cannot be read, is no UTF-8 text, names nothing, or names something of one character.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        reason = "not UTF-8 text" if isinstance(problem, UnicodeDecodeError) else problem.strerror
        raise ConfigError(
            f"prepare.privacy.organisations: cannot read {path}: {reason}", "mend the path or the file in params.yaml"
        ) from problem
    names = tuple(dict.fromkeys(name for line in lines if (name := line.strip()) and not name.startswith("#")))
    short = [number for number, line in enumerate(lines, 1) if len(line.strip()) == 1 and line.strip() != "#"]
    if short or not names:
        what = f"line {short[0]} is one character, which stands in every text" if short else "no name in it"
        raise ConfigError(f"prepare.privacy.organisations: {path}: {what}", "one name a line, two characters or more")
    return names


class OrganisationFinder:
    """Finds the listed names, the longest first, whatever their width, case and spaces."""

    def __init__(self, names: Sequence[str]) -> None:
        self._pattern = re.compile(_either(_form(name) for name in names), re.IGNORECASE) if names else None

    def find(self, plain: str) -> Iterator[Span]:
        """Yield the listed names in readable text."""
        if self._pattern is None:
            return
        for match in self._pattern.finditer(plain):
            yield Span(match.start(), match.end(), "organisation")


def _form(name: str) -> str:
    """Return a name as the pattern compares it: half-width, single spaces, its Latin ends marked as word borders."""
    plain = " ".join(half_width(name).split())
    start = _WORD_START if _is_latin(plain[0]) else ""
    return start + plain + (_WORD_END if _is_latin(plain[-1]) else "")


def _is_latin(character: str) -> bool:
    """Tell whether a word could go on with this character: Chinese characters hide no border."""
    return character.isascii() and character.isalnum()


def _either(names: Iterable[str]) -> str:
    """Return a pattern for any of the names as a tree of their beginnings, so that its speed is not their number's."""
    tree: Tree = {}
    for name in names:
        node = tree
        for character in name:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branch(tree)


def _branch(tree: Tree) -> str:
    """Return the pattern of one node; longer names before the shorter ones they begin with."""
    pieces = [_ONE.get(first, re.escape(first)) + _branch(below) for first, below in tree.items() if first]
    if not pieces:
        return ""
    body = pieces[0] if len(pieces) == 1 and "" not in tree else f"(?:{'|'.join(pieces)})"
    return f"{body}?" if "" in tree else body
