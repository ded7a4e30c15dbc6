"""Numbers and accounts that the slots of `unseen.py` draw, and numbers that only look like these.

They follow the public standards (GB 11643, GB/T 2260, 3GPP TS 23.003 with Luhn, the national numbering plans);
foreign ones use blocks kept for examples where a plan has such.
"""

import random

from people import Draw, digits, luhn_digit, resident_check

_REGIONS = (
    "110105",
    "310104",
    "320311",
    "330782",
    "350503",
    "370705",
    "410305",
    "430211",
    "440604",
    "510502",
    "500107",
)


def _id_body(rng: random.Random) -> str:
    date = f"{rng.randrange(1945, 2008)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"
    return rng.choice(_REGIONS) + date + digits(rng, 3)


def resident_id(rng: random.Random) -> str:
    """Return a resident id with a right check digit."""
    body = _id_body(rng)
    return body + resident_check(body)


def resident_id_mistyped(rng: random.Random) -> str:
    """Return a resident id whose check digit is wrong."""
    body = _id_body(rng)
    return body + rng.choice([digit for digit in "0123456789X" if digit != resident_check(body)])


def imei(rng: random.Random) -> str:
    """Return an IMEI with its check digit."""
    body = rng.choice(("35", "86", "01", "99")) + digits(rng, 12)
    return body + luhn_digit(body)


def mobile(rng: random.Random) -> str:
    """Return a mainland mobile number."""
    return rng.choice(
        ("130", "135", "139", "150", "158", "166", "176", "177", "182", "187", "189", "191", "199")
    ) + digits(rng, 8)


def mobile_spaced(rng: random.Random) -> str:
    """Return a mainland mobile number in groups, or with the country code."""
    value = mobile(rng)
    return rng.choice(
        (
            f"{value[:3]} {value[3:7]} {value[7:]}",
            f"{value[:3]}-{value[3:7]}-{value[7:]}",
            f"+86{value}",
            f"+86 {value}",
            f"0086{value}",
            f"(86){value}",
            f"86-{value}",
        )
    )


def hong_kong(rng: random.Random) -> str:
    """Return a Hong Kong number with its code."""
    value = rng.choice("569") + digits(rng, 7)
    return rng.choice(
        (
            f"+852 {value[:4]} {value[4:]}",
            f"（852）{value}",
            f"00852{value}",
            f"+852{value}",
            f"(852) {value}",
            f"852-{value}",
            f"+852-{value[:4]}-{value[4:]}",
        )
    )


def macau(rng: random.Random) -> str:
    """Return a Macau number with its code."""
    value = rng.choice(("6", "28")) + digits(rng, 7)
    value = value[:8]
    return rng.choice(
        (f"+853 {value[:4]} {value[4:]}", f"00853{value}", f"(853){value}", f"+853{value}", f"853-{value}")
    )


def taiwan_mobile(rng: random.Random) -> str:
    """Return a Taiwan mobile number."""
    value = "9" + digits(rng, 8)
    return rng.choice(
        (
            f"0{value[:3]}-{value[3:6]}-{value[6:]}",
            f"00886{value}",
            f"+886{value}",
            f"+886-{value[:3]}-{value[3:6]}-{value[6:]}",
            f"0{value}",
            f"+886 {value[:3]} {value[3:]}",
            f"886-{value}",
        )
    )


def taiwan_landline(rng: random.Random) -> str:
    """Return a Taiwan fixed line."""
    value = rng.choice("2345678") + digits(rng, 7)
    return rng.choice(
        (
            f"02-{value}",
            f"(02){value}",
            f"+886-2-{value}",
            f"(02){value[:4]}-{value[4:]}",
            f"+886 2 {value[:4]} {value[4:]}",
            f"04-{value}",
        )
    )


def e164(rng: random.Random) -> str:
    """Return a foreign number with its plus sign; blocks kept for fiction where there are such."""
    return rng.choice(
        (
            f"+1 {rng.randrange(201, 989)}-555-01{digits(rng, 2)}",
            f"+1{rng.randrange(201, 989)}55501{digits(rng, 2)}",
            f"+44 7700 900{digits(rng, 3)}",
            f"+447700900{digits(rng, 3)}",
            f"+61 491 570 {digits(rng, 3)}",
            f"+49 30 23125 {digits(rng, 3)}",
            f"+33 6 39 98 {digits(rng, 2)} {digits(rng, 2)}",
            f"+81 90-{digits(rng, 4)}-{digits(rng, 4)}",
            f"+65 9{digits(rng, 3)} {digits(rng, 4)}",
            f"+7 900 {digits(rng, 3)}-{digits(rng, 2)}-{digits(rng, 2)}",
            f"+60 12-{digits(rng, 3)} {digits(rng, 4)}",
            f"+919{digits(rng, 9)}",
        )
    )


def landline(rng: random.Random) -> str:
    """Return a mainland fixed line."""
    area = rng.choice(("010", "021", "0516", "0757", "0579", "0731", "0595", "0379", "0830"))
    return f"{area}-{rng.choice('245678')}{digits(rng, 7)}"


def landline_glued(rng: random.Random) -> str:
    """Return a mainland fixed line without its hyphen, or with brackets."""
    area, rest = landline(rng).split("-")
    return rng.choice((f"{area}{rest}", f"({area}){rest}", f"（{area}）{rest}", f"{area} {rest}"))


def email(rng: random.Random) -> str:
    """Return an address in a domain kept for examples."""
    local = f"{rng.choice(('a', 'lz', 'quan', 'river'))}{digits(rng, rng.randrange(2, 6))}"
    return f"{local}@{rng.choice(('example.com', 'mail.example.net', 'corp.example.org'))}"


def bank_card(rng: random.Random) -> str:
    """Return a debit card of 19 digits with its check digit."""
    body = rng.choice(("622202", "621700", "622848", "623052", "621226")) + digits(rng, 12)
    return body + luhn_digit(body)


def credit_card(rng: random.Random) -> str:
    """Return a credit card of 16 digits, in groups of four now and then."""
    body = rng.choice(("6225", "5187", "3568", "4392")) + digits(rng, 11)
    value = body + luhn_digit(body)
    return value if rng.random() < 0.6 else " ".join(value[n : n + 4] for n in range(0, 16, 4))


def public_ip(rng: random.Random) -> str:
    """Return a public IPv4 address."""
    return (
        f"{rng.choice((47, 59, 101, 121, 183, 220))}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    )


def plate(rng: random.Random) -> str:
    """Return a licence plate."""
    return (
        rng.choice("京沪苏浙粤川鲁豫皖闽")
        + rng.choice("ABCDEFG")
        + "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789") for _ in range(4))
        + rng.choice("0123456789")
    )


def passport(rng: random.Random) -> str:
    """Return a Chinese passport number."""
    return rng.choice(("E", "EA", "EB", "G")).ljust(1) + digits(rng, 8) if rng.random() < 0.5 else "EC" + digits(rng, 7)


def qq(rng: random.Random) -> str:
    """Return a QQ number of six to ten digits."""
    return str(rng.randrange(1, 10)) + digits(rng, rng.randrange(5, 10))


def wechat(rng: random.Random) -> str:
    """Return a WeChat account: six to twenty letters, digits, hyphens and underscores, a letter first."""
    return rng.choice(
        (
            f"wxid_{''.join(rng.choice('abcdefghjkmnpqrstuvw0123456789') for _ in range(12))}",
            f"sunny_{digits(rng, 4)}",
            f"lx{digits(rng, 7)}",
            f"hello-{rng.choice(('maple', 'ocean'))}{digits(rng, 2)}",
            f"Tina{digits(rng, 6)}",
        )
    )


_PHONE, _FIXED = ("landline",), ("mobile",)
STRUCTURED: dict[str, tuple[str, Draw, tuple[str, ...]]] = {
    "qq": ("qq", qq, ()),
    "wx": ("wechat", wechat, ()),
    "imei": ("imei", imei, ()),
    "idn": ("resident_id", resident_id, ()),
    "idbad": ("resident_id", resident_id_mistyped, ()),
    "mob": ("mobile", mobile, ()),
    "mobsp": ("mobile", mobile_spaced, ()),
    "hk": ("mobile", hong_kong, _PHONE),
    "mo": ("mobile", macau, _PHONE),
    "tw": ("mobile", taiwan_mobile, _PHONE),
    "twl": ("landline", taiwan_landline, _FIXED),
    "e164": ("mobile", e164, _PHONE),
    "land": ("landline", landline, ()),
    "landglue": ("landline", landline_glued, ()),
    "mail": ("email", email, ()),
    "card": ("bank_card", bank_card, ()),
    "cc": ("bank_card", credit_card, ()),
    "pip": ("ip", public_ip, ()),
    "plate": ("licence_plate", plate, ()),
    "pp": ("passport", passport, ()),
}


def _number(length: int) -> Draw:
    return lambda rng: str(rng.randrange(10 ** (length - 1), 10**length))


NEGATIVES: dict[str, Draw] = {
    **{f"n{length}": _number(length) for length in (2, 3, 4, 5, 6, 7, 8, 10, 11)},
    "n11m": lambda rng: "2" + digits(rng, 10),
    "order": lambda rng: (
        "20" + f"{rng.randrange(15, 26)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}" + digits(rng, 10)
    ),
    "order10": _number(10),
    "ts": lambda rng: str(rng.randrange(1_500_000_000, 1_750_000_000)),
    "ts13": lambda rng: str(rng.randrange(1_500_000_000_000, 1_750_000_000_000)),
}
