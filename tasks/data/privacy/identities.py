"""Numbers of persons and firms that a register gives: identity, passport, credit code, bank card, IMEI."""

import re
from datetime import date

from tasks.data.privacy.checksums import credit_code_valid, luhn_valid, resident_id_valid
from tasks.data.privacy.hints import (
    fifteen_digits,
    seven_digits,
    seventeen_digits,
    twelve_digits,
    with_document,
    with_identity,
)
from tasks.data.privacy.recognizer import (
    END,
    START,
    THING_BEFORE,
    UNIT_AFTER,
    Recognizer,
    after,
    before,
    digits_of,
    is_nothing_else,
    recognizer,
)
from tasks.data.privacy.spans import COVER

_IDENTITY_NEAR = re.compile(
    r"身份证|身份證|身分證|公民身份|居民身份|证件号|證件號|身份号|身份编号|[Ii]dentity|(?<![A-Za-z])ID "
    r"(?:[Cc]ard|[Nn]o|[Nn]umber)"
    r"|(?<![A-Za-z])ID卡号?"
)
_IDENTITY_WORD = r"(?:身份证|身份證|身分證|证件号|證件號|身份号)"
#: Provinces in the first two digits. Source: GB/T 2260; 81 to 83 are residents from Hong Kong, Macau and Taiwan.
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]")
_CARD_NEAR = re.compile(
    r"卡号|银行卡|储蓄卡|借记卡|信用卡|行卡|账户|帐户|[Cc]ard [Nn]umber|[Cc]redit [Cc]ard|[Dd]ebit [Cc]ard"
)
_ACCOUNT_WORD = r"(?:开户行?|对公|银行|基本户|一般户|收款|汇款|打款|结算)(?:的)?(?:账户|帐户|账号|帐号)(?:号码?)?"
#: Numbers that payment services publish for trying their forms out. Source: documentation of Stripe, PayPal, Adyen.
_TEST_CARDS = frozenset(
    [
        "4242424242424242",
        "4111111111111111",
        "4012888888881881",
        "4000056655665556",
        "4000000000000002",
        "4000000000009995",
        "4000000000000077",
        "4222222222222",
        "5555555555554444",
        "5105105105105100",
        "5200828282828210",
        "2223003122003222",
        "378282246310005",
        "371449635398431",
        "378734493671000",
        "6011111111111117",
        "6011000990139424",
        "6011981111111113",
        "30569309025904",
        "38520000023237",
        "3056930009020004",
        "36227206271667",
        "3530111333300000",
        "3566002020360505",
        "6200000000000005",
        "6200000000000047",
        "6205500000000000004",
        "4917610000000000",
        "5454545454545454",
        "6759649826438453",
    ]
)
_IMEI_NEAR = re.compile(r"IMEI|imei|Imei|串号|串码|\*#06#|设备识别码|设备码")
#: Reporting bodies in the first two digits. Source: 3GPP TS 23.003, GSMA TS.06.
_IMEI_BODY = ("01", "35", "86", "98", "99", "44", "45", "49", "51", "52", "53", "54", "91")
_PASSPORT_NEAR = re.compile(
    r"护照|通行证|证件|证照|出境|入境|签证|边检|[Pp]assport|PASSPORT|[Tt]ravel [Dd]ocument|[Vv]isa"
)
_PASSPORT_REACH = 24


def _is_resident_id(match: re.Match[str]) -> bool:
    """Ask for a right check digit, for a word for the document, or for a region and a date of birth.

    People mistype numbers, and invented ones have any last digit: a wrong one does not make it another number.
    """
    number = digits_of(match[1])
    if resident_id_valid(number) or _IDENTITY_NEAR.search(before(match)):
        return True
    return bool(_PROVINCE.match(number)) and _is_birth(number[6:14]) and not _names_a_thing(match)


def _names_a_thing(match: re.Match[str]) -> bool:
    """Tell whether a word for orders, files or readings stands before a number, or a unit after it."""
    return bool(THING_BEFORE.search(before(match)) or UNIT_AFTER.match(after(match)))


def _is_birth(digits: str) -> bool:
    """Tell whether eight digits are a day since 1900."""
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= 2030
    except ValueError:
        return False


def _is_old_resident_id(match: re.Match[str]) -> bool:
    """Check region and birth of the fifteen digits used until 1999; only a word for the document tells them."""
    number = match[1]
    return (
        bool(_PROVINCE.match(number)) and _is_birth("19" + number[6:12]) and bool(_IDENTITY_NEAR.search(before(match)))
    )


def _is_bank_card(match: re.Match[str]) -> bool:
    """Check length and Luhn digit, which a word for the card makes up for; numbers for tests are nobody's."""
    digits = digits_of(match[1])
    if not 15 <= len(digits) <= 19 or len(set(digits)) == 1 or digits in _TEST_CARDS or not is_nothing_else(match):
        return False
    if len(digits) == 15 and digits[:2] not in ("34", "37"):
        return False
    return luhn_valid(digits) or (len(digits) >= 16 and digits[0] in "456" and bool(_CARD_NEAR.search(before(match))))


def _is_imei(match: re.Match[str]) -> bool:
    """Ask for a word for the number, or for a reporting body and a Luhn digit."""
    digits = digits_of(match[1])
    if _IMEI_NEAR.search(before(match, 24)):
        return len(set(digits)) > 1
    return digits[:2] in _IMEI_BODY and luhn_valid(digits) and is_nothing_else(match)


def _is_credit_code(match: re.Match[str]) -> bool:
    """Check the check character; eighteen digits around a birth date are a mistyped resident number, not a firm."""
    code = digits_of(match[1])
    return credit_code_valid(code) and not re.fullmatch(r"\d{6}(?:19|20)\d{2}(?:0\d|1[0-2])[0-3]\d{5}", code)


def _is_passport(match: re.Match[str]) -> bool:
    """Ask for a word for the document: a letter and eight digits are any serial number."""
    near = before(match, _PASSPORT_REACH) + "\n" + after(match, 8)
    return bool(_PASSPORT_NEAR.search(near)) and not UNIT_AFTER.match(after(match))


IDENTITIES: tuple[Recognizer, ...] = (
    recognizer(
        "resident_id",
        # A lookahead, so that a digit group before the number does not swallow its beginning.
        r"(?<![0-9.])(?=([1-9](?:[ -]?\d){16}[ -]?[0-9Xx])" + END + ")",
        _is_resident_id,
        seventeen_digits,
    ),
    recognizer("resident_id", START + r"([1-9]\d{14})" + END, _is_old_resident_id, fifteen_digits),
    # Hong Kong writes its check digit in brackets; Taiwan's letter and nine digits need a word beside them.
    recognizer(
        "resident_id",
        r"(?<![0-9A-Za-z])([A-Z]{1,2}\d{6}\([0-9A]\))",
        lambda match: True,
        with_identity,
    ),
    recognizer(
        "resident_id",
        rf"{_IDENTITY_WORD}[^0-9A-Za-z\n{COVER}]{{0,6}}([A-Z][12]\d{{8}})(?![0-9A-Za-z])",
        lambda match: True,
        with_identity,
    ),
    recognizer(
        "credit_code",
        r"(?<![0-9A-Za-z])(?=([0-9A-Ya-y]{2}[ -]?\d{6}[ -]?[0-9A-Za-z]{4}[ -]?[0-9A-Za-z]{4,5}[ -]?[0-9A-Za-z]{1,2})"
        r"(?![0-9A-Za-z]))",
        _is_credit_code,
        seven_digits,
    ),
    recognizer("imei", START + r"(\d{15}|\d{2}-\d{6}-\d{6}-\d|\d{6}-\d{2}-\d{6}-\d)" + END, _is_imei, fifteen_digits),
    recognizer(
        "bank_card",
        START + r"([3-69]\d{3}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?)" + END,
        _is_bank_card,
        fifteen_digits,
    ),
    recognizer("bank_card", START + r"([3-69]\d{5}[ -]?\d{9,13})" + END, _is_bank_card, fifteen_digits),
    recognizer(
        "bank_card",
        START + r"(3[47]\d{2}[ -]?\d{6}[ -]?\d{5})" + END,
        _is_bank_card,
        fifteen_digits,
    ),
    # Accounts of firms have no check digit that is public.
    recognizer(
        "bank_card",
        rf"{_ACCOUNT_WORD}[^0-9A-Za-z\n{COVER}]{{0,4}}([1-9]\d{{3}}(?:[ -]?\d{{4}}){{2,3}}(?:[ -]?\d{{1,4}})?)" + END,
        lambda match: len(set(digits_of(match[1]))) > 1,
        twelve_digits,
    ),
)
PASSPORTS: tuple[Recognizer, ...] = (
    recognizer(
        "passport",
        START + r"([EGDSPHM]\d{8}|E[A-HJ-NP-Z]\d{7}|[A-Z]{1,2}\d{6,8}|[HM]\d{10}|(?<=[号码:. ])\d{9})(?![0-9A-Za-z])",
        _is_passport,
        with_document,
    ),
)
