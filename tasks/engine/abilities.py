"""What a served model can do beside plain text: call functions, think; read off its template, not its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Thinking = Literal["never", "always", "switched"]


@dataclass(frozen=True)
class Abilities:
    """What a served model can do.

    Args:
        tool_parser: vLLM's parser of this model's calls; None where there is none.
        reasoning_parser: vLLM's parser of this model's thoughts; None where there is none.
        thinking: whether it thinks before it answers, and whether `enable_thinking` switches that.
        why_no_tools: why functions cannot be offered to it; empty where they can.
    """

    tool_parser: str | None = None
    reasoning_parser: str | None = None
    thinking: Thinking = "never"
    why_no_tools: str = "the live version was released without a parser of calls"

    def row(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"tool_parser": self.tool_parser, "reasoning_parser": self.reasoning_parser, "thinking": self.thinking,
                "why_no_tools": self.why_no_tools}  # fmt: skip

    @classmethod
    def of_row(cls, row: Mapping[str, Any] | None) -> "Abilities":
        """Return the abilities in a JSON value; plain text alone where there is none."""
        return cls(**row) if row else PLAIN


#: A model that is asked in text and answers in text.
PLAIN = Abilities()
