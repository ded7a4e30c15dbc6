"""The screen leaves out no pattern that matches, so with it and without it the same is found."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.files import read_jsonl
from tasks.data.privacy import addresses, chinese_names, english_names, structured
from tasks.data.privacy.finder import Finder
from tasks.data.privacy.hints import Clues, with_colons
from tasks.data.privacy.screen import Likely, Screen, without_neighbours
from tasks.data.privacy.spans import ALL_TYPES, PUBLIC_PERSON

ROOT = Path(__file__).resolve().parents[4]
TYPES = frozenset((*ALL_TYPES, PUBLIC_PERSON))
PATTERNS = {
    **structured.screened(TYPES),
    **addresses.ADDRESSES,
    **chinese_names.screened(),
    **english_names.ENGLISH_NAMES,
}
LABELLED = ROOT / "tests" / "benchmarks" / "labelled"
#: Every seventh of them: a second in all.
SETS = ("privacy", "engineering", "second", "third")
TEXTS = [row["text"] for name in SETS for row in read_jsonl(LABELLED / f"{name}.jsonl")][::7]
PIECES = [
    "张伟", "欧阳修", "13812345678", "文三路138号3幢2单元501室", "Dear Mabel", " van Gogh", "J. R. Whitlock", "::1",
    "12:30:45", "QQ 123456", "微信号：abc_12", "护照E12345678", "91330106MA27XJ9C0X", "30.1234, 120.5678", "李主任",
    "張工", "·", "号樓", "\n", " ", "，", "1", "A", ".", "-", "[MOBILE]", "\x1a", "扎西平措", "4242 4242 4242 4242",
    "12 Elm Street, Boston", "邮编 310000",
]  # fmt: skip


class Everything:
    """A screen that says of every pattern that it may match."""

    def likely(self, text: str) -> Likely:
        return frozenset(PATTERNS)


@pytest.fixture(scope="module")
def finders() -> tuple[Finder, Finder]:
    screened, whole = Finder(tuple(TYPES), ("秦山核电厂",)), Finder(tuple(TYPES), ("秦山核电厂",))
    whole._screen = Everything()  # type: ignore[assignment]
    return screened, whole


@pytest.fixture(scope="module")
def screen() -> Screen:
    return Screen(PATTERNS)


def test_with_the_screen_and_without_it_the_same_is_found(finders):
    screened, whole = finders
    found = [whole.find(text) for text in TEXTS]
    assert [screened.find(text) for text in TEXTS] == found
    assert {span.type for spans in found for span in spans} > {"mobile", "address", "person_name", "email"}


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@settings(max_examples=300, deadline=None)
def test_of_anything_put_together_the_same_is_found(finders, text):
    screened, whole = finders
    assert screened.find(text) == whole.find(text)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_that_matches_is_likely(screen, name):
    """Shown on the pattern itself, not on what its finder makes of it."""
    pattern = re.compile(PATTERNS[name])
    matching = [text for text in (*TEXTS[::3], *PIECES) if pattern.search(text)]
    assert all(name in screen.likely(text) for text in matching)


def test_a_screen_that_leaves_one_out_is_seen(finders):
    """The planted fault: without the pattern of mobile numbers nobody looks for them."""
    screened, whole = finders
    blind = Finder(tuple(TYPES))
    blind._screen = Screen({name: pattern for name, pattern in PATTERNS.items() if not name.startswith("mobile")})
    assert (
        blind.find("请拨打13812345678。") != whole.find("请拨打13812345678。") == screened.find("请拨打13812345678。")
    )


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(?<![0-9])\d{3}(?!\d)", "电话１２３"[2:]),
        (r"\d{2}", "٣٤"),
        (r"(?<=[A-Z])x|y(?=号)", "y号"),
        (r"a{1,64}@", "aaaaaaaaaaaa@"),
        (r"x(?=(\d{2})(?!3))", "x12"),
        (r"\bcall\b[^\n]*?$", "call 我\n"),
        (r"(?>ab|a)\s", "ab\u3000"),
        ("[\\u4e00-\\u4fff]++路", "三路"),
    ],
)
def test_without_neighbours_a_pattern_stands_wherever_it_matched(pattern, text):
    assert re.search(pattern, text)
    assert "pattern" in Screen({"pattern": pattern}).likely(text)


def test_what_is_unknown_is_refused():
    with pytest.raises(ValueError, match=r"\\D"):
        without_neighbours(r"\D+")


@pytest.mark.parametrize("text", ["半个字\ud800", "1" * 20_001])
def test_where_nothing_is_known_everything_is_likely(screen, text):
    assert screen.likely(text) == frozenset(PATTERNS)


def test_where_re2_gives_up_everything_is_likely(monkeypatch):
    """RE2 says that nothing matches where its memory ends, not even what always does."""

    class GivenUp:
        def Match(self, text: bytes) -> None:
            return None

    screen = Screen({"号": "号"})
    assert screen.likely("路") == {"canary"}
    monkeypatch.setattr(screen, "_set", GivenUp())
    assert screen.likely("路") == {"号"}


@given(st.text("0aF:.中 g", max_size=40))
@settings(max_examples=300, deadline=None)
def test_colons_are_looked_for_around_colons_alone(text):
    """An address in eight numbers is found in its parts of a text as in the whole of it."""
    (pattern,) = (one.pattern for one in structured.RECOGNIZERS if one.hint is with_colons)
    found = [match.span() for start, end in with_colons(Clues(text)) for match in pattern.finditer(text, start, end)]
    assert found == ([match.span() for match in pattern.finditer(text)] if with_colons(Clues(text)) else [])
