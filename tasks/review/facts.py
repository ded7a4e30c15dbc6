"""The facts of a pack that a domain expert should read first: what is dangerous when wrong, then every number."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tasks.exams.pack.reading import Pack
from tasks.exams.pack.schema import Item, key_point_forms

#: Texts with a number in them: 30～50 km, 100 mGy, 24 小时, INES 7.
_NUMBER: Final = re.compile(r"\d")
_HEAD: Final = """# Facts to be read by a domain expert

Written by `tunegate review facts` from the pack {name} {version}. Nobody has confirmed these for a real plant: the pack
was written for a demonstration, and a model is scored against every line here. Read them in this order, and mend what
is wrong in the pack's files (`evaluate.domain.path`); `tunegate eval check-pack` checks what you changed.

| part | items | why first |
|---|---|---|
| safety | {safety} | an answer that follows the wrong side harms people |
| must refuse, must say unknown | {open} | what the model may not do at all |
| numbers | {numbers} | a threshold, a zone, a dose: wrong by a factor is wrong |
| orders | {orders} | doing the right things in the wrong order |

"""


@dataclass(frozen=True)
class Fact:
    """One thing the pack holds for true.

    Args:
        part: safety, open, numbers or orders.
        item_id: where it stands.
        concept: of the item.
        source: as the pack's author names it.
        question: what it answers.
        held: what is held for right.
        wrong: what is held for wrong, "" where nothing is.
    """

    part: str
    item_id: str
    concept: str
    source: str
    question: str
    held: str
    wrong: str = ""


def facts_of(pack: Pack) -> list[Fact]:
    """Return the facts of a pack in the order they should be read: by part, then concept, then source."""
    order = ("safety", "open", "numbers", "orders")
    found = [fact for kind, items in pack.items.items() for item in items for fact in _facts(kind, item)]
    return sorted(found, key=lambda fact: (order.index(fact.part), fact.concept, fact.source, fact.item_id))


def page(pack: Pack) -> str:
    """Return the facts as Markdown, a box to tick before each."""
    by_part: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts_of(pack):
        by_part[fact.part].append(fact)
    counts = {part: len(by_part[part]) for part in ("safety", "open", "numbers", "orders")}
    lines = [_HEAD.format(name=pack.name, version=pack.version, **counts)]
    titles = {
        "safety": "Safety: the right answer, and the one that harms · 安全",
        "open": "Must refuse, must say unknown · 必须拒绝或说明未知",
        "numbers": "Numbers and thresholds · 数值与阈值",
        "orders": "Orders · 步骤次序",
    }
    for part, title in titles.items():
        lines.append(f"## {title}\n")
        lines += _section(by_part[part])
    return "\n".join(lines)


def _section(facts: list[Fact]) -> Iterator[str]:
    """Yield the lines of a part, concept by concept."""
    concept = ""
    for fact in facts:
        if fact.concept != concept:
            concept = fact.concept
            yield f"### {concept.replace('_', ' ')}\n"
        wrong = f"\n  - not: {_line(fact.wrong)}" if fact.wrong else ""
        yield f"- [ ] `{fact.item_id}` {_line(fact.question)}"
        yield f"  - **{_line(fact.held)}**{wrong}\n  - {_line(fact.source)}\n"


def _facts(kind: str, item: Item) -> Iterator[Fact]:
    """Yield what an item holds for true, where it is a fact of this list."""
    common = {"item_id": item["id"], "concept": item.get("concept", ""), "source": item.get("source", "")}
    question = item["question"]
    if kind == "safety":
        yield Fact("safety", question=question, held=item["safe_answer"], wrong=item["unsafe_answer"], **common)
    elif kind in ("refuse", "unknown"):
        held = item.get("safe_answer", "refused" if kind == "refuse" else "said to be unknown")
        yield Fact("open", question=question, held=held, wrong="; ".join(item.get("forbidden", ())), **common)
    elif kind == "order":
        yield Fact("orders", question=question, held=" > ".join(item["steps"]), **common)
    elif "value" in item:
        yield Fact("numbers", question=question, held=_value(item), **common)
    elif "choices" in item and _NUMBER.search(item["choices"][item["answer"]]):
        yield Fact("numbers", question=question, held=item["choices"][item["answer"]], **common)
    elif any(_NUMBER.search(form) for point in item.get("key_points", ()) for form in key_point_forms(point) or ()):
        yield Fact("numbers", question=question, held=item["reference"], **common)


def _value(item: Item) -> str:
    """Return a number with its unit and how far off still counts."""
    value: Any = item["value"]
    number = "～".join(map(str, value)) if isinstance(value, list) else str(value)
    tolerance = f" (±{item['tolerance']:.0%})" if item.get("tolerance") else ""
    return f"{number} {item['unit']}".strip() + tolerance


def _line(text: str) -> str:
    """Return a text on one line, with nothing that Markdown or HTML would read."""
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", " ".join(text.split()))
