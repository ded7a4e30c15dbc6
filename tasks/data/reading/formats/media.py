"""Images, sound and films: a text pipeline would learn what was seen as if it followed from the words."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tasks.data.problems import BadRowError

#: Fields that hold media, of rows and of turns, in lower case.
MEDIA_FIELDS: Final = frozenset(
    f"{kind}{ending}"
    for kind in ("image", "video", "audio", "img", "picture", "pixel_values", "speech")
    for ending in ("", "s", "_url", "_urls", "_path", "_paths", "_file", "_files")
)
#: Types of content parts that are no text.
MEDIA_PARTS: Final = re.compile(r"image|video|audio|picture|img|speech|file")
#: A first look: most texts have none of it.
_LOOK: Final = re.compile(
    r"<(?:\|?(?:image|img|video|audio|vision|begin_of_image|im_patch|speech)|(?:start_of|end_of)_image|ImageHere)",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_FILE: Final = r"[^<>\n]{0,600}"
_PLACEHOLDER: Final = re.compile(
    # Tokens of the vision and speech families, and what stands between them.
    r"<\|(?:vision_\w+|(?:begin_of_|end_of_)?(?:image|video|audio|img|speech)\w*)\|>"
    r"|<(?:(?:image|video|audio)_\d+|image|image[ _]?(?:here|placeholder|soft_token|pad)|im_patch|start_of_image)\s*/?>"
    # A pair around a path or nothing; `<img>` has no end in HTML, and there these two hold further tags.
    rf"|<(?P<pair>img|video|audio|speech)>{_FILE}</(?P=pair)>"
    # Alone they are placeholders, unless someone speaks about the tag.
    r"|<(?P<alone>video|audio|speech)>(?!(?:(?!</(?P=alone)>).)*</(?P=alone)>)(?!\s*(?:标签|元素|tag|element))",
    re.IGNORECASE | re.DOTALL,
)


def refuse_media(fields: Mapping[str, Any], where: str = "") -> None:
    """Refuse a row or a turn that holds media.

    Raises:
        BadRowError: a field of it does; the field is named.
    """
    for name in fields:
        if name.lower() in MEDIA_FIELDS and _holds(fields[name]):
            raise BadRowError("media", f"{where}`{name}` holds what is no text")


def refuse_placeholders(texts: Iterable[str]) -> None:
    """Refuse texts in which media were written as placeholders or paths.

    Raises:
        BadRowError: a text has one; the placeholder's kind is named.
    """
    for number, text in enumerate(texts, start=1):
        if "<" in text and _LOOK.search(text) and (found := _PLACEHOLDER.search(_CODE.sub("", text))):
            kind = re.sub(r"[^A-Za-z_|].*", "", found.group()[1:])
            raise BadRowError("media", f"turn {number} has a placeholder of media, <{kind}>")


def _holds(value: Any) -> bool:
    """Tell whether a value holds anything; tables have empty cells, structs of nulls and lists of them."""
    if isinstance(value, str):
        return value.strip() not in ("", "[]", "{}", "null", "None", "nan")
    if isinstance(value, Mapping):
        return any(map(_holds, value.values()))
    if isinstance(value, list):
        return any(map(_holds, value))
    return value is not None and value is not False and value == value
