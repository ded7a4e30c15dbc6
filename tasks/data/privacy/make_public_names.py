"""Make public_names.json: who is known, so that a name is knowledge and no personal data.

`python -m tasks.data.privacy.make_public_names LIST DICT` with `THUOCL_lishimingren.txt` (people of history and
public life with the number of documents that name them; MIT licence, github.com/thunlp/THUOCL) and `dict.txt` of jieba
0.42.1 (MIT; frequent names in novels and news).
"""

import json
import sys
from pathlib import Path

OUTPUT = Path(__file__).parent / "public_names.json"
#: Documents that name somebody, from which the name alone stands for them; two characters are too many people's.
_PROMINENT_DOCUMENTS, _LEAST_DOCUMENTS = 400, 5
_LEAST_FREQUENCY = 60


def make_public_names(listed: Path, dictionary: Path) -> dict[str, str]:
    """Return the prominent names and the others."""
    prominent, others = set(), set()
    for line in listed.read_text(encoding="utf-8-sig").splitlines():
        name, _, documents = line.strip().partition("\t")
        count = int(documents or 0)
        if len(name) > 2 and count >= _PROMINENT_DOCUMENTS:
            prominent.add(name)
        elif count >= _LEAST_DOCUMENTS:
            others.add(name)
    for line in dictionary.read_text(encoding="utf-8").splitlines():
        name, frequency, part = line.split()
        if part in ("nr", "nrt", "nrfg") and len(name) in (3, 4) and int(frequency) >= _LEAST_FREQUENCY:
            others.add(name)
    return {"prominent": " ".join(sorted(prominent)), "others": " ".join(sorted(others - prominent))}


if __name__ == "__main__":
    names = make_public_names(*map(Path, sys.argv[1:3]))
    OUTPUT.write_text(json.dumps(names, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
