"""What a pack may hold: its kinds of questions, the suites they become, and what makes an item unusable.

README.md beside this file tells it to authors.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.chat.conversation import LANGUAGES
from tasks.exams.pack.quantities import unit_named
from tasks.exams.schema import LETTERS

SCHEMA = 2
DIFFICULTIES = ("easy", "medium", "hard")
#: Items of order show at most so many steps: one letter each.
STEPS = range(3, 9)
TOLERANCE = 0.02
#: Parts of an item's id in samples.jsonl: what stands before it is the id in the pack.
WAY = ":"

Item = dict[str, Any]

_ID = re.compile(r"[\w.-]+", re.ASCII)
_CONCEPT = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Suite:
    """One way a kind of question is asked and scored.

    Args:
        name: in results.json.
        kind: of the pack's items.
        metric: what a sample's value is: accuracy (0 or 1), share (0 to 1) or bits_per_byte.
        answer: loglikelihood or generation.
        harness_metric: lm-eval's name of the value; empty where the answer is generated.
        version: raised when prompts or scoring change: results of different versions must not be compared.
    """

    name: str
    kind: str
    metric: str
    answer: str
    harness_metric: str = ""
    version: int = 2


SUITES = (
    Suite("domain_choice", "choice", "accuracy", "loglikelihood", "acc"),
    Suite("domain_short", "short", "bits_per_byte", "loglikelihood", "bits_per_byte"),
    Suite("domain_keypoints", "short", "share", "generation"),
    Suite("domain_numeric", "numeric", "accuracy", "generation"),
    Suite("domain_order", "order", "accuracy", "generation"),
    Suite("safety", "safety", "accuracy", "loglikelihood", "acc_bytes"),
    Suite("safety_refuse", "refuse", "accuracy", "generation"),
    Suite("safety_unknown", "unknown", "accuracy", "generation"),
    Suite("domain_thinking", "thinking", "accuracy", "generation"),
)

#: Fields of every item, and of each kind beside them.
COMMON = ("id", "kind", "lang", "concept", "source", "difficulty", "question")
FIELDS = {
    "choice": ("choices", "answer"),
    "short": ("reference", "key_points"),
    "numeric": ("value", "unit"),
    "order": ("steps",),
    "safety": ("hazard", "safe_answer", "unsafe_answer"),
    "refuse": ("forbidden",),
    "unknown": ("forbidden",),
    "thinking": (),
}
OPTIONAL = {"numeric": ("tolerance",), "refuse": ("safe_answer", "markers"), "unknown": ("safe_answer", "markers")}
KINDS = tuple(FIELDS)

#: The first schema asked for these only.
FIRST_COMMON = ("id", "lang", "question")
FIRST_FIELDS = {
    "choice": ("choices", "answer"),
    "short": ("reference",),
    "safety": ("safe_answer", "unsafe_answer", "hazard"),
}


def suite_named(name: str) -> Suite:
    """Return a suite of the pack by its name.

    Raises:
        KeyError: the pack has no such suite.
    """
    return next((suite for suite in SUITES if suite.name == name), None) or _unknown(name)


def pack_item_id(sample_id: str) -> str:
    """Return the id in the pack of a sample's item id: an item asked in two ways has one sample for each."""
    return sample_id.partition(WAY)[0]


def item_problems(kind: str, item: Any, schema: int = SCHEMA) -> list[str]:
    """Return what makes an item unusable, in words; empty when it is usable.

    Args:
        kind: the kind of its file.
        item: the value of its line.
        schema: of its pack.
    """
    if not isinstance(item, dict):
        return ["not a JSON object"]
    needed = (*COMMON, *FIELDS[kind]) if schema >= SCHEMA else (*FIRST_COMMON, *FIRST_FIELDS[kind])
    missing = [name for name in needed if _is_blank(item.get(name), name)]
    if missing:
        return [f"no {', '.join(missing)}"]
    if schema >= SCHEMA:
        return [*_common_problems(kind, item), *_CHECKS[kind](item)]
    return [*_lang_problems(item), *_texts(item, "question"), *_first_problems(kind, item)]


def key_point_forms(point: Any) -> list[str] | None:
    """Return the forms of a key point, any of which counts; None if it is not one."""
    forms = [point] if isinstance(point, str) else point.get("any") if isinstance(point, dict) else None
    usable = isinstance(forms, list) and forms and all(isinstance(form, str) and form.strip() for form in forms)
    return forms if usable else None


def _unknown(name: str) -> Suite:
    """Refuse a name that is no suite."""
    raise KeyError(f"no suite {name} in a pack")


def _is_blank(value: Any, name: str) -> bool:
    """Tell whether a field says nothing; a unit may be empty (a bare number) and a value may be zero."""
    if name == "unit":
        return value is None
    return value in (None, "", [], {}) or (isinstance(value, str) and not value.strip())


def _common_problems(kind: str, item: Item) -> list[str]:
    """Return what is wrong with the fields every item has."""
    problems = [*_lang_problems(item), *_texts(item, "id", "kind", "concept", "source", "question")]
    if problems:
        return problems
    known = {*COMMON, *FIELDS[kind], *OPTIONAL.get(kind, ())}
    known |= {"choices", "answer", "value", "unit", "tolerance"} if kind == "thinking" else set()
    if unknown := sorted(set(item) - known):
        problems.append(f"unknown field {', '.join(unknown)}")
    if item["kind"] != kind:
        problems.append(f"kind is {item['kind']!r}, but this file holds {kind}")
    if not _ID.fullmatch(item["id"]):
        problems.append(f"id {item['id']!r} has other characters than letters, digits, - _ .")
    if not _CONCEPT.fullmatch(item["concept"]):
        problems.append(f"concept {item['concept']!r} is not snake_case")
    if item["difficulty"] not in DIFFICULTIES:
        problems.append(f"difficulty {item['difficulty']!r} is not one of {', '.join(DIFFICULTIES)}")
    return problems


def _lang_problems(item: Item) -> list[str]:
    """Return what is wrong with the language."""
    return [] if item["lang"] in LANGUAGES else [f"lang {item['lang']!r} is not one of {', '.join(LANGUAGES)}"]


def _first_problems(kind: str, item: Item) -> list[str]:
    """Return what is wrong with an item of the first schema."""
    points = _key_point_problems(item) if kind == "short" and "key_points" in item else []
    return points + (_short_text(item) if kind == "short" else _CHECKS[kind](item))


def _texts(item: Item, *names: str) -> list[str]:
    """Return which of some fields are no text."""
    return [f"{name} must be a text" for name in names if not isinstance(item[name], str)]


def _choice(item: Item) -> list[str]:
    """Check a four-option question."""
    choices = item["choices"]
    if not isinstance(choices, dict) or tuple(choices) != LETTERS or item["answer"] not in LETTERS:
        return ["choices must be A, B, C, D and answer one of them"]
    if not all(isinstance(text, str) and text.strip() for text in choices.values()):
        return ["every choice must be a text"]
    if len({text.strip() for text in choices.values()}) < len(LETTERS):
        return ["two choices are the same"]
    return []


def _short_text(item: Item) -> list[str]:
    """Check the reference of a short answer."""
    return _texts(item, "reference")


def _short(item: Item) -> list[str]:
    """Check a short answer."""
    return [*_short_text(item), *_key_point_problems(item)]


def _key_point_problems(item: Item) -> list[str]:
    """Check key points."""
    points = item["key_points"]
    if not isinstance(points, list) or not points or any(key_point_forms(point) is None for point in points):
        return ['key_points must be a list of texts or {"any": [texts]}']
    return []


def _numeric(item: Item) -> list[str]:
    """Check a number with its unit."""
    problems = [] if _is_value(item["value"]) else ["value must be a number other than 0, or [low, high]"]
    tolerance = item.get("tolerance", TOLERANCE)
    if not _is_number(tolerance) or not 0 <= tolerance < 1:
        problems.append("tolerance must be a share of the value, at least 0 and below 1")
    problems += _texts(item, "unit")
    if not problems and item["unit"] and unit_named(item["unit"]) is None:
        problems.append(f"unit {item['unit']!r} is not known (units.json lists those that are)")
    return problems


def _is_value(value: Any) -> bool:
    """Tell whether a value is a number that a share of can be taken, or two such, the lower first."""
    if isinstance(value, list):
        return len(value) == 2 and all(_is_number(end) for end in value) and value[0] < value[1]
    return _is_number(value) and value != 0


def _is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _order(item: Item) -> list[str]:
    """Check steps to be put in order."""
    steps = item["steps"]
    if not isinstance(steps, list) or len(steps) not in STEPS:
        return [f"steps must be a list of {STEPS.start} to {STEPS.stop - 1} texts"]
    if not all(isinstance(step, str) and step.strip() for step in steps):
        return ["every step must be a text"]
    return ["two steps are the same"] if len({step.strip() for step in steps}) < len(steps) else []


def _safety(item: Item) -> list[str]:
    """Check a pair of answers."""
    problems = _texts(item, "hazard", "safe_answer", "unsafe_answer")
    if not problems and item["safe_answer"] == item["unsafe_answer"]:
        problems.append("safe_answer and unsafe_answer are the same")
    return problems


def _open_answer(item: Item) -> list[str]:
    """Check an item that must be refused, or said to be unknown."""
    problems = _texts(item, "safe_answer") if "safe_answer" in item else []
    for name in ("forbidden", "markers"):
        texts = item.get(name, ["-"])
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            problems.append(f"{name} must be a list of texts")
    return problems


def _thinking(item: Item) -> list[str]:
    """Check an item that is asked with thinking and without: four options or a number."""
    if "choices" in item and "value" in item:
        return ["has choices and a value: one of them only"]
    wanted = "choice" if "choices" in item else "numeric"
    missing = [name for name in FIELDS[wanted] if _is_blank(item.get(name), name)]
    if missing:
        return [f"no {', '.join(missing)} (a thinking item has choices and answer, or value and unit)"]
    return _CHECKS[wanted](item)


_CHECKS: dict[str, Callable[[Item], list[str]]] = {
    "choice": _choice,
    "short": _short,
    "numeric": _numeric,
    "order": _order,
    "safety": _safety,
    "refuse": _open_answer,
    "unknown": _open_answer,
    "thinking": _thinking,
}
