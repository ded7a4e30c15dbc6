"""What an author should know about a pack before it is believed: errors make it unusable, warnings bend its scores."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.chat.conversation import LANGUAGES
from tasks.core.settings import NearDuplicateParams
from tasks.data.matching.deduplicate import Fingerprinter, content_digests, near_duplicates, row_grams
from tasks.data.matching.eval_sets import offered
from tasks.data.matching.normalization import han_count, normalized_rows
from tasks.evaluation.own_pack.selfcheck import own_answer_problems
from tasks.exams.pack.reading import Pack, read_pack
from tasks.exams.pack.schema import DIFFICULTIES, KINDS, LETTERS, Item

ERROR, WARNING = "error", "warning"
#: Two questions this similar are one asked twice. Texts are shorter than rows: one clause changed leaves half of the
#: n-grams. Of the 352 items of the shipped pack no two share even 0.3.
NEAR_JACCARD = 0.45
#: An imbalance less likely than this by chance is reported.
CHANCE = 0.01


@dataclass(frozen=True)
class Finding:
    """One thing to mend or to know.

    Args:
        severity: error or warning.
        check: which check found it.
        where: file and line, or id of an item.
        message: in words.
    """

    severity: str
    check: str
    where: str
    message: str


def check_pack(folder: Path, params: NearDuplicateParams) -> tuple[Pack, list[Finding]]:
    """Return the usable part of a pack and everything to mend or know, except leaks (`leaks.find_leaks`).

    Args:
        folder: the pack.
        params: how texts are compared (section `prepare.near_duplicate`); the similarity itself is stricter here.

    Raises:
        ConfigError: the folder does not exist.
        DataContractError: pack.json is absent or no JSON object.
    """
    pack, problems = read_pack(folder)
    found = [Finding(ERROR, "schema", *_place_and_words(problem)) for problem in problems]
    items = all_items(pack)
    found += _duplicates(items, params)
    found += [Finding(severity, "own answer", item["id"], words) for item in items for severity, words in _own(item)]
    found += [*_languages(items), *_balance(pack)]
    return pack, found


def all_items(pack: Pack) -> list[Item]:
    """Return the items of all kinds, in the order of the kinds."""
    return [item for kind in KINDS for item in pack.items[kind]]


def asked_text(item: Item) -> str:
    """Return what an item asks, with what it offers to choose from: one stem with other options is another question."""
    return "\n".join((item["question"], *offered(item)))


def facts(pack: Pack, found: list[Finding]) -> dict[str, Any]:
    """Return the report of a check: counts of the pack and the findings."""
    items = all_items(pack)
    return {
        "name": pack.name,
        "version": pack.version,
        "schema": pack.schema,
        "items": len(items),
        "kinds": {kind: _counted(pack.items[kind], "lang", LANGUAGES) for kind in KINDS},
        "difficulty": _counted(items, "difficulty", DIFFICULTIES),
        "concepts": dict(sorted(Counter(item["concept"] for item in items if "concept" in item).items())),
        "answers": _counted(_lettered(pack), "answer", LETTERS),
        "errors": sum(finding.severity == ERROR for finding in found),
        "warnings": sum(finding.severity == WARNING for finding in found),
        "findings": [asdict(finding) for finding in found],
    }


def _place_and_words(problem: str) -> tuple[str, str]:
    """Return file and line of a loader's problem, and the rest."""
    place, _, words = problem.partition(": ")
    return (place, words) if words else ("", problem)


def _counted(items: list[Item], name: str, values: tuple[str, ...]) -> dict[str, int]:
    """Return how many items have each value of a field."""
    counts = Counter(item.get(name) for item in items)
    return {value: counts[value] for value in values}


def _own(item: Item) -> Iterator[tuple[str, str]]:
    """Yield what an item's own answer shows about it."""
    errors, warnings = own_answer_problems(item)
    yield from ((ERROR, words) for words in errors)
    yield from ((WARNING, words) for words in warnings)


def _duplicates(items: list[Item], params: NearDuplicateParams) -> list[Finding]:
    """Return items that ask the same as an earlier one, word for word or nearly."""
    if not items:
        return []
    rows = normalized_rows([[{"role": "user", "content": asked_text(item)}] for item in items])
    first: dict[bytes, int] = {}
    twins: dict[int, int] = {}
    for number, digest in enumerate(content_digests(rows)):
        if (earlier := first.setdefault(digest.tobytes(), number)) != number:
            twins[number] = earlier
    found = [
        Finding(ERROR, "duplicates", items[number]["id"], f"asks the same as {items[earlier]['id']}")
        for number, earlier in twins.items()
    ]
    params = params.model_copy(update={"jaccard": NEAR_JACCARD})
    languages = [item["lang"] for item in items]
    bands = Fingerprinter(params).bands(rows, languages)
    grams = row_grams(rows, languages, params)
    order = np.array([number for number in range(len(items)) if number not in twins])
    for number, earlier, share in near_duplicates(bands, order, lambda some: [grams[one] for one in some], params):
        words = f"asks nearly the same as {items[earlier]['id']}: {share:.0%} of their n-grams are shared"
        found.append(Finding(WARNING, "near duplicates", items[number]["id"], words))
    return found


def _languages(items: list[Item]) -> list[Finding]:
    """Return items whose question is not in the language they say; a Chinese one may be mostly units and names."""
    spoken = ["zh" if han_count(item["question"]) else "en" for item in items]
    return [
        Finding(WARNING, "languages", item["id"], f"says lang {item['lang']}, its question reads as {language}")
        for item, language in zip(items, spoken, strict=True)
        if language != item["lang"]
    ]


def _lettered(pack: Pack) -> list[Item]:
    """Return the items answered by a letter."""
    return [item for kind in ("choice", "thinking") for item in pack.items[kind] if "choices" in item]


def _balance(pack: Pack) -> list[Finding]:
    """Return whether a letter, or the longest option, is right more often than chance has it."""
    from scipy.stats import binomtest, chisquare

    items = _lettered(pack)
    if not items:
        return []
    found = []
    counts = _counted(items, "answer", LETTERS)
    if chisquare(list(counts.values())).pvalue < CHANCE:
        shown = ", ".join(f"{letter} {count}" for letter, count in counts.items())
        found.append(Finding(WARNING, "answer position", "", f"right answers are not spread evenly: {shown}"))
    longest = sum(_answer_is_longest(item) for item in items)
    if binomtest(longest, len(items), 1 / len(LETTERS), alternative="greater").pvalue < CHANCE:
        words = f"the longest option is the right one in {longest} of {len(items)} items: a guess by length pays"
        found.append(Finding(WARNING, "answer length", "", words))
    return found


def _answer_is_longest(item: Item) -> bool:
    """Tell whether the right option is longer than every other one."""
    right = len(item["choices"][item["answer"]])
    return all(len(text) < right for letter, text in item["choices"].items() if letter != item["answer"])
