"""Make lexicon.json: the ordinary two-character words a Chinese name may be mistaken in.

`python -m tasks.data.privacy.make_lexicon DICT` with `dict.txt` of jieba 0.42.1 (MIT licence, Sun Junyi); a line of
it is word, frequency, part of speech. Only words that overlap a possible name are kept.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

from tasks.data.privacy.surnames import GIVEN, MIXED, PURE, RARE

OUTPUT = Path(__file__).parent / "lexicon.json"
_LEAST_FREQUENCY = 60
_NAMES = ("nr", "nrt", "nrfg")
_SURNAMES = PURE | MIXED | RARE


def make_lexicon(dictionary: Path) -> str:
    """Return the text of lexicon.json: first characters, each with the second ones."""
    seconds: dict[str, list[str]] = defaultdict(list)
    with dictionary.open(encoding="utf-8") as lines:
        for line in lines:
            word, frequency, part = line.split()
            if len(word) == 2 and part not in _NAMES and int(frequency) >= _LEAST_FREQUENCY and _overlaps(word):
                seconds[word[0]].append(word[1])
    words = {first: "".join(sorted(seconds[first])) for first in sorted(seconds)}
    return json.dumps(words, ensure_ascii=False, indent=0) + "\n"


def _overlaps(word: str) -> bool:
    """Tell whether a word can share characters with a name."""
    return word[0] in GIVEN or word[0] in _SURNAMES or word[1] in _SURNAMES


if __name__ == "__main__":
    OUTPUT.write_text(make_lexicon(Path(sys.argv[1])), encoding="utf-8")
