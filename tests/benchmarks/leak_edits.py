"""How evaluation questions get into training data: verbatim, and with the light edits that hide them from a search.

An edit takes an item and gives the messages of a training row, or None where it cannot be done to that item.
"""

import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from tasks.data.matching.eval_sets import EvalItem

Messages = list[dict[str, str]]
Edit = Callable[[EvalItem, random.Random], Messages | None]

#: Word and what stands for it; longer words first, one pass.
SYNONYMS_ZH = {
    "正确的是": "说法对的是", "错误的是": "不正确的是", "不正确": "错误", "下列": "以下", "以下": "下列",
    "属于": "归属于", "应当": "应该", "应该": "应当", "因此": "所以", "主要": "首要", "关于": "有关",
    "可以": "能够", "如果": "若", "通常": "一般", "一般": "通常", "进行": "开展", "需要": "需", "由于": "因为",
    "为什么": "为何", "哪些": "什么", "哪个": "哪一个", "称为": "叫做", "叫做": "称为", "中国": "我国",
    "我国": "中国", "具有": "拥有", "采用": "使用", "使用": "采用", "导致": "造成", "表示": "代表",
    "已知": "给定", "发生": "出现", "增加": "增大", "是否": "是不是",
}  # fmt: skip
SYNONYMS_EN = {
    "which of the following": "which one of these", "following": "listed", "should": "ought to",
    "must": "has to", "what is": "what's", "how many": "what number of", "because": "since",
    "before": "prior to", "about": "roughly", "best": "most suitable", "use": "employ", "first": "initially",
    "need": "require", "people": "persons", "reading": "value", "after": "following", "within": "inside",
    "large": "big", "show": "display",
}  # fmt: skip
PREFIXES_ZH = (
    "请回答下面这道题，并说明理由。",
    "【2023年模拟卷】",
    "你是一名考试辅导老师。题目如下：",
    "老师刚布置了这道题，帮我看看：",
)
SUFFIXES_ZH = ("请一步一步思考后再作答。", "谢谢！", "只需给出选项。", "（本题3分）")
PREFIXES_EN = (
    "Please answer the question below and explain. ",
    "Practice exam, part 2. ",
    "You are a tutor. Question: ",
)
SUFFIXES_EN = (" Think step by step.", " Thanks!", " Reply with the letter only.", " (3 points)")
FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)} | {" ": "\u3000"})
_WORD = re.compile(r"[A-Za-z]{3,}|[\u4e00-\u9fff]")


def is_chinese(text: str) -> bool:
    """Tell whether a text is Chinese, code and formulas in it notwithstanding."""
    return sum("\u4e00" <= character <= "\u9fff" for character in text) >= 3


def turns(question: str, answer: str) -> Messages:
    """Return a conversation of one question."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def listed(options: tuple[str, ...], labels: str = "ABCD", mark: str = ". ") -> str:
    """Return options one a line."""
    return "".join(f"\n{label}{mark}{option}" for label, option in zip(labels, options, strict=False))


def answer_of(item: EvalItem) -> str:
    """Return an answer that gives nothing of the question away."""
    return "选第一项，理由见教材。" if is_chinese(item.question) else "The first one; see the textbook for why."


def asked(item: EvalItem, question: str) -> Messages:
    """Return a row that asks an edited question with its options as they are."""
    return turns(question + listed(item.options), answer_of(item))


def verbatim(item: EvalItem, rng: random.Random) -> Messages | None:
    """Question and options as they are."""
    return asked(item, item.question)


def question_alone(item: EvalItem, rng: random.Random) -> Messages | None:
    """The question without its options."""
    return turns(item.question, answer_of(item))


def options_shuffled(item: EvalItem, rng: random.Random) -> Messages | None:
    """Options in another order."""
    if not item.options:
        return None
    return turns(item.question + listed(tuple(rng.sample(item.options, len(item.options)))), answer_of(item))


def renumbered(item: EvalItem, rng: random.Random) -> Messages | None:
    """A number before the question, other labels before the options."""
    number = rng.choice(("17、", "(8) ", "Q3: ", "第5题 ", "42. "))
    marks = rng.choice((("1234", ") "), ("①②③④", " "), ("abcd", "、")))
    return turns(number + item.question + listed(item.options, *marks), answer_of(item))


def full_width(item: EvalItem, rng: random.Random) -> Messages | None:
    """Letters, digits and marks in full-width forms."""
    return turns((item.question + listed(item.options)).translate(FULL_WIDTH), answer_of(item))


def spaced(item: EvalItem, rng: random.Random) -> Messages | None:
    """Line breaks and spaces where text was copied from a narrow column, other punctuation."""
    text = "".join(
        character + (rng.choice((" ", "\n")) if is_chinese(character * 3) and rng.random() < 0.12 else "")
        for character in item.question
    )
    return asked(item, text.replace("，", ",").replace("。", ".").replace("？", "?").replace("  ", " "))


def surrounded(item: EvalItem, rng: random.Random) -> Messages | None:
    """A prefix and a suffix around the question; options left out."""
    chinese = is_chinese(item.question)
    prefix = rng.choice(PREFIXES_ZH if chinese else PREFIXES_EN)
    suffix = rng.choice(SUFFIXES_ZH if chinese else SUFFIXES_EN)
    return turns(f"{prefix}{item.question}{suffix}", answer_of(item))


def in_dialogue(item: EvalItem, rng: random.Random) -> Messages | None:
    """Asked in the second turn of a conversation about something else."""
    chinese = is_chinese(item.question)
    first = turns("你好，在吗？", "在的，请讲。") if chinese else turns("Hi, are you there?", "Yes, go ahead.")
    return [*first, *asked(item, item.question)]


def in_answer(item: EvalItem, rng: random.Random) -> Messages | None:
    """Made up by the assistant on request: the question stands in the answer."""
    if is_chinese(item.question):
        return turns("请出一道选择题。", f"好的，题目如下：\n{item.question}{listed(item.options)}\n答案：略。")
    return turns("Write one exam question.", f"Here is one:\n{item.question}{listed(item.options)}\nAnswer withheld.")


def traditional(item: EvalItem, rng: random.Random) -> Messages | None:
    """In traditional characters, phrases as Taiwan writes them."""
    if not is_chinese(item.question):
        return None
    text = _converter().convert(item.question + listed(item.options))
    return turns(text, answer_of(item)) if text != item.question + listed(item.options) else None


@cache
def _converter() -> Any:
    """Return OpenCC's converter from simplified to traditional."""
    import opencc

    return opencc.OpenCC("s2tw")


def changed(count: int, kind: str) -> Edit:
    """Return the edit that changes, drops or inserts so many Chinese characters, or letters within English words."""

    def edit(item: EvalItem, rng: random.Random) -> Messages | None:
        places = [m.start() + (len(m[0]) > 1) for m in _WORD.finditer(item.question)]
        if len(places) < 4 + count:
            return None
        text = item.question
        for place in sorted(rng.sample(places, count), reverse=True):
            new = "" if kind == "dropped" else rng.choice("这其某该的" if is_chinese(text) else "aeiou")
            if kind == "changed" and new == text[place]:
                new = "那" if is_chinese(text) else "y"
            text = text[:place] + new + text[place + (kind != "inserted") :]
        return asked(item, text)

    return edit


def alone_changed(item: EvalItem, rng: random.Random) -> Messages | None:
    """One character of the question changed, and its options left out."""
    return changed(1, "changed")(EvalItem(item.eval_set, item.item_id, item.question), rng)


def synonyms(item: EvalItem, rng: random.Random) -> Messages | None:
    """Up to three words swapped for others of the same meaning."""
    text = swapped(item.question)
    return asked(item, text) if text != item.question else None


def swapped(text: str, most: int = 3) -> str:
    """Return a text with up to `most` words swapped."""
    if is_chinese(text):
        return re.sub("|".join(SYNONYMS_ZH), lambda match: SYNONYMS_ZH[match[0]], text, count=most)
    words = rf"\b(?:{'|'.join(SYNONYMS_EN)})\b"
    return re.sub(words, lambda match: SYNONYMS_EN[match[0].lower()], text, count=most, flags=re.IGNORECASE)


def half_rephrased(item: EvalItem, rng: random.Random) -> Messages | None:
    """One half of the stem rephrased lightly (words swapped, fillers put in), options in another order."""
    middle = len(item.question) // 2
    halves = [item.question[:middle], item.question[middle:]]
    side = rng.randrange(2)
    half = swapped(halves[side], most=4)
    fillers, every = (
        ("其实", "具体", "所谓", "一个") if is_chinese(item.question) else (" actually", " given", " say"),
        9,
    )
    places = [m.start() for m in re.finditer(r"[\u4e00-\u9fff]" if is_chinese(half) else " ", half)][
        every // 2 :: every
    ]
    for place in reversed(places[:3]):
        half = half[:place] + rng.choice(fillers) + half[place:]
    if half == halves[side]:
        return None
    halves[side] = half
    options = tuple(rng.sample(item.options, len(item.options)))
    return turns("".join(halves) + listed(options), answer_of(item))


#: Name -> edit. The bar of recall stands on each that shows what identifies an item.
EDITS: dict[str, Edit] = {
    "verbatim": verbatim,
    "question_alone": question_alone,
    "options_shuffled": options_shuffled,
    "renumbered": renumbered,
    "full_width": full_width,
    "spaced": spaced,
    "surrounded": surrounded,
    "in_dialogue": in_dialogue,
    "in_answer": in_answer,
    "traditional": traditional,
    "one_changed": changed(1, "changed"),
    "one_dropped": changed(1, "dropped"),
    "one_inserted": changed(1, "inserted"),
    "two_changed": changed(2, "changed"),
    "alone_changed": alone_changed,
    "synonyms": synonyms,
    "half_rephrased": half_rephrased,
}
#: These leave the options out: nothing can tell which item a stem shared by several is, or a handful of characters.
WITHOUT_OPTIONS = {"question_alone", "surrounded", "alone_changed"}
