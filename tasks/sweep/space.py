"""What a sweep tries: lists of values and ranges, by key of params.yaml, as the command line has them."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.core.errors import ConfigError

#: `0.001..0.01`, or `0.001..0.01:log`.
_RANGE = re.compile(r"^(?P<low>[-+\d][-+\deE]*(?:\.[-+\deE]+)?)\.\.(?P<high>[-+\d][-+\deE.]*)(?P<log>:log)?$")
HINT = "tunegate sweep run --help"

#: One trial's settings: key -> value.
Point = dict[str, Any]


@dataclass(frozen=True)
class Choices:
    """Values to choose from, each a JSON value."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked one by one before anything starts."""
        return self.values

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"choices": list(self.values)}


@dataclass(frozen=True)
class Range:
    """Every number from `low` to `high`, both included; whole numbers where both are whole.

    Args:
        low: smallest.
        high: largest.
        log: whether every factor is as likely as the next, instead of every difference.
    """

    low: float
    high: float
    log: bool

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked one by one before anything starts."""
        return (self.low, self.high)

    def at(self, share: float) -> float | int:
        """Return the value at a share of the way, 0 to below 1."""
        # A whole number has the same width as its neighbours, the last one too.
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.log:
            low = max(low, self.low / 2)
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        return self.tidy(value)

    def tidy(self, value: float) -> float | int:
        """Return a value as it goes into params.yaml, which people read: whole, or with six digits, within the ends."""
        tidied = round(value) if self.whole else float(f"{value:.6g}")
        return min(max(tidied, self.low), self.high)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"low": self.low, "high": self.high, "log": self.log}


Axis = Choices | Range
Space = dict[str, Axis]


def parse_space(texts: Sequence[str]) -> Space:
    """Return what `--set KEY=VALUES` asks for.

    Raises:
        ConfigError: something cannot be read; everything that cannot, at once.
    """
    space: Space = {}
    problems = [] if texts else ["nothing to try: give at least one --set KEY=VALUES"]
    for text in texts:
        key, _, values = text.partition("=")
        try:
            if not key or not values:
                raise ValueError("write KEY=VALUES")
            if key in space:
                raise ValueError(f"{key} stands twice")
            space[key] = _axis(values.strip())
        except ValueError as error:
            problems.append(f"--set {text}: {error}")
    require_none(problems)
    return space


def space_of(plain: dict[str, dict[str, Any]]) -> Space:
    """Return a space from its JSON form."""
    return {key: Choices(tuple(axis["choices"])) if "choices" in axis else Range(**axis) for key, axis in plain.items()}


def plain_space(space: Space) -> dict[str, dict[str, Any]]:
    """Return a space as JSON."""
    return {key: axis.plain() for key, axis in space.items()}


def require_none(problems: Iterable[str]) -> None:
    """Refuse to start.

    Raises:
        ConfigError: there are problems; it names them all.
    """
    if found := list(dict.fromkeys(problems)):
        lines = "\n".join(f"  {problem}" for problem in found)
        raise ConfigError(f"this sweep cannot be run, {len(found)} problem(s):\n{lines}", HINT)


def _axis(text: str) -> Axis:
    """Return the values of one key."""
    if found := _RANGE.match(text):
        return _range(found)
    values = _list(text)
    distinct = {json.dumps(value, sort_keys=True) for value in values}
    if len(distinct) < len(values):
        raise ValueError("a value stands twice")
    return Choices(tuple(values))


def _range(found: re.Match[str]) -> Range:
    """Return a range."""
    low, high = _number(found["low"]), _number(found["high"])
    if not low < high:
        raise ValueError(f"{low} is not below {high}")
    if found["log"] and low <= 0:
        raise ValueError("a logarithmic range starts above 0")
    return Range(low, high, bool(found["log"]))


def _list(text: str) -> list[Any]:
    """Return the values of a YAML list, or of one without its brackets."""
    try:
        values = yaml.safe_load(text if text.startswith("[") else f"[{text}]")
        # Only what JSON has: YAML reads 2024-01-01 as a date.
        json.dumps(values, allow_nan=False)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ValueError(f"not a YAML list: {error}") from error
    if not isinstance(values, list) or not values:
        raise ValueError("no values")
    return [plain_value(value) for value in values]


def plain_value(value: Any) -> Any:
    """Return a value; what YAML 1.1 takes for text and everybody else for a number, as the number: 1e-4."""
    if isinstance(value, str):
        try:
            return _number(value)
        except ValueError:
            return value
    return value


def _number(text: str) -> int | float:
    """Return a number as JSON has it; NaN and infinity are none."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text} is no number") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
