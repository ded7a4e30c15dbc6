"""What a field's value may be: each check refuses what is outside, and says its bounds for the docs and OpenAPI.

A number beyond a double's range is read as an infinity by Python; no check lets one through.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.serving.api.caps import Caps
from tasks.serving.api.refusal import bad

Schema = dict[str, Any]


class Check(Protocol):
    """One kind of value."""

    def __call__(self, value: Any, where: str, caps: Caps) -> Any:
        """Return the value to pass on; raises Refusal where it is outside."""

    def words(self) -> str:
        """Return the bounds in words."""

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def __call__(self, value: Any, where: str, caps: Caps) -> bool:
        """Return the value; see Check."""
        if not isinstance(value, bool):
            raise bad(f"{where} must be true or false", where)
        return value

    def words(self) -> str:
        """Return the bounds in words."""
        return "true or false"

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Number:
    """A finite number within bounds.

    Args:
        low, high: bounds, inclusive.
        above: whether `low` itself is outside.
    """

    low: float
    high: float
    above: bool = False

    def __call__(self, value: Any, where: str, caps: Caps) -> float:
        """Return the value; see Check."""
        if not _is_number(value) or not self.low <= value <= self.high or (self.above and value == self.low):
            raise bad(f"{where} must be {self.words()}", where)
        number: float = value
        return number

    def words(self) -> str:
        """Return the bounds in words."""
        low = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        return f"a number {low} to {self.high:g}"

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return {"type": "number", "exclusiveMinimum" if self.above else "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds.

    Args:
        low, high: bounds, inclusive; a name stands for the setting of that name.
    """

    low: int
    high: int | str

    def __call__(self, value: Any, where: str, caps: Caps) -> int:
        """Return the value; see Check."""
        most = self._most(caps)
        if not is_whole(value) or value < self.low:
            raise bad(f"{where} must be a whole number from {self.low} to {most}", where)
        if value > most:
            raise bad(f"{where} is over the cap here, {most}", where, "over_the_cap")
        number: int = value
        return number

    def words(self) -> str:
        """Return the bounds in words."""
        return f"a whole number from {self.low} to {_setting(self.high)}"

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return {"type": "integer", "minimum": self.low, "maximum": self._most(caps)}

    def _most(self, caps: Caps) -> int:
        """Return the upper bound."""
        return int(getattr(caps, self.high)) if isinstance(self.high, str) else self.high


@dataclass(frozen=True)
class Tokens:
    """A number of completion tokens; one over the cap is lowered to it where the settings say so."""

    def __call__(self, value: Any, where: str, caps: Caps) -> int:
        """Return the value; see Check."""
        if is_whole(value) and caps.clamps:
            value = min(value, caps.max_completion_tokens)
        return Whole(1, "max_completion_tokens")(value, where, caps)

    def words(self) -> str:
        """Return the bounds in words."""
        return f"{Whole(1, 'max_completion_tokens').words()}; above it as `over_max_completion_tokens` says"

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return {"type": "integer", "minimum": 1} if caps.clamps else Whole(1, "max_completion_tokens").schema(caps)


@dataclass(frozen=True)
class Text:
    """Text; its length is that of the body where no bound is given."""

    longest: int | None = None

    def __call__(self, value: Any, where: str, caps: Caps) -> str:
        """Return the value; see Check."""
        if not isinstance(value, str) or (self.longest is not None and len(value) > self.longest):
            raise bad(f"{where} must be {self.words()}", where)
        return value

    def words(self) -> str:
        """Return the bounds in words."""
        return "text" if self.longest is None else f"text of at most {self.longest} characters"

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return {"type": "string"} if self.longest is None else {"type": "string", "maxLength": self.longest}


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    choices: tuple[str, ...]

    def __call__(self, value: Any, where: str, caps: Caps) -> str:
        """Return the value; see Check."""
        if not isinstance(value, str) or value not in self.choices:
            raise bad(f"{where} must be {self.words()}", where)
        return value

    def words(self) -> str:
        """Return the bounds in words."""
        return f"one of {', '.join(self.choices)}"

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return {"type": "string", "enum": list(self.choices)}


@dataclass(frozen=True)
class Several:
    """A list of values of one kind; the value itself where `alone` says that it needs no list."""

    item: Check
    most: int | str
    alone: bool = False
    fewest: int = 0

    def __call__(self, value: Any, where: str, caps: Caps) -> Any:
        """Return the value; see Check."""
        if self.alone and not isinstance(value, list):
            return self.item(value, where, caps)
        most = self._most(caps)
        if not isinstance(value, list) or len(value) < self.fewest:
            raise bad(f"{where} must be {self.words()}", where)
        if len(value) > most:
            raise bad(f"{where} has {len(value)} entries, the most here is {most}", where, "over_the_cap")
        return [self.item(one, f"{where}[{place}]", caps) for place, one in enumerate(value)]

    def words(self) -> str:
        """Return the bounds in words."""
        listed = f"a list of at most {_setting(self.most)}: {self.item.words()}"
        return f"{self.item.words()}, or {listed}" if self.alone else listed

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        item = self.item.schema(caps)
        listed = {"type": "array", "items": item, "maxItems": self._most(caps), "minItems": self.fewest}
        return {"anyOf": [item, listed]} if self.alone else listed

    def _most(self, caps: Caps) -> int:
        """Return the most entries."""
        return int(getattr(caps, self.most)) if isinstance(self.most, str) else self.most


@dataclass(frozen=True)
class Biases:
    """Token ids, each with a bias from -100 to 100."""

    most: int
    highest_id: int

    def __call__(self, value: Any, where: str, caps: Caps) -> dict[str, float]:
        """Return the value; see Check."""
        if not isinstance(value, dict):
            raise bad(f"{where} must be {self.words()}", where)
        if len(value) > self.most:
            raise bad(f"{where} has {len(value)} entries, the most here is {self.most}", where, "over_the_cap")
        bias = Number(-100, 100)
        for token, one in value.items():
            if not (token.isascii() and token.isdigit() and len(token) < 10 and int(token) <= self.highest_id):
                raise bad(f"{where}: {token[:40]!r} is no token id", where)
            bias(one, f"{where}.{token}", caps)
        return value

    def words(self) -> str:
        """Return the bounds in words."""
        return f"at most {self.most} token ids up to {self.highest_id}, each with a number from -100 to 100"

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return {"type": "object", "maxProperties": self.most, "propertyNames": {"pattern": "^[0-9]{1,9}$"},
                "additionalProperties": Number(-100, 100).schema(caps)}  # fmt: skip


@dataclass(frozen=True)
class Something:
    """Any value of some JSON types; what is dropped must at least be of its own kind."""

    types: tuple[type, ...]

    def __call__(self, value: Any, where: str, caps: Caps) -> Any:
        """Return the value; see Check."""
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            raise bad(f"{where} must be {self.words()}", where)
        return value

    def words(self) -> str:
        """Return the bounds in words."""
        return " or ".join(_TYPE_WORDS[one][1] for one in self.types)

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return {"type": [_TYPE_WORDS[one][0] for one in self.types]}


@dataclass(frozen=True)
class Made:
    """A value that a function of its own reads.

    Args:
        read: gets value, where and caps; returns what is passed on.
        said: the bounds in words.
        form: its JSON schema.
    """

    read: Callable[[Any, str, Caps], Any]
    said: str
    form: Callable[[Caps], Schema]

    def __call__(self, value: Any, where: str, caps: Caps) -> Any:
        """Return the value; see Check."""
        return self.read(value, where, caps)

    def words(self) -> str:
        """Return the bounds in words."""
        return self.said

    def schema(self, caps: Caps) -> Schema:
        """Return the bounds as a JSON schema."""
        return self.form(caps)


_TYPE_WORDS: dict[type, tuple[str, str]] = {
    str: ("string", "text"), dict: ("object", "an object"), list: ("array", "a list"),
    bool: ("boolean", "true or false"), int: ("integer", "a whole number"),
}  # fmt: skip


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number (true and false are none)."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def same(value: Any, other: Any) -> bool:
    """Tell whether two JSON values are one: 1 is 1.0, and neither is true."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _setting(bound: int | str) -> str:
    """Return a bound as the docs show it."""
    return f"`{bound}`" if isinstance(bound, str) else str(bound)
