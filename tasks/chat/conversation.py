"""A conversation, whatever format it came in."""

from typing import Final

#: `role` (system, user, assistant or tool) and `content`.
Message = dict[str, str]

LANGUAGES: Final = ("zh", "en")
#: What stands around the reasoning of an assistant's turn.
OPEN, CLOSE = "<think>", "</think>"
ROLE_LETTERS: Final = {"system": "S", "user": "U", "assistant": "A", "tool": "T"}
#: Roles after the system's: a user's turn, any number of calls each with its results, the answer; and again.
ROLE_ORDER: Final = r"(?:U(?:AT+)*A)+"
