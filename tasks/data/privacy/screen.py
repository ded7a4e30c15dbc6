"""Which of many patterns can stand in a text at all, told by RE2 in one pass over it.

Most rows hold nothing of most types, and to find that out pattern by pattern cost more than all else that is done to
them. RE2 knows no neighbours (`(?<!...)`, `(?!...)`), so it gets each pattern without what it asks of these: where even
that stands nowhere, the pattern itself matches nowhere. What may match is then asked of Python's own engine, so the
answer is always Python's.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

#: States RE2 may remember, a process; the shipped patterns take a quarter of it on a million rows.
_MEMORY: Final = 64 << 20
#: Characters of a text that are looked through: what never stood in a text before takes RE2 longer than Python, 4 us a
#: character of random digits, and nobody may hold up the audit log with these.
_LONGEST: Final = 20_000
#: A pattern that stands in every text: where it is missing, RE2 has given up, and all may match.
_CANARY: Final = "canary"
#: Counts beyond this are not counted: `{1,64}` is `+`, which matches more.
_MOST_COUNTED: Final = 8

_PIECE = re.compile(
    r"(?P<class>\[\^?(?:\\.|[^\]\\])+\])|(?P<open>\(\?(?:[:>=!]|<[=!])|\()|(?P<close>\))"
    r"|(?P<count>\{(\d+)(,?)(\d*)\}[?+]?|[*+?][?+]?)|(?P<escape>\\.)|(?P<other>.)",
    re.DOTALL,
)
_CODE_POINT = re.compile(r"\\u([0-9a-f]{4})")
#: What Python means by its classes of characters, and more.
_UNICODE: Final = {r"\d": r"\p{Nd}", r"\s": r"\s\x0b\x1c-\x1f\x{85}\p{Z}", r"\w": r"\p{L}\p{M}\p{N}_"}
_BORDERS: Final = (r"\b", r"\A", r"\Z", "^")


#: Names of patterns that may match a text.
Likely = frozenset[str]


class Screen:
    """Says which patterns may match a text.

    Args:
        patterns: name to pattern.
    """

    def __init__(self, patterns: Mapping[str, str]) -> None:
        import re2

        options = re2.Options()
        options.max_mem = _MEMORY
        options.log_errors = False
        self._set = re2.Set.SearchSet(options)
        self._names = (_CANARY, *patterns)
        self._known: dict[tuple[int, ...], frozenset[str]] = {}
        self._everything = frozenset(patterns)
        self._set.Add("")
        for pattern in patterns.values():
            self._set.Add(without_neighbours(pattern))
        self._set.Compile()

    def likely(self, text: str) -> Likely:
        """Return the names of the patterns that may match; all of them where RE2 cannot tell, or not fast."""
        if len(text) > _LONGEST:
            return self._everything
        try:
            found = tuple(sorted(self._set.Match(text.encode()) or ()))
        except UnicodeEncodeError:  # half a surrogate pair is no UTF-8
            return self._everything
        if not found or found[0]:
            return self._everything
        if found not in self._known:
            self._known[found] = frozenset(self._names[place] for place in found)
        return self._known[found]


def without_neighbours(pattern: str) -> str:
    """Return a pattern in RE2's language that stands wherever a Python pattern matches, and in more places.

    Lookarounds and borders are left out, a lookahead at the end is a part of the pattern, long counts are open.

    Raises:
        ValueError: the pattern has something that is not known here.
    """
    written_out = _CODE_POINT.sub(lambda escape: chr(int(escape[1], 16)), pattern)
    return "".join(_translated(list(_PIECE.finditer(written_out))))


def _translated(pieces: list[re.Match[str]]) -> Iterator[str]:
    """Yield the pieces of a pattern as RE2 takes them."""
    place = 0
    if len(pieces) > 3 and pieces[0][0] == "(?<!" and pieces[1].lastgroup == "class" and pieces[2][0] == ")":
        # What stands before a match is seen even where only a part of a text is searched; what stands behind is not.
        yield rf"(?:\A|[^{_with_unicode(pieces[1][0][1:])})"
        place = 3
    while place < len(pieces):
        piece = pieces[place]
        text, kind = piece[0], piece.lastgroup
        place += 1
        if text in ("(?!", "(?<!", "(?<=") or (text == "(?=" and not _ends(pieces, place)):
            place = _behind(pieces, place)
            # What is left out leaves nothing to count.
            yield "(?:)"
        elif kind == "open":
            yield "(?:"
        elif kind == "class":
            yield _with_unicode(text)
        elif piece["count"]:
            yield _count(piece)
        elif text in _UNICODE:
            yield f"[{_UNICODE[text]}]"
        elif text in _BORDERS:
            yield "(?:)"
        elif text == "$":
            yield r"(?:\n?\z)"
        elif kind == "escape" and text[1].isalnum() and text not in (r"\n", r"\t"):
            raise ValueError(f"a screen knows no {text}")
        else:
            yield text


def _with_unicode(text: str) -> str:
    """Return a class of characters with Python's meaning of the classes in it."""
    for short, whole in _UNICODE.items():
        text = text.replace(short, whole)
    return text


def _count(piece: re.Match[str]) -> str:
    """Return a count, open where it is long; RE2 needs no hint how to look for it."""
    count = piece["count"]
    if count[0] != "{":
        return count[0]
    least, comma, most = piece[5], piece[6], piece[7]
    if comma and (not most or int(most) > _MOST_COUNTED):
        return f"{{{least},}}"
    return f"{{{least}{comma}{most}}}"


def _behind(pieces: list[re.Match[str]], place: int) -> int:
    """Return the place behind the group that is open."""
    depth = 1
    while depth:
        depth += {"open": 1, "close": -1}.get(pieces[place].lastgroup or "", 0)
        place += 1
    return place


def _ends(pieces: list[re.Match[str]], place: int) -> bool:
    """Tell whether nothing but lookaheads and the ends of groups follows the group that is open."""
    place = _behind(pieces, place)
    while place < len(pieces):
        if pieces[place][0] in ("(?!", "(?="):
            place = _behind(pieces, place + 1)
        elif pieces[place].lastgroup == "close":
            place += 1
        else:
            return False
    return True
