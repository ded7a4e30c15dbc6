"""Personal data that is a number or has a number's shape: every recognizer of these, the more specific type first."""

import ipaddress
import re
from collections.abc import Iterator

from tasks.data.privacy.accounts import ACCOUNTS
from tasks.data.privacy.coordinates import COORDINATES, find_coordinates
from tasks.data.privacy.hints import (
    DOCUMENTS,
    PROVINCES,
    Clues,
    Hint,
    Parts,
    with_at,
    with_colons,
    with_document,
    with_dots,
    with_plate,
)
from tasks.data.privacy.identities import IDENTITIES, PASSPORTS
from tasks.data.privacy.recognizer import CONTEXT_CHARACTERS, Recognizer, after, before, recognizer
from tasks.data.privacy.screen import Likely
from tasks.data.privacy.spans import Span
from tasks.data.privacy.telephones import TELEPHONES

#: Dotted numbers after these are versions and sections, not addresses.
_SECTION_BEFORE = re.compile(
    r"(?:版本|固件|软件|程序|驱动|补丁|第|条款?|章节?|小节|附录|图|表|步骤|见|按|[Vv]ersion|[Ss]ection"
    r"|[Cc]lause|[Pp]aragraph"
    r"|[Ff]irmware|[Ss]oftware|[Rr]elease|[Bb]uild|[Cc]hapter|[Ff]igure|[Tt]able|[Aa]ppendix|[Ss]tep|[Dd]river"
    r"|[Rr]ev(?:ision)?\.?|§|[vV]|OID)\s*(?:号|为|:)?\s*$"
)
_SECTION_AFTER = re.compile(r"\s*(?:条|节|款|章|版|项|小节)")
_VERSION_NEAR = re.compile(
    r"版本|升级|更新|固件|补丁|软件|[Vv]ersion|[Uu]pgrad|[Uu]pdat|[Rr]eplac|[Ff]irmware|[Rr]elease|[Pp]atch"
)
_MACHINE_NEAR = re.compile(
    r"IP|地址|服务器|主机|网关|网络|网段|端口|登录|访问|终端|客户端|来自|DNS|ping|[Hh]ost|[Ss]erver"
    r"|[Cc]onnect|[Aa]ddress"
    r"|[Nn]ode|ssh|http|[Gg]ateway|[Ll]og(?:ged)? ?in|[Cc]lient|from|路由|工作站|电脑|内网|[Ww]orkstation|[Rr]outer"
)
_LARGEST_SECTION = 30
#: Private, shared and link-local addresses. Source: RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291.
_EVERYBODYS = {
    4: [
        ipaddress.ip_network(net)
        for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16")
    ],
    6: [ipaddress.ip_network(net) for net in ("fc00::/7", "fe80::/10")],
}
_RESOLVERS = frozenset(
    [
        "8.8.8.8",
        "8.8.4.4",
        "1.1.1.1",
        "1.0.0.1",
        "9.9.9.9",
        "114.114.114.114",
        "114.114.115.115",
        "223.5.5.5",
        "223.6.6.6",
        "119.29.29.29",
        "180.76.76.76",
        "208.67.222.222",
        "208.67.220.220",
    ]
)

_PLATE_SERIAL = r"(?:[DF][A-HJ-NP-Z0-9]\d{4}|\d{5}[DF]|[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9挂学警港澳])"
_PLATE_NEAR = re.compile(r"车牌|车号|牌照|号牌|[的辆]车|车辆|轿车|货车")
_STANDARD_PREFIX = re.compile(r"GB|HA[FD]|EJ|HJ|NB|WS|DL|SL|YY|JJ|TS[GR]|GS[RG]|SS[RG]|NRC|EPR")


def find_structured(plain: str, types: frozenset[str], likely: Likely | None = None) -> Iterator[Span]:
    """Yield what the structured recognizers see in readable text; spans may overlap, the more specific first.

    Args:
        plain: readable text.
        types: to look for.
        likely: names of `screened` that may match; None: all.
    """
    likely = _ALL if likely is None else likely
    if _LOOKED_FOR.isdisjoint(likely) or (not _ANY_DIGIT(plain) and "@" not in plain):
        return
    clues = Clues(plain)
    places: dict[Hint, Parts] = {}
    for name, each in _NAMED.items():
        if name not in likely or each.type not in types:
            continue
        if each.hint is with_document and _DOCUMENTS_NAME not in likely:
            continue
        if each.hint not in places:
            places[each.hint] = each.hint(clues)
        for start, end in places[each.hint]:
            for match in each.pattern.finditer(plain, start, end):
                if each.accepts(match):
                    yield Span(match.start(1), match.end(1), each.type)
    if "coordinates" in types and not likely.isdisjoint(COORDINATES):
        yield from find_coordinates(plain)


def screened(types: frozenset[str]) -> dict[str, str]:
    """Return name and pattern of all that is looked for by a pattern (`screen.Screen`)."""
    further = COORDINATES if "coordinates" in types else {}
    patterns = {name: each.pattern.pattern for name, each in _NAMED.items() if each.type in types}
    return patterns | further | {_DOCUMENTS_NAME: "|".join(DOCUMENTS)}


def _is_ipv4(match: re.Match[str]) -> bool:
    """Refuse version and section numbers, and addresses that name no machine of anyone (private ones, loopback)."""
    left, right = before(match), after(match)
    if _SECTION_BEFORE.search(left) or _SECTION_AFTER.match(right):
        return False
    version = _VERSION_NEAR.search(before(match, 2 * CONTEXT_CHARACTERS) + right)
    # `from 1.9.12.79 to` says where packets come from as well as which version is left behind.
    if version and not _MACHINE_NEAR.search((left + right).replace("from", "")):
        return False
    parts = [int(part) for part in match[1].split(".")]
    # Four small numbers are a section or a version unless something says machine.
    if all(part <= _LARGEST_SECTION for part in parts) and not _MACHINE_NEAR.search(left + right):
        return False
    heading = (not left or left.endswith("\n")) and re.match(r"[ \t]+[A-Za-z\u4e00-\u9fff]", right)
    if heading and all(part <= _LARGEST_SECTION for part in parts):
        return False
    return _names_a_machine(match[1])


def _names_a_machine(address: str) -> bool:
    """Tell whether text is a valid IP address other than private ones, loopback, public resolvers and masks of subnets.

    Private addresses are everybody's: 192.168.1.1 stands in every manual.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.is_unspecified or parsed.is_loopback or address in _RESOLVERS or address.startswith("255."):
        return False
    return not any(parsed in network for network in _EVERYBODYS[parsed.version])


def _is_plate(match: re.Match[str]) -> bool:
    """Refuse standard numbers after a word that ends like a province: 最新GB 18871."""
    serial = re.sub(r"[·•. -]", "", match[1][1:])
    if match[1][0] == "新" and before(match, 1) in tuple("最更全重创"):
        return False
    least = 1 if _PLATE_NEAR.search(before(match)) else 2
    return not _STANDARD_PREFIX.match(serial) and sum(character.isdigit() for character in serial) >= least


# Begins with a plain set of characters: the search then skips everything else at the speed of memory.
_ANY_DIGIT = re.compile(r"[0-9]").search


RECOGNIZERS: tuple[Recognizer, ...] = (
    recognizer(
        "email",
        r"(?<![A-Za-z0-9._%+-])([A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9@])",
        lambda match: not match[1].startswith("git@"),
        with_at,
    ),
    *ACCOUNTS,
    *IDENTITIES,
    recognizer(
        "ip",
        r"(?<![0-9A-Za-z.])(?<![0-9A-Za-z]-)((?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d))"
        r"(?![0-9A-Za-z])(?!\.\d)",
        _is_ipv4,
        with_dots,
    ),
    recognizer(
        "ip",
        # Eight groups may be followed by a port.
        r"(?<![0-9A-Za-z:.])((?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?=:[0-9]{2,5}(?![0-9A-Za-z:]))"
        r"|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])(?!\.[0-9A-Za-z]))",
        lambda match: _names_a_machine(match[1]),
        with_colons,
    ),
    recognizer(
        "licence_plate",
        rf"([{PROVINCES}] ?[A-HJ-NP-Z][·•. -]{{0,2}}{_PLATE_SERIAL})(?![0-9A-Za-z])",
        _is_plate,
        with_plate,
    ),
    *TELEPHONES,
    *PASSPORTS,
)
_NAMED = {f"{each.type} {number}": each for number, each in enumerate(RECOGNIZERS)}
_DOCUMENTS_NAME = "words for documents"
_ALL: Likely = frozenset((*_NAMED, *COORDINATES, _DOCUMENTS_NAME))
_LOOKED_FOR = _ALL - {_DOCUMENTS_NAME}
