"""An answer and the thought before it: only what stands behind a closed thought was said."""

import re

from tasks.chat.conversation import OPEN, OTHER_THOUGHT_TAGS

#: How models mark a thought; the templates here write the first, some bases the others in their own text.
_NAMES = (OPEN.strip("<>"), *OTHER_THOUGHT_TAGS)
_MARK = re.compile(rf"<(?P<close>/?)(?:{'|'.join(_NAMES)})>")


def split_thinking(text: str, *, opened: bool = False) -> tuple[str | None, str | None]:
    """Return the answer behind the thinking and the thinking; None for an answer never begun, for no thinking.

    Args:
        text: the answer as received.
        opened: whether the prompt itself already ended in the opening of a thought.
    """
    marks = list(_MARK.finditer(text))
    if not marks:
        return (None, text.strip()) if opened else (text.strip(), None)
    last = marks[-1]
    said = text[last.end() :].strip() if last["close"] else None
    thought = text[: last.start()] if last["close"] else text
    return said, _MARK.sub("", thought).strip()
