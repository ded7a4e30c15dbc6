"""Write the labelled privacy sets from their templates: privacy.jsonl, engineering.jsonl and second.jsonl.

    .venv/bin/python tests/benchmarks/labelled/make_sets.py [--check]

A template is a line of text with `{slot}` (a drawn value) and `[[type|text]]` (a hand-written one); `# repeat N` says
how many sentences each of the following templates gives. The same seed gives the same bytes; `--check` writes nothing
and fails where the files on disk differ.
"""

import random
import re
import sys
from collections.abc import Iterator
from typing import Any

import people
from slots import SLOTS
from written import HERE, Sentence, as_lines, write_or_check

SEED = 20260417
_NAMES = (HERE / "templates" / "organisations.txt").read_text(encoding="utf-8").splitlines()
CHINESE_ORGANISATIONS = [name for name in _NAMES if not name.isascii()]
ENGLISH_ORGANISATIONS = [name for name in _NAMES if name.isascii()]
FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
#: Slot -> (type, what draws it, types a recognizer may name it as well).
PERSONAL: dict[str, tuple[str, people.Draw, tuple[str, ...]]] = {
    **{name: (name, getattr(people, name), ()) for name in (
        "mobile", "landline", "resident_id", "email", "bank_card", "passport", "licence_plate", "credit_code", "ip",
        "coordinates", "address",
    )},
    "ip4": ("ip", people.ip4, ()),
    "mobile_en": ("mobile", people.mobile_en, ("landline",)),
    "phone_en": ("landline", people.phone_en, ("mobile",)),
    "coordinates_zh": ("coordinates", people.coordinates_zh, ()),
    "address_en": ("address", people.address_en, ()),
    "person": ("person_name", people.person_name, ()),
    "surname": ("person_name", people.surname, ()),
    "person_en": ("person_name", people.person_name_en, ()),
    "surname_en": ("person_name", people.surname_en, ()),
    "organisation": ("organisation", lambda rng: rng.choice(CHINESE_ORGANISATIONS), ()),
    "organisation_en": ("organisation", lambda rng: rng.choice(ENGLISH_ORGANISATIONS), ()),
}  # fmt: skip
#: How people break up a number; a value is left plain where its type has no such habit.
GROUPS = {"mobile": (3, 4, 4), "bank_card": (4, 4, 4, 4, 3), "resident_id": (6, 8, 4)}
#: Written in full-width forms now and then, by Chinese input methods.
WIDE = {"mobile", "landline", "resident_id", "bank_card", "licence_plate", "credit_code", "passport", "email", "ip"}
_MARK = re.compile(r"\{([a-z_]+\d*)\}|\[\[([a-z_]+)\|([^\]]+)\]\]")


def varied(slot: str, value: str, chinese: bool, rng: random.Random) -> tuple[str, str]:
    """Return a value as someone might type it, and the name of that way."""
    chance = rng.random()
    if slot in WIDE and chinese and chance < 0.14:
        return value.translate(FULL_WIDTH), "full_width"
    if slot in GROUPS and chance > 0.75:
        separator = rng.choice((" ", "-")) if slot != "resident_id" else " "
        return separator.join(_groups(value, GROUPS[slot])), "spaced"
    if slot == "mobile" and chance > 0.67:
        return rng.choice(("+86 ", "+86", "86-", "(+86)")) + value, "country_code"
    if slot == "landline" and chinese and chance > 0.6:
        area, rest = value.split("-")
        return rng.choice((f"({area}){rest}", f"（{area}）{rest}", f"{area} {rest}", f"{area}{rest}",
                           f"+86 {area[1:]} {rest}", f"{area}-{rest[:-4]}-{rest[-4:]}")), "spaced"  # fmt: skip
    if slot == "licence_plate" and chance > 0.7:
        return value[:2] + rng.choice(("·", " ", "•")) + value[2:], "spaced"
    return value, "plain"


def _groups(value: str, sizes: tuple[int, ...]) -> list[str]:
    """Cut a value into groups; what is left over joins the last."""
    groups, start = [], 0
    for size in sizes:
        groups.append(value[start : start + size])
        start += size
    return [group for group in groups if group]


def filled(template: str, rng: random.Random) -> Sentence:
    """Return a template with values."""
    sentence, end = Sentence(), 0
    chinese = any("\u4e00" <= character <= "\u9fff" for character in _MARK.sub("", template))
    for match in _MARK.finditer(template):
        sentence.text += template[end : match.start()]
        end = match.end()
        slot, type_, text = match.groups()
        if type_:
            sentence.add(type_, text, "hand_written")
        elif slot in PERSONAL:
            type_, draw, also = PERSONAL[slot]
            value, variant = varied(slot, draw(rng), chinese, rng)
            sentence.add(type_, value, variant, also)
        else:
            sentence.text += SLOTS[slot](rng)
    sentence.text += template[end:]
    return sentence


def templates(name: str) -> Iterator[tuple[str, str, int]]:
    """Yield (name, template, repetitions) of a template file."""
    repeat = 1
    for number, line in enumerate((HERE / "templates" / f"{name}.txt").read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("# repeat "):
            repeat = int(line.removeprefix("# repeat "))
        elif line:
            yield f"{name}:{number}", line.replace("\\n", "\n"), repeat


def rows(group: str, names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the distinct sentences of template files."""
    seen = set()
    for name in names:
        for label, template, repeat in templates(name):
            # Seeded by the template, not by its place: a new line leaves the other sentences as they are.
            rng = random.Random(f"{SEED}/{template}")
            for _ in range(repeat):
                sentence = filled(template, rng)
                if sentence.text not in seen:
                    seen.add(sentence.text)
                    yield sentence.row(group, label)


def sets() -> dict[str, str]:
    """Return the content of the files."""
    files = {
        "privacy.jsonl": [
            *rows("personal", ("personal_zh", "personal_en", "handwritten")),
            *rows("hard_negative", ("hard_negatives",)),
            *rows("public_figure", ("public_figures",)),
        ],
        "engineering.jsonl": list(rows("engineering", ("engineering_zh", "engineering_en"))),
        "second.jsonl": [
            *rows("personal", ("held_out_personal",)),
            *rows("engineering", ("held_out_engineering",)),
        ],
    }
    return {name: as_lines(values) for name, values in files.items()}


if __name__ == "__main__":
    sys.exit(write_or_check(sets(), __doc__))
