"""Which language a text is in: Chinese, English, or one the pipeline has no use for."""

import re

_HAN_RUN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_LATIN_WORD = re.compile(r"[A-Za-zÀ-ɏ]+")
_LETTER_RUN = re.compile(r"[^\W\d_]+")
_CODE_OR_CALL = re.compile(r"```.*?```|<tool_call>.*?</tool_call>", re.DOTALL)

#: Under so many Chinese characters and Latin words a text ("OK", a number, a name) says nothing of its language.
_MIN_UNITS = 12


def language_of(text: str) -> str | None:
    """Return `zh`, `en`, or None where most letters are neither Chinese characters nor Latin.

    A Chinese character counts as much as a Latin word, so Chinese text full of units and names stays Chinese.
    Code and calls are left out where anything else is said. Other languages in Latin letters are not told from
    English.
    """
    if text.isascii():
        return "en"
    if "```" in text or "<tool_call>" in text:
        text = _CODE_OR_CALL.sub("", text).strip() or text
    han, words = han_count(text), _LATIN_WORD.findall(text)
    known = han + len("".join(words))
    # Half of all characters is half of all letters at least: most texts need no count of those.
    if 2 * known < len(text) and 2 * known < _characters(_LETTER_RUN, text):
        return None
    return "zh" if han and han >= len(words) else "en"


def han_count(text: str) -> int:
    """Return the number of Chinese characters."""
    return _characters(_HAN_RUN, text)


def chinese_share(text: str) -> float | None:
    """Return how much of a text is Chinese, from 0 to 1; None where too little is left without code to tell."""
    text = _CODE_OR_CALL.sub("", text)
    han = 0 if text.isascii() else han_count(text)
    units = han + len(_LATIN_WORD.findall(text))
    return han / units if units >= _MIN_UNITS else None


def _characters(runs: re.Pattern[str], text: str) -> int:
    """Return the number of characters in all runs; joined, since that is the fastest way to count them."""
    return len("".join(runs.findall(text)))
