"""A conversation, whatever format it came in."""

from typing import Final

#: `role` (system, user, assistant or tool) and `content`.
Message = dict[str, str]

LANGUAGES: Final = ("zh", "en")
#: What stands around the reasoning of an assistant's turn.
OPEN, CLOSE = "<think>", "</think>"
#: Names of tags that other writers put around it.
OTHER_THOUGHT_TAGS: Final = ("thinking", "thought", "reasoning")
ROLE_LETTERS: Final = {"system": "S", "user": "U", "assistant": "A", "tool": "T"}
#: Roles after the system's: a user's turn, any number of calls each with its results, the answer; and again.
ROLE_ORDER: Final = r"(?:U(?:AT+)*A)+"


def with_thought(thought: str, answer: str = "") -> str:
    """Return reasoning and answer in the one form that a prepared row has: the reasoning first, in its tags."""
    return f"{OPEN}\n{thought}\n{CLOSE}\n\n{answer}"


def split_thought(content: str) -> tuple[str, str]:
    """Return (reasoning, answer) of an assistant's text; the reasoning may be empty."""
    if CLOSE not in content:
        return "", content
    thought, _, answer = content.partition(CLOSE)
    return thought.rpartition(OPEN)[2].strip("\n"), answer.lstrip("\n")
