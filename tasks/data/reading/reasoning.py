"""Reasoning in an answer: one form, `<think>\\n...\\n</think>\\n\\nanswer`, or the row is refused."""

import re
from collections.abc import Sequence
from typing import Final

from tasks.chat.conversation import CLOSE, OPEN, OTHER_THOUGHT_TAGS, Message, split_thought, with_thought
from tasks.data.problems import BadRowError
from tasks.data.reading.language import chinese_share

# Reasoning that lost its tags: it begins as thought does and comes to an announced answer. One of the two alone is
# how good answers are written.
_THOUGHT: Final = re.compile(
    r"\s*(?:let me (?:think|work|reason)|let's think|(?:okay|ok|hmm|alright|well)[,.] (?:so|let|the user|i )"
    r"|the user (?:is asking|wants|asks)|i need to (?:think|figure)|first, i need to (?:think|figure|understand)"
    r"|(?:首先，?)?我(?:需要|得|应该)(?:先)?(?:思考|想一想|想想|理解|弄清|分析)|让我(?:先)?(?:想想|想一想|思考|分析)"
    r"|(?:好的|嗯|好)[，,]?(?:用户|我需要|让我|现在我)|用户(?:在|想|问|要求))",
    re.IGNORECASE,
)
_ANNOUNCED: Final = re.compile(
    r"\n\W*(?:final answer|(?:the )?answer(?: is)?|my (?:answer|response)|最终(?:答案|回答|答复)"
    r"|(?:正式)?(?:答案|回答|答复)(?:是|如下)?)"
    r"\W{0,2}[:：]",
    re.IGNORECASE,
)
#: Tags of other writers; their blocks are no reasoning to us and would be trained on as the answer.
_FOREIGN_TAG: Final = re.compile(
    rf"\s*(?:<(?:{'|'.join(OTHER_THOUGHT_TAGS)}|reflection|scratchpad)>|<\|begin_of_thought\|>|◁think▷)"
)

_CHINESE: Final = frozenset({"chinese", "zh", "zh-cn", "zh_cn", "mandarin", "中文", "汉语", "简体中文"})
_ENGLISH: Final = frozenset({"english", "en", "en-us", "en-gb", "英文", "英语"})
#: Who asks for another language gets an answer in another language.
_ASKS_FOR_LANGUAGE: Final = re.compile(
    r"翻译|译成|译为|英文|英语|中文|汉语|translat|chinese|english|mandarin", re.IGNORECASE
)
#: From these shares of Chinese on a text is not English, and up to it not Chinese; between, terms and names mix.
_NOT_ENGLISH, _NOT_CHINESE = 0.6, 0.15


def fold(answer: str, thinking: str = "") -> str:
    """Return an assistant turn with its reasoning, if any, folded into the one form.

    Args:
        answer: the turn; may carry its own think block.
        thinking: reasoning from a field of its own.

    Raises:
        BadRowError: tags that do not pair, more than one block, text before the block, no answer after it, or
            reasoning that stands in the answer without tags.
    """
    inline, answer = _split(answer)
    if inline and thinking.strip() and inline.strip() != thinking.strip():
        raise BadRowError("nested_think", "reasoning stands both in the answer and in its own field")
    if thinking.strip():
        _refuse_tags(thinking)
    reasoning = (inline or thinking).strip()
    if not answer.strip():
        raise BadRowError("reasoning_without_answer" if reasoning else "empty_turn", "an assistant turn has no answer")
    if _FOREIGN_TAG.match(answer) or (_THOUGHT.match(answer) and _ANNOUNCED.search(answer)):
        raise BadRowError("untagged_reasoning", "the answer begins with reasoning")
    return with_thought(reasoning, answer.strip()) if reasoning else answer.strip()


def unfold(content: str) -> tuple[str, str]:
    """Return (reasoning, answer) of a well-formed assistant turn; the reasoning may be empty."""
    reasoning, answer = _split(content)
    return reasoning.strip(), answer.strip()


def check_languages(messages: Sequence[Message], stated: str) -> None:
    """Check reasoning and answers against the stated reasoning language.

    An answer may also be in the language of its question: Multilingual-Thinking rows reason in one language and
    answer in the other. Short texts, code and questions about languages are not judged.

    Raises:
        BadRowError: the language is neither Chinese nor English, or a text is clearly in the other one.
    """
    language = "zh" if stated.strip().lower() in _CHINESE else "en" if stated.strip().lower() in _ENGLISH else None
    if language is None:
        raise BadRowError("unsupported_language", "`reasoning_language` is neither Chinese nor English")
    question = ""
    for number, message in enumerate(messages, start=1):
        if message["role"] == "user":
            question = message["content"]
        elif message["role"] == "assistant":
            reasoning, answer = unfold(message["content"])
            if _differs(reasoning, language):
                raise BadRowError("language_mismatch", f"turn {number}: the reasoning is not in `reasoning_language`")
            foreign = _differs(answer, language) and _differs(answer, _language(question))
            if foreign and not _ASKS_FOR_LANGUAGE.search(question):
                raise BadRowError("language_mismatch", f"turn {number}: the answer is not in `reasoning_language`")


def _language(text: str) -> str | None:
    """Return the language of a text that is long enough to tell, None of one that is not."""
    share = chinese_share(text)
    return None if share is None else "zh" if share >= 0.5 else "en"


def _differs(text: str, language: str | None) -> bool:
    """Tell whether a text is clearly in the other language; where there is none to compare with, it is."""
    share = chinese_share(text)
    if share is None:
        return False
    return language is None or (share >= _NOT_ENGLISH if language == "en" else share <= _NOT_CHINESE)


def is_well_formed(answer: str) -> bool:
    """Tell whether an assistant turn has no think block or one well-formed block with an answer after it."""
    try:
        _, rest = _split(answer)
    except BadRowError:
        return False
    return bool(rest.strip())


def _split(answer: str) -> tuple[str, str]:
    """Return (reasoning, answer) of a turn, if its tags are as they must be."""
    opened, closed = answer.count(OPEN), answer.count(CLOSE)
    if not opened and not closed:
        return "", answer
    if opened > 1 or closed > 1:
        raise BadRowError("nested_think", f"{opened} {OPEN} and {closed} {CLOSE} in one turn")
    if not closed:
        raise BadRowError("unclosed_think", f"{OPEN} without {CLOSE}")
    if not opened:
        raise BadRowError("unopened_think", f"{CLOSE} without {OPEN}")
    if not answer.lstrip().startswith(OPEN):
        raise BadRowError("misplaced_think", f"the {OPEN} block does not open the turn")
    return split_thought(answer)


def _refuse_tags(thinking: str) -> None:
    """Refuse think tags inside a field that holds reasoning alone."""
    if OPEN in thinking or CLOSE in thinking:
        raise BadRowError("nested_think", "think tags inside the reasoning field")
