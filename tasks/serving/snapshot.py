"""What a gateway does just now: two readings of its series, and the difference between them."""

import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tasks.core.errors import TransientError
from tasks.core.project import Project
from tasks.serving.alarms import read_alarms
from tasks.serving.paths import host_log

TIMEOUT_S = 5.0
#: How much of the log's end is looked through for the last alarms.
_LOG_TAIL_BYTES = 64_000
_ALARM = re.compile(r"^\d\d:\d\d:\d\d (?:WARNING|ERROR|CRITICAL)\b.*$", re.MULTILINE)

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reading:
    """All series of a gateway at one moment.

    Args:
        at: seconds, of any clock that runs evenly.
        values: (name of the series, its sorted labels) -> value.
    """

    at: float
    values: dict[tuple[str, Labels], float]

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return a series added up by one of its labels."""
        found: dict[str, float] = {}
        for (series, labels), value in self.values.items():
            if series == name and label in dict(labels):
                found[dict(labels)[label]] = found.get(dict(labels)[label], 0.0) + value
        return found


def read(project: Project, at: float) -> Reading:
    """Read the series of the project's gateway on this machine.

    Raises:
        TransientError: it does not answer.
    """
    try:
        with urllib.request.urlopen(f"{project.gateway_url}/metrics", timeout=TIMEOUT_S) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise TransientError(f"{project.gateway_url} does not answer: {error}", "tunegate status") from error
    values = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return Reading(at, values)


def between(before: Reading, after: Reading) -> dict[str, Any]:
    """Return what happened between two readings.

    Returns:
        {"seconds", "requests_per_s": {outcome: rate}, "tokens_per_s": {kind: rate}, "keys": {key: tokens a second},
        "first_token_p95_s", "in_flight": {slot: requests}}; the p95 is None where no stream began.
    """
    seconds = max(after.at - before.at, 1e-9)

    def rates(name: str, label: str) -> dict[str, float]:
        """Return how much a counter has grown a second; a gateway that started anew counts from 0."""
        old = before.by(name, label)
        grown = {key: value - old.get(key, 0.0) for key, value in after.by(name, label).items()}
        return {key: round(max(value, 0.0) / seconds, 3) for key, value in grown.items()}

    return {
        "seconds": round(seconds, 3),
        "requests_per_s": rates("tunegate_requests_total", "outcome"),
        "tokens_per_s": rates("tunegate_tokens_total", "kind"),
        "keys": rates("tunegate_tokens_total", "key"),
        "first_token_p95_s": _quantile(before, after, "tunegate_time_to_first_token_seconds_bucket", 0.95),
        "in_flight": {slot: int(count) for slot, count in after.by("tunegate_in_flight", "slot").items()},
    }


def _quantile(before: Reading, after: Reading, name: str, share: float) -> float | None:
    """Return the upper end of the bucket that holds a quantile of what came between two readings."""
    old = before.by(name, "le")
    grown = sorted((float(le), value - old.get(le, 0.0)) for le, value in after.by(name, "le").items())
    if not grown or grown[-1][1] <= 0:
        return None
    return next(le for le, count in grown if count >= share * grown[-1][1])


def last_alarms(project: Project, most: int) -> list[str]:
    """Return the last alarms of `tunegate monitor`, then the last warnings and errors of the serving host."""
    alarms = [_line(alarm) for alarm in read_alarms(project)][-(most // 2) :] if most > 1 else []
    return [*alarms, *_from_log(host_log(project), most - len(alarms))]


def _line(alarm: dict[str, Any]) -> str:
    """Return an alarm as one line."""
    return f"{alarm['time']} ALARM {alarm['kind']}: {alarm['what']}"


def _from_log(path: Path, most: int) -> list[str]:
    """Return the last warnings and errors of a log."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
        return _ALARM.findall(file.read().decode("utf-8", "replace"))[-most:]
