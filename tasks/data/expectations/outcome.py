"""What became of an expectation: the border between Great Expectations and everything that reports."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

_COUNT = re.compile(r"\d+ of \d+ ")

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Outcome:
    """What became of one expectation."""

    name: str
    suite: str
    severity: str
    success: bool
    observed: Any
    threshold: dict[str, Any]
    description: str
    unexpected_rows: int
    examples: tuple[str, ...]

    @property
    def words(self) -> str:
        """One line for a log or an error."""
        # A count of what is wrong is no value that was observed.
        counted = isinstance(self.observed, str) and _COUNT.match(self.observed)
        found = f"not so for {self.observed}" if counted else f"observed {self.observed}"
        return f"{self.severity} {self.name}: {self.description}; {found}, threshold {self.limits}"

    @property
    def limits(self) -> str:
        """The threshold in words."""
        return limits_in_words(self.threshold)

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as validation.json holds it."""
        return asdict(self)


def limits_in_words(arguments: dict[str, Any]) -> str:
    """Return thresholds, as Great Expectations takes them, as a person reads them."""
    words = {"min_value": "at least", "max_value": "at most", "value_set": "one of", "regex": "matching"}
    return ", ".join(f"{words[key]} {value}" for key, value in sorted(arguments.items())) or "no exception"
