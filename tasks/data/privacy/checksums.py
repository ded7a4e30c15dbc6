"""Check characters of the numbers that carry one."""

import re
from datetime import date

_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECK = "10X98765432"
_RESIDENT_SHAPE = re.compile(r"[1-9]\d{16}[0-9Xx]")

_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS = tuple(3**place % 31 for place in range(17))
_CREDIT_SHAPE = re.compile(rf"[1-9A-HJ-NPQRTUWXY][{_CREDIT_ALPHABET}]\d{{6}}[{_CREDIT_ALPHABET}]{{10}}")


def resident_id_check(first17: str) -> str:
    """Return the check character of a resident identity number.

    Source: GB 11643-1999, ISO 7064 MOD 11-2.
    """
    return _RESIDENT_CHECK[
        sum(int(digit) * weight for digit, weight in zip(first17, _RESIDENT_WEIGHTS, strict=True)) % 11
    ]


def resident_id_valid(number: str) -> bool:
    """Tell whether 18 characters are a resident identity number: shape, birth date and check character."""
    if not _RESIDENT_SHAPE.fullmatch(number):
        return False
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return 1850 <= born.year <= 2100 and resident_id_check(number[:17]) == number[17].upper()


def luhn_valid(digits: str) -> bool:
    """Tell whether the last digit of a card number checks the others.

    Source: ISO/IEC 7812-1 annex B (Luhn).
    """
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def credit_code_check(first17: str) -> str:
    """Return the check character of a unified social credit code.

    Source: GB 32100-2015, MOD 31 with weights 3**i.
    """
    total = sum(_CREDIT_ALPHABET.index(character) * w for character, w in zip(first17, _CREDIT_WEIGHTS, strict=True))
    return _CREDIT_ALPHABET[-total % 31]


def credit_code_valid(code: str) -> bool:
    """Tell whether 18 characters are a unified social credit code: shape and check character."""
    code = code.upper()
    return bool(_CREDIT_SHAPE.fullmatch(code)) and credit_code_check(code[:17]) == code[17]
