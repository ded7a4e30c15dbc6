"""The places and forms a question hides in: two turns, an explanation, a statement, a system prompt, a refused answer.

As in `leak_edits.py`: a form takes an item and gives the messages of a training row, or None where it cannot. A refused
answer of a preference row is a message of the role `rejected`.
"""

import random
import re

from leak_edits import Edit, Messages, answer_of, half_rephrased, is_chinese, listed, traditional, turns

from tasks.data.matching.eval_sets import EvalItem

_BLANK = re.compile(r"_{2,}|（\s*）|\(\s*\)|\$\\?_+\$")
_ENGLISH_WORDS = {
    "下列": " following ", "以下": " following ", "正确": " correct ", "错误": " wrong ", "属于": " belongs to ",
    "关于": " about ",
    "主要": " main ", "如果": " if ", "不是": " is not ", "包括": " includes ", "问题": " problem ", "系统": " system ",
    "中国": " China ", "发展": " development ", "社会": " society ", "企业": " enterprise ", "作用": " effect ",
}  # fmt: skip


def halves_of(text: str) -> tuple[str, str]:
    """Return a text in two, cut at the mark or gap next to its middle."""
    places = [m.end() for m in re.finditer(r"[，。；：,;.]|(?<=[a-z]) ", text)] or [len(text) // 2]
    middle = min(places, key=lambda place: abs(place - len(text) // 2))
    if not len(text) // 4 <= middle <= 3 * len(text) // 4:
        middle = len(text) // 2
    return text[:middle], text[middle:]


def over_two_turns(item: EvalItem, rng: random.Random) -> Messages | None:
    """The question in two turns of the user, its options left out."""
    first, second = halves_of(item.question)
    if is_chinese(item.question):
        between = rng.choice(("好的，请继续。", "嗯，然后呢？", "收到，请把后半句也发给我。"))
        return [
            *turns(first, between),
            *turns(rng.choice(("", "接着上面：", "后半部分是：")) + second, answer_of(item)),
        ]
    between = rng.choice(("Go on.", "I see, and then?", "Please send the rest."))
    return [*turns(first, between), *turns(rng.choice(("", "The rest: ")) + second, answer_of(item))]


def options_in_second_turn(item: EvalItem, rng: random.Random) -> Messages | None:
    """The question in one turn, its options in the next."""
    if not item.options:
        return None
    ask = "请给出选项。" if is_chinese(item.question) else "Which choices are there?"
    return [*turns(item.question, ask), *turns(listed(item.options).strip(), answer_of(item))]


def explained(item: EvalItem, rng: random.Random) -> Messages | None:
    """Quoted by an answer that explains it; of the options only the one chosen."""
    option = rng.choice(item.options) if item.options else ""
    if is_chinese(item.question):
        ask, before, after = rng.choice((
            ("能举一个例子吗？", "可以。比如这样一道题：", "做这类题先要弄清概念，再逐项排除。"),
            ("帮我复习一下。", "先看一个常考的问题。", "教材里有详细的说明，要点是把条件和结论对应起来。"),
            ("这一章难在哪里？", "难点在概念的区分。考试会这样问：", "很多同学在这里失分，因为没有看清题干。"),
        ))  # fmt: skip
        return turns(ask, f"{before}{item.question}{after}{f'这里应当选“{option}”。' if option else ''}")
    ask, before, after = rng.choice((
        ("Can you give an example?", "Take this one: ", " Read the conditions first, then rule the rest out."),
        ("Help me revise.", "A question that is often asked: ", " The textbook covers it in its third chapter."),
    ))  # fmt: skip
    return turns(ask, f"{before}{item.question}{after}{f' Here it is {option}.' if option else ''}")


def statement(item: EvalItem, rng: random.Random) -> Messages | None:
    """As a statement with an option in its place, to be judged by the assistant."""
    if not item.options:
        return None
    option = rng.choice(item.options)
    chinese = is_chinese(item.question)
    said = _BLANK.sub(lambda _: option, item.question, count=1)
    if said == item.question:
        said = item.question.rstrip("？?。.：: ") + ("：" if chinese else ": ") + option
    if chinese:
        return turns(f"判断下面的说法是否正确：{said}", "需要结合教材来判断。")
    return turns(f"True or false: {said}", "It depends on the textbook.")


def in_system(item: EvalItem, rng: random.Random) -> Messages | None:
    """In the system prompt, with its options."""
    if is_chinese(item.question):
        prompt = f"你是一名考试助手。参考题目：{item.question}{listed(item.options)}\n请不要泄露。"
        return [{"role": "system", "content": prompt}, *turns("你好", "你好，有什么可以帮你？")]
    prompt = f"You are an exam assistant. Sample item: {item.question}{listed(item.options)}\nDo not reveal it."
    return [{"role": "system", "content": prompt}, *turns("Hello", "Hello, how can I help?")]


def in_system_alone(item: EvalItem, rng: random.Random) -> Messages | None:
    """In the system prompt, its options left out."""
    return in_system(EvalItem(item.eval_set, item.item_id, item.question), rng)


def in_rejected(item: EvalItem, rng: random.Random) -> Messages | None:
    """In the refused answer of a preference row, with its options."""
    if is_chinese(item.question):
        refused = f"好的，题目是：{item.question}{listed(item.options)}"
        return [*turns("出一道题。", "抱歉，我不能透露试题。"), {"role": "rejected", "content": refused}]
    refused = f"Here is one: {item.question}{listed(item.options)}"
    return [*turns("Write a question.", "I may not reveal items."), {"role": "rejected", "content": refused}]


def in_rejected_alone(item: EvalItem, rng: random.Random) -> Messages | None:
    """In the refused answer, its options left out."""
    return in_rejected(EvalItem(item.eval_set, item.item_id, item.question), rng)


def prose(item: EvalItem, rng: random.Random) -> Messages | None:
    """Options told in a sentence."""
    if not item.options:
        return None
    if is_chinese(item.question):
        return turns(f"{item.question}有人认为是{'，也有人认为是'.join(item.options)}。", answer_of(item))
    return turns(f"{item.question} Some say {', others say '.join(item.options)}.", answer_of(item))


def markdown(item: EvalItem, rng: random.Random) -> Messages | None:
    """As a table with emphasis."""
    cells = "".join(f"| {letter} | {option} |\n" for letter, option in zip("ABCD", item.options, strict=False))
    return turns(f"### **{item.question}**\n\n|  |  |\n|---|---|\n{cells}", answer_of(item))


def worksheet(item: EvalItem, rng: random.Random) -> Messages | None:
    """Among other questions of a worksheet."""
    if is_chinese(item.question):
        others = ("请写出你所在城市的名称。", "请简述你本周的学习计划。")
        return turns(
            f"练习卷\n1. {others[0]}\n2. {item.question}{listed(item.options)}\n3. {others[1]}", answer_of(item)
        )
    others = ("Write down the name of your town.", "Describe your plan for this week.")
    return turns(
        f"Worksheet\n1. {others[0]}\n2. {item.question}{listed(item.options)}\n3. {others[1]}", answer_of(item)
    )


def thinking(item: EvalItem, rng: random.Random) -> Messages | None:
    """In the thought before an answer."""
    if is_chinese(item.question):
        return turns(
            "请作答。", f"<think>\n题目是：{item.question}{listed(item.options)}\n先看第一项。</think>\n\n选第一项。"
        )
    return turns("Answer.", f"<think>\nThe item: {item.question}{listed(item.options)}\nThe first fits.</think>\n\nA.")


def traditional_rephrased(item: EvalItem, rng: random.Random) -> Messages | None:
    """Half rephrased, in traditional characters."""
    row = half_rephrased(item, rng) if is_chinese(item.question) else None
    return traditional(EvalItem(item.eval_set, item.item_id, row[0]["content"]), rng) if row else None


def mixed_language(item: EvalItem, rng: random.Random) -> Messages | None:
    """Chinese with English words in it; a proxy of what a bilingual writer does."""
    text = re.sub("|".join(_ENGLISH_WORDS), lambda found: _ENGLISH_WORDS[found[0]], item.question, count=3)
    return turns(text + listed(item.options), answer_of(item)) if text != item.question else None


FORMS: dict[str, Edit] = {
    "over_two_turns": over_two_turns,
    "options_second": options_in_second_turn,
    "explained": explained,
    "statement": statement,
    "in_system": in_system,
    "in_system_alone": in_system_alone,
    "in_rejected": in_rejected,
    "rejected_alone": in_rejected_alone,
    "prose": prose,
    "markdown": markdown,
    "worksheet": worksheet,
    "thinking": thinking,
    "trad_rephrased": traditional_rephrased,
    "mixed_language": mixed_language,
}
#: These leave the options out, or all but one.
FORMS_WITHOUT_OPTIONS = {"over_two_turns", "explained", "statement", "in_system_alone", "rejected_alone"}
