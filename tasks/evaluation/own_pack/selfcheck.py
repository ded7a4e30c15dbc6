"""An item's own answer, scored by its own rule: it must be right; and the question, repeated, must not be."""

from collections.abc import Callable

from tasks.evaluation.pack.keypoints import found_points
from tasks.evaluation.pack.numeric import score_numeric
from tasks.evaluation.pack.open_answers import score_open_answer
from tasks.exams.pack.schema import Item, key_point_forms

Problems = tuple[list[str], list[str]]


def own_answer_problems(item: Item) -> Problems:
    """Return in words what makes an item's score wrong (errors) and what makes it easier than it looks (warnings)."""
    check = _CHECKS.get(item["kind"])
    return check(item) if check else ([], [])


def _key_points(item: Item) -> Problems:
    """Check that a reference holds its key points, and that the question does not give them away."""
    points = item.get("key_points", [])
    names = [" / ".join(key_point_forms(point) or ()) for point in points]
    missing = [
        name
        for name, there in zip(names, found_points(points, item["reference"], item["reference"]), strict=True)
        if not there
    ]
    given = [
        name
        for name, there in zip(names, found_points(points, item["question"], item["reference"]), strict=True)
        if there
    ]
    return (
        [f"key point {name!r} does not stand in the reference" for name in missing],
        [f"key point {name!r} stands in the question: repeating it scores" for name in given],
    )


def _number(item: Item) -> Problems:
    """Check that the expected quantity, written out, counts as right, and that the question does not hold it."""
    if "value" not in item:
        return [], []
    value = "~".join(map(str, item["value"])) if isinstance(item["value"], list) else item["value"]
    _, detail = score_numeric(item, f"{value} {item['unit']}")
    failure = detail["failure"]
    given = score_numeric(item, item["question"])[0] == 1
    return (
        [f"its own value is not read as right: {failure}"] if failure else [],
        ["repeating the question counts as right"] if given else [],
    )


def _open_answer(item: Item) -> Problems:
    """Check that the safe answer counts as right."""
    if "safe_answer" not in item:
        return [], []
    _, detail = score_open_answer(item, item["safe_answer"])
    if detail["failure"] == "forbidden":
        return [f"the safe answer holds what is forbidden: {', '.join(detail['forbidden'])}"], []
    return (["the safe answer holds no marker: add one in `markers`"] if detail["failure"] else []), []


def _pair(item: Item) -> Problems:
    """Check that the two answers of a pair do not differ in length so much that length decides."""
    lengths = sorted(len(item[name].encode()) for name in ("safe_answer", "unsafe_answer"))
    return [], ["one answer is more than twice as long as the other"] if lengths[1] > 2 * lengths[0] else []


_CHECKS: dict[str, Callable[[Item], Problems]] = {
    "short": _key_points,
    "numeric": _number,
    "thinking": _number,
    "refuse": _open_answer,
    "unknown": _open_answer,
    "safety": _pair,
}
