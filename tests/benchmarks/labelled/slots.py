"""Values of engineering text: measurements, standards, serials, and numbers that only look like personal data."""

import random
from collections.abc import Callable

from people import CREDIT_CHARACTERS, credit_check, digits, luhn_digit, resident_check

STANDARDS = (
    "GB 18871-2002",
    "GB/T 17680.1-2008",
    "GB 11806-2019",
    "GB 6249-2011",
    "GBZ 128-2019",
    "HAF 002",
    "HAF 002/01",
    "HAD 002/01-2019",
    "HAF102-2016",
    "HJ 61-2021",
    "EJ/T 1127-2019",
    "NB/T 20042-2011",
    "WS/T 467-2014",
    "ISO 4037-1:2019",
    "IEC 61513:2011",
    "GB 14500-2002",
    "GB 12379-90",
    "RG 1.97",
    "DL/T 5210.1",
    "ASME BPVC III-2021",
)
IAEA = (
    "GSR Part 7",
    "GSR Part 3",
    "IAEA GSG-2",
    "GS-G-2.1",
    "SSR-2/1 (Rev. 1)",
    "EPR-NPP-PPA 2013",
    "SSG-65",
    "INES 4",
)
ISOTOPES = (
    "I-131",
    "Cs-137",
    "Co-60",
    "Sr-90",
    "Am-241",
    "Pu-239",
    "U-235",
    "Xe-133",
    "Kr-85",
    "H-3",
    "Ir-192",
    "Ru-106",
    "¹³¹I",
    "¹³⁷Cs",
    "⁹⁰Sr",
    "Te-132",
    "Ba-140",
    "Ag-110m",
    "K-40",
    "Ra-226",
    "Po-210",
    "Tc-99m",
)
INSTRUMENTS = (
    "便携式γ巡测仪",
    "高压电离室",
    "碘化钠谱仪",
    "RDS-31型剂量率仪",
    "BH3103B型环境剂量率仪",
    "FH40G巡测仪",
    "CoMo170污染仪",
)
INSTRUMENTS_EN = (
    "survey meter RDS-31",
    "ion chamber RSS-131",
    "FH 40 G",
    "Ludlum 2241-2",
    "portal monitor PM12",
    "NaI(Tl) probe",
)
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"

Draw = Callable[[random.Random], str]


def number(rng: random.Random, length: int) -> str:
    """Return a number of so many digits, its first no zero."""
    return str(rng.randrange(10 ** (length - 1), 10**length))


def decimal(rng: random.Random, places: int) -> str:
    """Return a decimal number with so many places."""
    return f"{rng.uniform(0.01, 99 if places < 3 else 9):.{places}f}"


def clock(rng: random.Random) -> str:
    """Return a time of day."""
    return f"{rng.randrange(24):02d}:{rng.randrange(60):02d}" + rng.choice(("", f":{rng.randrange(60):02d}"))


def day(rng: random.Random) -> str:
    """Return a date as Chinese text writes it."""
    year, month, of_month = rng.randrange(1986, 2026), rng.randrange(1, 13), rng.randrange(1, 29)
    return rng.choice(
        (
            f"{year}年{month}月{of_month}日",
            f"{year}-{month:02d}-{of_month:02d}",
            f"{year}.{month}.{of_month}",
            f"{year}/{month}/{of_month}",
            f"{year}{month:02d}{of_month:02d}",
        )
    )


def day_en(rng: random.Random) -> str:
    """Return a date as English text writes it."""
    month = rng.choice(("March", "April", "May", "June", "August", "October"))
    year, of_month = rng.randrange(1986, 2026), rng.randrange(1, 29)
    return rng.choice(
        (
            f"{month} {of_month}, {year}",
            f"{of_month} {month} {year}",
            f"{year}-{rng.randrange(1, 13):02d}-{of_month:02d}",
        )
    )


def serial(rng: random.Random) -> str:
    """Return a serial number."""
    letter = rng.choice(LETTERS)
    return rng.choice(
        (
            f"{letter}{digits(rng, 2)}-{digits(rng, 5)}",
            f"No.{digits(rng, 6)}",
            f"SN{digits(rng, 8)}",
            f"{letter}{rng.choice(LETTERS)}-{digits(rng, 4)}/{digits(rng, 2)}",
            f"{digits(rng, 4)}-{digits(rng, 3)}",
        )
    )


def drawing(rng: random.Random) -> str:
    """Return a drawing number."""
    return rng.choice(
        (
            f"{number(rng, 5)}-{digits(rng, 3)}-{digits(rng, 4)}",
            f"NP{digits(rng, 2)}-RCS-{digits(rng, 5)}",
            f"E-{digits(rng, 4)}-{digits(rng, 3)}",
            f"{rng.choice(LETTERS)}{number(rng, 8)}",
        )
    )


def tag(rng: random.Random) -> str:
    """Return an equipment tag."""
    return rng.choice(
        (
            f"{rng.randrange(1, 5)}RCP{digits(rng, 3)}VP",
            f"RRA{digits(rng, 3)}PO",
            f"{rng.randrange(1, 5)}-CV-{digits(rng, 4)}",
            f"LHQ{digits(rng, 3)}AP",
            f"P-{number(rng, 3)}{rng.choice('AB')}",
            f"DVN{digits(rng, 3)}ZV",
        )
    )


def procedure(rng: random.Random) -> str:
    """Return the number of a procedure."""
    return rng.choice(
        (
            f"EOP-{digits(rng, 3)}",
            f"QP-OPS-{digits(rng, 4)}",
            f"AOP-{digits(rng, 2)}.{digits(rng, 1)}",
            f"YJ/{digits(rng, 4)}-{number(rng, 2)}",
        )
    )


def report(rng: random.Random) -> str:
    """Return the number of a report, an order or a tender."""
    return rng.choice(
        (
            f"WO{number(rng, 8)}",
            f"CR-20{digits(rng, 2)}-{digits(rng, 5)}",
            f"ZB20{digits(rng, 2)}-{digits(rng, 4)}",
            f"{number(rng, 10)}",
            f"[20{digits(rng, 2)}]{number(rng, 3)}号",
            f"R{number(rng, 7)}",
        )
    )


def no_card(rng: random.Random, draw: Draw) -> str:
    """Return drawn digits that are no valid card number by chance."""
    while (value := draw(rng)).isdecimal() and luhn_digit(value[:-1]) == value[-1]:
        pass
    return value


def bad_card(rng: random.Random) -> str:
    """Return 16 or 19 digits that a card would have, but for the check digit."""
    body = rng.choice(("6222", "6217", "2023", "8600")) + digits(rng, rng.choice((11, 14)))
    return body + str((int(luhn_digit(body)) + rng.randrange(1, 10)) % 10)


def bad_resident_id(rng: random.Random) -> str:
    """Return 18 digits like a resident identity number, the check digit wrong."""
    body = f"510704{rng.randrange(1950, 2006)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}{digits(rng, 3)}"
    right = "0123456789X".index(resident_check(body))
    return body + "0123456789"[(right + rng.randrange(1, 10)) % 10 if right < 10 else rng.randrange(10)]


def bad_credit_code(rng: random.Random) -> str:
    """Return 18 characters like a unified social credit code, the check character wrong."""
    body = "91510704" + "".join(rng.choice(CREDIT_CHARACTERS) for _ in range(9))
    return body + CREDIT_CHARACTERS[(CREDIT_CHARACTERS.index(credit_check(body)) + rng.randrange(1, 30)) % 31]


SLOTS: dict[str, Draw] = {
    **{f"n{length}": (lambda rng, length=length: number(rng, length)) for length in range(1, 7)},  # type: ignore[misc]
    **{f"f{places}": (lambda rng, places=places: decimal(rng, places)) for places in range(1, 5)},  # type: ignore[misc]
    **{f"d{length}": (lambda rng, length=length: digits(rng, length)) for length in range(1, 12)},  # type: ignore[misc]
    "year": lambda rng: str(rng.randrange(1986, 2026)),
    "d2": lambda rng: f"{rng.randrange(1, 13):02d}",
    "n11": lambda rng: f"1{rng.choice('35789')}{digits(rng, 9)}",
    "ts13": lambda rng: f"17{digits(rng, 11)}",
    "ts14": lambda rng: "2024" + "".join(f"{rng.randrange(10, top)}" for top in (13, 29, 24, 60, 60)),
    "ts17": lambda rng: no_card(rng, lambda again: f"202403{again.randrange(10, 29)}{digits(again, 9)}"),
    "ver3": lambda rng: f"{rng.randrange(4)}.{rng.randrange(20)}.{rng.randrange(30)}",
    "ver4": lambda rng: f"{rng.randrange(1, 9)}.{rng.randrange(20)}.{rng.randrange(20)}.{rng.randrange(1, 255)}",
    "sec4": lambda rng: f"{rng.randrange(1, 12)}.{rng.randrange(1, 9)}.{rng.randrange(1, 9)}.{rng.randrange(1, 9)}",
    "sec": lambda rng: ".".join(str(rng.randrange(1, 12)) for _ in range(rng.choice((2, 3, 4)))),
    "ver": lambda rng: ".".join(str(rng.randrange(0, 20)) for _ in range(rng.choice((2, 3)))),
    "hex": lambda rng: f"{rng.randrange(16**8):08x}",
    "km": lambda rng: f"{rng.uniform(0.2, 80):.1f}",
    "usv": lambda rng: rng.choice((f"{rng.uniform(0.05, 0.3):.3f}", f"{rng.uniform(1, 900):.1f}", number(rng, 4))),
    "hz": lambda rng: f"{rng.uniform(48.5, 60.5):.2f}",
    "kev": lambda rng: f"{rng.uniform(59, 2615):.1f}",
    "sci": lambda rng: rng.choice(
        (
            f"{rng.uniform(1, 9.9):.2f}×10{rng.choice('⁻')}{rng.choice('³⁴⁵⁶')}",
            f"{rng.uniform(1, 9.9):.1f}E{rng.choice('+-')}{number(rng, 2)}",
            f"{rng.uniform(1, 9.9):.2f}×10^{rng.randrange(3, 18)}",
        )
    ),
    "iso": lambda rng: rng.choice(ISOTOPES),
    "std": lambda rng: rng.choice(STANDARDS),
    "gsr": lambda rng: rng.choice(IAEA),
    "instr": lambda rng: rng.choice(INSTRUMENTS),
    "instr_en": lambda rng: rng.choice(INSTRUMENTS_EN),
    "stab": lambda rng: rng.choice("ABCDEF"),
    "letter": lambda rng: rng.choice(LETTERS),
    "model": lambda rng: f"{rng.choice(LETTERS)}{rng.choice(LETTERS)}{number(rng, rng.choice((2, 3, 4)))}",
    "sample": lambda rng: rng.choice(
        (
            f"TR-{digits(rng, 4)}",
            f"S{number(rng, 6)}-{number(rng, 2)}",
            f"M{number(rng, 2)}",
            f"20{digits(rng, 2)}-W-{digits(rng, 3)}",
        )
    ),
    "time": clock,
    "date": day,
    "date_en": day_en,
    "serial": serial,
    "drawing": drawing,
    "tag": tag,
    "proc": procedure,
    "report": report,
    "card_bad": bad_card,
    "id_bad": lambda rng: no_card(rng, bad_resident_id),
    "credit_bad": bad_credit_code,
}
