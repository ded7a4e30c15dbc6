"""What is said to the model: a question as a caller asks it, and how long its answer may be."""

import hashlib
import itertools

from tasks.exams.pack.schema import LETTERS, Item

#: One letter for each step of an order.
STEP_LETTERS = "ABCDEFGH"

ASK_FOR_LETTER = {"zh": "请只回答正确选项的字母。", "en": "Answer with the letter of the correct option only."}
ASK_FOR_QUANTITY = {"zh": "请只回答一个数值和单位。", "en": "Answer with one number and its unit only."}
ASK_FOR_NUMBER = {"zh": "请只回答一个数值。", "en": "Answer with one number only."}
# X, Y and Z are no letters of any item: who repeats the example gives no answer.
ASK_FOR_ORDER = {
    "zh": "请按从先到后的顺序写出全部字母，用 > 连接，例如 X>Y>Z。只写字母。",
    "en": "Write all letters from first to last, joined by >, for example X>Y>Z. Letters only.",
}

#: Tokens an answer may have: enough for a Chinese answer of 90 characters at 2 tokens each, and for reasons.
MAX_TOKENS = {"short": 192, "numeric": 64, "order": 96, "refuse": 128, "unknown": 128, "thinking": 64}
MAX_TOKENS_THINKING = 1024


def choice_prompt(item: Item) -> str:
    """Return a four-option question as a user asks it."""
    options = "\n".join(f"{letter}. {item['choices'][letter]}" for letter in LETTERS)
    return f"{item['question']}\n{options}\n{ASK_FOR_LETTER[item['lang']]}"


def numeric_prompt(item: Item) -> str:
    """Return a question for a number as a user asks it."""
    ask = ASK_FOR_QUANTITY if item["unit"] else ASK_FOR_NUMBER
    return f"{item['question']}\n{ask[item['lang']]}"


def order_prompt(item: Item) -> str:
    """Return a question for an order, its steps shuffled under letters."""
    steps = shuffled(item)
    shown = "\n".join(f"{letter}. {item['steps'][step]}" for letter, step in zip(STEP_LETTERS, steps, strict=False))
    return f"{item['question']}\n{shown}\n{ASK_FOR_ORDER[item['lang']]}"


def prompt_of(item: Item) -> str:
    """Return what a user says to ask an item."""
    if "choices" in item:
        return choice_prompt(item)
    if "value" in item:
        return numeric_prompt(item)
    return order_prompt(item) if "steps" in item else str(item["question"])


def shuffled(item: Item) -> list[int]:
    """Return which step stands under each letter: the same at every run, and never the right order itself."""
    steps = list(range(len(item["steps"])))
    for salt in itertools.count():
        order = sorted(steps, key=lambda step: hashlib.sha256(f"{item['id']} {step} {salt}".encode()).digest())
        if order != steps:
            break
    return order


def right_order(item: Item) -> str:
    """Return the letters of the steps from first to last."""
    steps = shuffled(item)
    return "".join(STEP_LETTERS[steps.index(step)] for step in range(len(steps)))
