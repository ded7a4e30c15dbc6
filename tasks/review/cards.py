"""What a reviewer reads: an answer of an evaluated run beside what the pack says is right; its hop is hidden."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tasks.core.digest import sha256_file, sha256_json
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, read_jsonl, replaced_directory, write_json, write_jsonl
from tasks.evaluation.pack.prompts import prompt_of
from tasks.exams.pack.reading import Pack
from tasks.exams.pack.schema import SUITES, key_point_forms, pack_item_id

CARDS, ABOUT = "cards.jsonl", "review.json"
#: Suites whose answers are written out: there is something to read.
READ: Final = tuple(suite.name for suite in SUITES if suite.answer == "generation")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_ID_CHARACTERS = 16


@dataclass(frozen=True)
class Card:
    """One answer to be marked.

    Args:
        card_id: names it without saying which hop it is of.
        suite: of the evaluation.
        item_id: of the sample.
        lang: zh or en.
        question: as the model was asked.
        answer: as the model wrote it, thoughts aside.
        right: what the pack holds for right, by name (reference, value, order, ...).
        points: the key points, each as one text; empty where the kind has none.
        automatic: what the scorer said: `points` (a truth value each) and `right` (None for key points).
        hops: those that gave this very answer.
    """

    card_id: str
    suite: str
    item_id: str
    lang: str
    question: str
    answer: str
    right: dict[str, str]
    points: list[str]
    automatic: dict[str, Any]
    hops: list[str]


def draw(reports: Mapping[str, Path], pack: Pack, *, items: int, seed: int, suites: Sequence[str] = READ) -> list[Card]:
    """Return the answers of sampled items: the same items of every hop, equal answers of several hops once.

    Args:
        reports: hop -> folder of its evaluation.
        pack: what was asked.
        items: of each suite.
        seed: decides which, and their order.
        suites: names of suites whose answers are written out.

    Raises:
        DataContractError: no hop has a written answer, or an answered item is not in the pack.
    """
    known = {item["id"]: item for kind in pack.items.values() for item in kind}
    answers: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for hop, folder in reports.items():
        for row in read_jsonl(folder / "samples.jsonl"):
            if row["suite"] in suites and "text" in row["detail"]:
                answers[row["suite"], row["item_id"]][hop] = row
    # A hop that was not asked the suites (the adapter, where it is only asked what shows the merge) is none here.
    hops = {hop for rows in answers.values() for hop in rows}
    whole = [key for key, rows in answers.items() if set(rows) == hops]
    if not whole:
        raise DataContractError("no evaluated answer to read: no hop has written answers", "tunegate run")
    chosen: list[tuple[str, str]] = []
    for suite in suites:
        of_suite = [key for key in whole if key[0] == suite]
        chosen += sorted(of_suite, key=lambda key: sha256_json([seed, *key]))[:items]
    cards = [card for key in chosen for card in _cards(key, answers[key], known)]
    return sorted(cards, key=lambda card: sha256_json([seed, card.card_id]))


def _cards(key: tuple[str, str], rows: Mapping[str, dict[str, Any]], known: Mapping[str, Any]) -> Iterator[Card]:
    """Yield one item's answers, equal ones once."""
    suite, item_id = key
    if (item := known.get(pack_item_id(item_id))) is None:
        raise DataContractError(
            f"item {item_id} of {suite} is not in the pack: it has changed since the evaluation", "tunegate run"
        )
    by_text: dict[str, list[str]] = defaultdict(list)
    for hop in sorted(rows):
        by_text[rows[hop]["detail"]["text"]].append(hop)
    for text, hops in by_text.items():
        row = rows[hops[0]]
        points = [" / ".join(key_point_forms(point) or ()) for point in item.get("key_points", ())]
        automatic = {
            "points": row["detail"].get("points", [False] * len(points)),
            "right": None if points else row["value"] == 1.0,
        }
        digest = sha256_json([suite, item_id, text])[:_ID_CHARACTERS]
        yield Card(f"c-{digest}", suite, item_id, item["lang"], prompt_of(item), text, _right(item), points, automatic,
                   hops)  # fmt: skip


def _right(item: dict[str, Any]) -> dict[str, str]:
    """Return what the pack holds for right, as a person reads it."""
    found = {name: str(item[name]) for name in ("reference", "safe_answer", "source", "concept") if item.get(name)}
    if "value" in item:
        value = item["value"]
        number = " ~ ".join(map(str, value)) if isinstance(value, list) else str(value)
        found["value"] = f"{number} {item['unit']}".strip()
    if "choices" in item:
        found["choice"] = f"{item['answer']}. {item['choices'][item['answer']]}"
    if "steps" in item:
        found["order"] = " > ".join(item["steps"])
    if item.get("forbidden"):
        found["forbidden"] = "; ".join(item["forbidden"])
    return found


def write_review(
    folder: Path, reports: Mapping[str, Path], pack: Pack, *, items: int, seed: int, suites: Sequence[str] = READ
) -> dict[str, Any]:
    """Draw the cards of a review and write them; return what is known of it.

    Args:
        folder: its last part is the review's name; must not be there.
        reports: hop -> folder of its evaluation.
        pack: what was asked.
        items: of each suite.
        seed: decides which, and their order.
        suites: names of suites.

    Raises:
        ConfigError: a name that is none, or one that is taken.
        DataContractError: as `draw`.
    """
    require_name(folder.name)
    if folder.exists():
        raise ConfigError(f"there is a review {folder.name} already: {folder}", "take another name: --name NAME")
    cards = draw(reports, pack, items=items, seed=seed, suites=suites)
    hops = sorted({hop for card in cards for hop in card.hops})
    about = {
        "schema": 1,
        "name": folder.name,
        "seed": seed,
        "items_of_each_suite": items,
        "hops": hops,
        "lineages": {hop: read_json(reports[hop] / "results.json")["model_lineage_id"] for hop in hops},
        "samples_sha256": {hop: sha256_file(reports[hop] / "samples.jsonl") for hop in hops},
        "pack": {"name": pack.name, "version": pack.version},
        "cards": len(cards),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replaced_directory(folder) as partial:
        write_jsonl(partial / CARDS, [asdict(card) for card in cards])
        write_json(partial / ABOUT, about | {"cards_sha256": sha256_file(partial / CARDS)})
    return about


def require_name(name: str) -> str:
    """Return the name of a review.

    Raises:
        ConfigError: it is none.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"`{name}` is no name of a review", "small letters, digits and -, at most 32")
    return name


def read_cards(folder: Path) -> list[Card]:
    """Return the cards of a review, in order.

    Raises:
        ConfigError: there is no such review.
        DataContractError: its cards are not those that were drawn: marks on them would be marks of something else.
    """
    if not (folder / ABOUT).is_file():
        raise ConfigError(f"there is no review in {folder}", f"tunegate review draw --name {folder.name}")
    if sha256_file(folder / CARDS) != read_json(folder / ABOUT)["cards_sha256"]:
        raise DataContractError(f"{folder / CARDS} is not what was drawn", "restore it, or draw another review")
    return [Card(**row) for row in read_jsonl(folder / CARDS)]
