"""Accounts of messengers: QQ numbers and WeChat names, which only a word beside them tells from other text."""

import re

from tasks.data.privacy.hints import Clues, Parts, around
from tasks.data.privacy.recognizer import UNIT_AFTER, Recognizer, after, recognizer

_QQ_WORD = r"(?:[Qq]{2}|扣扣|叩叩|企鹅|[Qq]号)"
_QQ_HINT = re.compile(r"[Qq扣叩企][Qq扣叩鹅号:]")
#: Between the word and the number: 号码是, 账号：, 联系; not 音乐, 邮箱, 群里有.
_BETWEEN = (
    r"(?:[ \t:=,/(\[\"'“#-]|号码?|账号|帐号|帳號|號碼?|账户|客服|群号?|群|名|是|为|為|叫|我的?|加我?|添加|联系|"
    r"聯絡|私聊|咨询|搜索?|同步?"
    r"|ID|id|No\.?|number|is){0,5}?"
)
_CHAT_WORD = (
    r"(?:微信|薇信|威信|維信|维信|加v|加V|[Vv]信|(?<![A-Za-z])(?:[Vv][Xx]|[Ww][Xx]|[Ww]e[Cc]hat|WECHAT|[Ww]eixin))"
)
_CHAT_HINT = re.compile(r"信|[Vv][Xx]|[Ww][Xx]|加[vV]|[Ww]e[Cc]hat|WECHAT|[Ww]eixin")
#: Source: WeChat's rule for names: 6 to 20 letters, digits, hyphens, underscores, a letter first.
_CHAT_NAME = r"[A-Za-z][A-Za-z0-9_-]{5,19}"
_SAYS_SO = re.compile(r"[:=]|号|ID|id|是|为|加")
_NO_NAME = re.compile(r"(?:open|union|app|corp|user|session)_?(?:id|key|secret)", re.IGNORECASE)


def _with_qq(clues: Clues) -> Parts:
    """Return where a word for QQ stands."""
    plain = clues.plain
    latin = ("Q" in plain or "q" in plain) and ("QQ" in plain or "qq" in plain or "Q号" in plain or "q号" in plain)
    if not (latin or "扣扣" in plain or "叩叩" in plain or "企鹅" in plain):
        return []
    return around((match.start(), match.end()) for match in _QQ_HINT.finditer(clues.plain))


def _with_chat(clues: Clues) -> Parts:
    """Return where a word for WeChat stands."""
    if not _may_chat(clues.plain):
        return []
    return around((match.start(), match.end()) for match in _CHAT_HINT.finditer(clues.plain))


def _may_chat(plain: str) -> bool:
    """Tell whether a word for WeChat may be in a text: single characters first, which are found fastest."""
    if "hat" in plain and ("eChat" in plain or "wechat" in plain):
        return True
    if plain.isascii():
        return "vx:" in plain or "wx:" in plain or "wxid" in plain
    if "信" in plain and any(word in plain for word in ("微信", "V信", "v信", "威信", "薇信", "維信", "维信")):
        return True
    if ("x" in plain and any(word in plain for word in ("vx", "wx", "Vx", "Wx", "weixin"))) or "VX" in plain:
        return True
    return "WX" in plain or ("加" in plain and ("加v" in plain or "加V" in plain))


def _is_count(match: re.Match[str]) -> bool:
    """Tell whether a number counts something."""
    return bool(UNIT_AFTER.match(after(match)) or re.match(r"\s*(?:人|万|亿|名|位|年|月|日|群)", after(match)))


def _is_chat_name(match: re.Match[str]) -> bool:
    """Tell whether Latin text after a word for WeChat is a name: it has a digit or a sign, or is said to be one."""
    name = match[1]
    if _NO_NAME.fullmatch(name):
        return False
    written = any(character.isdigit() or character in "_-" for character in name)
    return written or (bool(_SAYS_SO.search(match[0][: match.start(1) - match.start()])) and name.islower())


ACCOUNTS: tuple[Recognizer, ...] = (
    recognizer(
        "qq",
        rf"(?<![A-Za-z]){_QQ_WORD}{_BETWEEN}([1-9][0-9]{{4,10}})(?![0-9A-Za-z@])(?!\.\d)",
        lambda match: not _is_count(match) and not re.fullmatch(r"1[3-9]\d{9}", match[1]),
        _with_qq,
    ),
    recognizer(
        "qq",
        r"(?<![0-9A-Za-z])([1-9][0-9]{4,10})(?=[ ]?\(?(?:QQ|qq)\)?(?![A-Za-z:0-9@]))",
        lambda match: True,
        _with_qq,
    ),
    recognizer("wechat", r"(?<![A-Za-z0-9_])(wxid_[a-z0-9]{6,20})(?![A-Za-z0-9_])", lambda match: True, _with_chat),
    recognizer(
        "wechat",
        rf"{_CHAT_WORD}{_BETWEEN}({_CHAT_NAME})(?![A-Za-z0-9_@.-])",
        _is_chat_name,
        _with_chat,
    ),
    recognizer(
        "wechat",
        rf"{_CHAT_WORD}(?:号码?|ID|id)?[ ]?[:是为][ ]?([1-9][0-9]{{5,9}})(?![0-9A-Za-z@.])",
        lambda match: not _is_count(match),
        _with_chat,
    ),
)
