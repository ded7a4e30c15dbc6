"""The shipped word files are what their makers write, as far as that can be told without the makers' sources."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.data.privacy import lexicon, make_lexicon, make_names, make_public_names, name_model, name_sources
from tasks.data.privacy.surnames import COMPOUND, MIXED, PURE


def shipped(path: Path) -> dict[str, Any]:
    """Return a file's content, and hold it to the layout its maker gives it."""
    text = path.read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    layout: dict[str, Any] = {"separators": (",", ":")} if path == make_names.OUTPUT else {"indent": 0}
    assert text == json.dumps(content, ensure_ascii=False, **layout) + "\n"
    return content


def test_the_lexicon_holds_what_its_maker_looks_up_and_nothing_else() -> None:
    content = shipped(make_lexicon.OUTPUT)
    assert list(content) == ["wordlike", "last", "latin", "words"]
    surnames = PURE | MIXED | {surname[0] for surname in COMPOUND.split("|")}
    assert {word[1] for word in lexicon.words()} <= surnames
    taken = {word for word in make_lexicon.TAKEN_FOR_NAMES if len(word) == 2 and word[1] in PURE | MIXED}
    assert taken <= lexicon.words()


def test_latin_names_are_parted_by_the_makers_words() -> None:
    given, wordlike, last = (
        lexicon.latin_given_names(), lexicon.wordlike_given_names(), lexicon.latin_last_names()
    )  # fmt: skip
    assert given.isdisjoint(make_lexicon._WORDS)
    assert {name for name in make_lexicon._WORLD - make_lexicon._WORDS if len(name) > 2} <= given
    assert make_lexicon._WORLD & make_lexicon._WORDS <= wordlike <= make_lexicon._WORDS
    assert last.isdisjoint(make_lexicon._LAST_WORDS)


def test_the_model_has_the_limits_and_words_its_maker_gives_it() -> None:
    content = shipped(make_names.OUTPUT)
    assert list(content) == ["bias", "limits", "traditional", "simplified", "weights", "words"]
    assert name_model.model().limits == make_names.LIMITS
    assert set(content["weights"]) <= set(name_model.FAMILIES)
    known = {word for words in content["words"].values() for word in words.split()}
    fit = {word for word in make_lexicon.TAKEN_FOR_NAMES if name_sources.touches_a_name(word)}
    assert fit <= known
    assert all(map(name_sources.touches_a_name, known))


@pytest.mark.parametrize("group", ["prominent", "others"])
def test_public_names_are_sorted_whole_names(group: str) -> None:
    names = shipped(make_public_names.OUTPUT)[group].split()
    assert names == sorted(set(names))
    assert min(map(len, names)) >= 2
