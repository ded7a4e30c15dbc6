"""What is refused before a sweep starts: keys and values params.yaml could not have, and what measures the trials."""

import difflib
from collections.abc import Iterator
from typing import Any

from tasks.core.layout import HOPS
from tasks.core.settings import wrong_settings
from tasks.gate.evidence import METRICS
from tasks.stages.table import STAGES, Stage, find_stages, producer_of
from tasks.sweep.space import Point, Space, require_none

#: Combinations that are named one by one when they cannot be.
NAMED = 5
#: A sweep that changed its own ruler would compare numbers that cannot be compared.
RULER = "evaluate"
ABSENT = object()


def stages_up_to(hop: str) -> list[Stage]:
    """Return the stages that end in the evaluation of a hop, in order: those it needs, and no other."""
    needed = {stage.name: stage for stage in find_stages(f"evaluate@{hop}")}
    waiting = list(needed.values())
    while waiting:
        for path in waiting.pop().inputs.values():
            if (producer := producer_of(path)) and producer.name not in needed:
                needed[producer.name] = producer
                waiting.append(producer)
    return [stage for stage in STAGES if stage.name in needed]


def sections_of(hop: str) -> list[str]:
    """Return the sections of params.yaml that these stages read, the ruler left out."""
    found = dict.fromkeys(section for stage in stages_up_to(hop) for section in stage.param_sections)
    return [section for section in found if section.partition(".")[0] != RULER]


def require_measurable(hop: str, metric: str, values: dict[str, Any]) -> None:
    """Refuse what trials cannot be compared by.

    Raises:
        ConfigError: the metric or the hop is unknown, or the hop is not asked the suites.
    """
    problems = []
    if metric not in METRICS:
        problems.append(f"unknown metric {metric!r}; one of: {', '.join(METRICS)}")
    if hop not in HOPS:
        problems.append(f"unknown hop {hop!r}; one of: {', '.join(HOPS)}")
    if hop == "adapter" and values["evaluate"]["adapter"] != "full":
        problems.append("hop adapter is asked for agreement alone: set evaluate.adapter: full in params.yaml")
    require_none(problems)


def require_known(space: Space, hop: str, values: dict[str, Any]) -> None:
    """Hold every key, and every value by itself, to the schema.

    Args:
        space: what is to be tried.
        hop: up to whose evaluation each trial runs.
        values: of params.yaml, as they are.

    Raises:
        ConfigError: a key that is unknown or that no such stage reads, a value of the wrong type; all at once.
    """
    problems: list[str] = []
    for key, axis in space.items():
        if problem := _wrong_key(key, hop, values):
            problems.append(problem)
            continue
        for value in axis.ends:
            found = wrong_settings(changed(values, {key: value}))
            problems += [f"{key} = {value!r}: {text.removeprefix(f'{key}: ')}" for text in found]
    require_none(problems)


def require_sound(points: list[Point], values: dict[str, Any]) -> None:
    """Hold combinations of values to the schema: some go together with others only.

    Raises:
        ConfigError: a combination is refused; the first few by name, and how many there are.
    """
    found = [(point, problem) for point in points for problem in wrong_settings(changed(values, point))]
    problems = [f"{words(point)}: {problem}" for point, problem in found[:NAMED]]
    if len(found) > NAMED:
        problems.append(f"and {len(found) - NAMED} more")
    require_none(problems)


def changed(values: dict[str, Any], point: Point) -> dict[str, Any]:
    """Return the values of a params file with some of them replaced; the given ones stay as they are."""
    result = dict(values)
    for key, value in point.items():
        inner = result
        *outer, last = key.split(".")
        for part in outer:
            inner[part] = dict(inner[part])
            inner = inner[part]
        inner[last] = value
    return result


def value_at(values: dict[str, Any], key: str) -> Any:
    """Return the value of a key, ABSENT where there is none."""
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return ABSENT
        found = found[part]
    return found


def words(point: Point) -> str:
    """Return settings as a line says them."""
    return " ".join(f"{key}={value}" for key, value in point.items()) or "as they are"


def _wrong_key(key: str, hop: str, values: dict[str, Any]) -> str | None:
    """Return why a key cannot be swept, None where it can."""
    if value_at(values, key) is ABSENT:
        near = difflib.get_close_matches(key, list(_keys(values)), n=1)
        return f"{key}: params.yaml has no such key" + (f"; {near[0]}?" if near else "")
    if key.partition(".")[0] == RULER:
        return f"{key}: it says what the trials are measured with; all of them must be asked the same"
    sections = sections_of(hop)
    if not any(_within(key, section) for section in sections):
        return f"{key}: no stage up to evaluate@{hop} reads it; they read {', '.join(sections)}"
    return None


def _within(key: str, section: str) -> bool:
    """Return whether a key is a section or inside of it."""
    return key == section or key.startswith(f"{section}.")


def _keys(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield every key with dots."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")
