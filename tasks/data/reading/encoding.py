"""Which encoding a file is in: UTF-8, UTF-16, UTF-32 or GB18030, decided on a sample of its bytes.

One decision a file: a few wrong bytes in a UTF-8 file must stay a few refused rows, not turn the file into GB18030.
"""

import re
from collections.abc import Iterable

GB18030_BOM = b"\x84\x31\x95\x33"
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (GB18030_BOM, "gb18030"),
)

#: Two bytes of GB 2312, the core of GB18030, which holds nearly every character of simplified Chinese text.
_GB2312_PAIRS = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
#: Chinese in GB18030 is nearly all such pairs (traditional characters about half); Western one-byte text has none.
_MIN_PAIR_SHARE = 0.5
_MIN_NUL_SHARE = 0.02


def sample_encoding(pieces: Iterable[bytes], *, wide: bool = False) -> str:
    """Return the encoding of a file from pieces of it, its head first.

    Args:
        pieces: bytes; all but the head cut at line ends.
        wide: the file is known to be UTF-16; only the byte order is asked.
    """
    head, *rest = pieces
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    if found := _wide_order(head):
        return found
    if wide:
        return "utf-16-le"
    return _by_lines(b"\n".join([head.rpartition(b"\n")[0] or head, *rest]))


def _wide_order(head: bytes) -> str | None:
    """Return UTF-16 without a mark: its ASCII characters have a NUL each, always on the same side."""
    first, second = head[0::2].count(0), head[1::2].count(0)
    pairs = max(len(head) // 2, 1)
    # Chinese text has NULs on the other side too: the low byte of U+4E00, the character for "one".
    if head[:1] != b"\x00" and head[1:2] == b"\x00" and second > max(3 * first, _MIN_NUL_SHARE * pairs):
        return "utf-16-le"
    if head[:1] == b"\x00" and head[1:2] != b"\x00" and first > max(3 * second, _MIN_NUL_SHARE * pairs):
        return "utf-16-be"
    return None


def _by_lines(sample: bytes) -> str:
    """Return UTF-8 or GB18030, whichever most lines that are not ASCII are valid in."""
    lines = [line for line in sample.split(b"\n") if not line.isascii()]
    valid = sum(_is(line, "utf-8") for line in lines)
    if 2 * valid >= len(lines) or not _mostly_pairs(sample):
        return "utf-8"
    chinese = sum(_is(line, "gb18030") for line in lines)
    return "gb18030" if chinese > max(valid, len(lines) // 2) or _broken_tail(lines) else "utf-8"


def _mostly_pairs(sample: bytes) -> bool:
    """Tell whether the bytes beyond ASCII stand in GB 2312 pairs, and do not read as UTF-8 with some damage."""
    beyond = len(_NOT_ASCII.findall(sample))
    damaged = sum("\udc80" <= character <= "\udcff" for character in sample.decode("utf-8", "surrogateescape"))
    return damaged * 2 > beyond and 2 * len(_GB2312_PAIRS.findall(sample)) >= _MIN_PAIR_SHARE * beyond


def _broken_tail(lines: list[bytes]) -> bool:
    """Tell whether a lone line is GB18030 cut in the middle of a character by the end of the sample."""
    return len(lines) == 1 and any(_is(lines[0][: len(lines[0]) - cut], "gb18030") for cut in (1, 2, 3))


def _is(data: bytes, encoding: str) -> bool:
    """Tell whether bytes are valid in an encoding."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
