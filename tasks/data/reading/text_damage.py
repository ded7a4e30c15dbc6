"""Text that was decoded with the wrong encoding (mojibake): found, and repaired where the round trip proves it.

Three accidents make nearly all of it: UTF-8 read as GB18030 or as Windows-1252 / Latin-1, GB18030 read as Latin-1;
each may have happened twice. A repair is proven when the characters, written back in the encoding they were wrongly
read in, are valid text in the right one, all of it plausible. What is damaged beyond that is refused, never guessed.

ftfy is not used: it repairs the Windows-1252 kinds alone, so the GB18030 kind, which Chinese data is full of, would be
left, and takes 36 us a Chinese text of 200 characters where this takes 6.
"""

import re
from collections.abc import Callable

from tasks.data.problems import BadRowError

LOST = "\ufffd"
_ROUNDS = 3

# UTF-8 bytes of Chinese text, paired up: what GB18030 makes of a lead byte and the one after it is a rare character.
_LEADS = bytes([*range(0xE3, 0xEA)])
_INSIDE = bytes([*range(0x80, 0xC0), 0xC2, 0xC3, 0xE2, *_LEADS, 0xEF])


def _gb_characters(pairs: list[tuple[int, int]]) -> str:
    """Return the characters that GB18030 reads in pairs of bytes."""
    found = (bytes(pair).decode("gb18030", "ignore") for pair in pairs)
    return re.escape("".join(sorted({text for text in found if len(text) == 1 and text > "\x80"})))


_RARE = _gb_characters(
    [(lead, after) for lead in _LEADS for after in range(0x80, 0xC0)] + [(0xE2, 0x80), (0xEF, 0xBC), (0xEF, 0xBD)]
)
_GB_RUN = re.compile(f"[{_gb_characters([(a, b) for a in _INSIDE for b in _INSIDE])}]{{3,}}")

#: Windows-1252 as software reads it: bytes it does not define stand for themselves, as in Latin-1.
_WESTERN = {bytes([byte]).decode("cp1252", "ignore") or chr(byte): byte for byte in range(0x80, 0x100)}
_WESTERN |= {chr(byte): byte for byte in range(0x80, 0x100)}
_AFTER = re.escape("".join(character for character, byte in _WESTERN.items() if 0x80 <= byte < 0xC0))
_WESTERN_RUN = re.compile(f"[{re.escape(''.join(_WESTERN))}]{{2,}}")
_WESTERN_TRIPLE = re.compile(f"[â-ï][{_AFTER}]{{2}}|[ÂÃ][{_AFTER}]")
#: No language in Latin letters writes four of these in a row.
_LATIN1_LEFT = re.compile(r"[\u00b0-\u00f7][\u00a1-\u00fe][\u00a1-\u00fe][\u00a1-\u00fe]")

_RARE_OR_LOST = re.compile(f"[{_RARE}{LOST}]")
_WESTERN_PAIR = re.compile(f"[Â-ô][{_AFTER}]")

_PLAUSIBLE = re.compile(
    r"[\x00-\x7f\u00a0-\u024f\u0370-\u03ff\u2000-\u206f\u20a0-\u20bf\u2100-\u22ff\u2460-\u27bf\u3000-\u30ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U0001f300-\U0001faff]*"
)
#: Control characters: fine between two rounds, never in what is left.
_CONTROLS = re.compile("[\x80-\x9f]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_MIN_WESTERN = 4  # less can be a closing quote after an accent
_MIN_LOST_HAN = 3


def _is_suspect(text: str) -> bool:
    """Tell whether any of it is possible at all; clean text stops here (one pattern for all is three times slower)."""
    if _RARE_OR_LOST.search(text) or "锟斤拷" in text:
        return True
    # What the others begin with has one of two lead bytes in UTF-8, which are looked for at the speed of memory.
    data = text.encode("utf-8", "surrogatepass")
    return bool((b"\xc2" in data or b"\xc3" in data) and (_WESTERN_PAIR.search(text) or _LATIN1_LEFT.search(text)))


def is_mojibake(text: str) -> bool:
    """Tell whether text was decoded with the wrong encoding on its way here."""
    try:
        return repaired(text)[1] is not None
    except BadRowError:
        return True


def repaired(text: str) -> tuple[str, str | None]:
    """Return the text as it was meant, and the encoding it had wrongly been read in (None: nothing was wrong).

    Raises:
        BadRowError: it is damaged and cannot be brought back whole.
    """
    if text.isascii() or not _is_suspect(text):
        return text, None
    read_as = None
    for _ in range(_ROUNDS):
        better, how = _one_round(text)
        if how is None:
            break
        text, read_as = better, f"{how} {read_as}" if read_as and how != read_as else how
    if LOST in text or "锟斤拷" in text or (read_as and _CONTROLS.search(text)) or _is_lost(text):
        raise BadRowError("mojibake", "the text was decoded with the wrong encoding and cannot be brought back")
    return text, read_as


def _one_round(text: str) -> tuple[str, str | None]:
    """Undo one wrong reading."""
    for how, undo in _UNDO.items():
        better = undo(text)
        if better != text:
            return better, how
    return text, None


def _undo_gb18030(text: str) -> str:
    """Return the text with UTF-8 that was read as GB18030 read rightly: whole lines, else runs within a line."""
    return "\n".join(_gb_line(line) if _is_suspect(line) else line for line in text.split("\n"))


def _gb_line(line: str) -> str:
    """Return one line read rightly."""
    for data in (line.encode("gb18030", "replace"), _windows_gbk(line)):
        if (whole := _proven(data, "utf-8", min_common=0.5)) is not None:
            return whole
    return _GB_RUN.sub(lambda run: _proven(run[0].encode("gb18030"), "utf-8", min_common=0.5) or run[0], line)


def _windows_gbk(line: str) -> bytes:
    """Return a line in GBK as Windows and browsers read it: a lone byte 80 is the euro sign."""
    return b"\x80".join(part.encode("gb18030", "replace") for part in line.split("€"))


def _undo_western(text: str) -> str:
    """Return the text with UTF-8 that was read as Windows-1252 or Latin-1 read rightly."""
    found = {run: _proven(bytes(map(_WESTERN.__getitem__, run)), "utf-8") for run in set(_WESTERN_RUN.findall(text))}
    right = {run: meant for run, meant in found.items() if meant is not None}
    if sum(len(run) * text.count(run) for run in right) < _MIN_WESTERN:
        return text
    return _WESTERN_RUN.sub(lambda run: right.get(run[0], run[0]), text)


def _undo_latin1(text: str) -> str:
    """Return the text with GB18030 that was read as Latin-1 read rightly: all of it or nothing, or pairs would slip."""
    if not _LATIN1_LEFT.search(text):
        return text
    try:
        return _proven(text.encode("latin-1"), "gb18030", min_common=0.7) or text
    except UnicodeEncodeError:
        return text


_UNDO: dict[str, Callable[[str], str]] = {
    "gb18030": _undo_gb18030,
    "cp1252": _undo_western,
    "latin-1": _undo_latin1,
}


def _proven(data: bytes, encoding: str, min_common: float | None = None) -> str | None:
    """Return what bytes say in an encoding, None where they are not valid or what they say is not plausible.

    Args:
        data: bytes that were read in the wrong encoding.
        encoding: the right one.
        min_common: share of common ones that the Chinese characters must have; there must be two then.
    """
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    if not _PLAUSIBLE.fullmatch(_CONTROLS.sub("", text)):
        return None
    if min_common is None:
        return text
    han = _HAN.findall(text)
    return text if len(han) >= 2 and sum(map(_is_common, han)) >= min_common * len(han) else None


def _is_common(character: str) -> bool:
    """Tell whether a Chinese character is of level 1 of GB 2312: the 3,755 most used."""
    return b"\xb0" <= character.encode("gb2312", "ignore")[:1] <= b"\xd7"


def _is_lost(text: str) -> bool:
    """Tell whether text is mostly a wrong reading whose bytes are not all there any more."""
    beyond = sum(character > "\x7f" for character in text)
    western = len(_WESTERN_TRIPLE.findall(text))
    if (western >= _MIN_LOST_HAN and 3 * western >= beyond / 2) or _LATIN1_LEFT.search(text):
        return True
    return any(map(_is_lost_line, text.split("\n")))


def _is_lost_line(line: str) -> bool:
    """Tell whether at least half of a line, written back in GB18030, is Chinese in UTF-8."""
    if not _is_suspect(line):
        return False
    data = line.encode("gb18030", "replace")
    beyond = sum(byte > 0x7F for byte in data)
    han = len(_HAN.findall(data.decode("utf-8", "replace")))
    return han >= _MIN_LOST_HAN and 3 * han >= beyond / 2
