"""What a turn says without the words around it: greetings, thanks, "please answer", "of course".

Only the ends of a turn are looked at, so the words cost a look at some dozen characters, however long the turn is.
"""

import re

from tasks.data.privacy.wordlists import word_list, word_set

#: Characters at the end of a turn that are looked at.
_TAIL_CHARACTERS = 80

_CHINESE = word_list("""
请问 请教一下 请教 请你 请您 请 麻烦你 麻烦您 麻烦 劳烦 劳驾 你好 您好 大家好 早上好 下午好 晚上好 老师
同学们 各位 在吗 好的 好呀 好吧 当然可以 当然 没问题 明白了 明白 收到 谢谢你 谢谢您 谢谢 谢了 非常感谢 感谢您
感谢你 感谢 多谢 辛苦了 回答一下 回答 解答一下 解答 作答 解释一下 说明一下 介绍一下 告诉我 告诉 帮我 帮忙
看一下 看看 想一想 一下 以下是 以下 下面是 下面的 下面 如下所示 如下 这个问题 这道题 这个 这道 这一 这条 此题
本题 的问题 问题是 问题 题目是 题目 这题 题 的 一个 我有 给出 一道 咨询一下 咨询 打扰一下 打扰了 不会做
不太懂 尽快 回复 我的 我想问一下 我想问 我想知道 我想了解 我想请教 想问一下 想问 想知道 想请教 我有个问题
我有一个问题 有个问题 有一个问题 我的问题是 关于这个问题 针对这个问题 对于这个问题 答案是 答案 我的回答是
回答是 简要 简单 详细 认真 仔细 准确 具体地 地 和 并
""")
_CHINESE_ENDS = word_list("""
吗 呢 吧 啊 呀 哦 嘛 哈 啦 请说明 请解释 请给出答案 给出答案 只给答案 请一步一步思考 请逐步思考 一步一步思考
思考后 再 希望对你有帮助 希望对您有帮助 希望对你有所帮助 希望对您有所帮助 希望这能帮到你
希望以上回答对您有帮助 希望以上信息对你有帮助 希望我的回答对你有帮助 如有疑问 如有其他问题 如果还有问题
如果你还有其他问题 如果您还有其他问题 欢迎继续提问 欢迎随时提问 请随时提问 请随时告诉我 请随时联系我
以上就是答案 以上就是我的回答 以上是我的回答 以上内容 以上 仅供参考 供参考 供您参考 祝好 祝您生活愉快
""")
_NUMBERED = r"第(?:\d{1,3}|[一二三四五六七八九十]{1,3})题", r"(?:问题|题目|例题?)\d{1,3}(?![\d.])"

_ENGLISH = """
please|kindly|hi there|hi|hello|hey|dear|sir|madam|everyone|good morning|good afternoon|good evening
could you|can you|would you|will you|tell me|help me|help|me|let me know|answer|respond to|reply to|the following
following|this|that|my|one|the|question is|questions?|here is|here s|heres|here are|i have a|i have one
i d like to know|i would like to know|i want to know|i wonder|i am wondering|i was wondering
sure|certainly|of course|absolutely|great|good|expert|friend
no problem|okay|ok|well|thanks|thank you|very much|a lot|so much
in advance
quick|simple|briefly|carefully|in detail|for me|to|with
""".replace("\n", "|").strip("|")
_ENGLISH_NUMBERED = r"q(?:uestion)? ?\d{1,3}(?![\d.])|q(?= )|a(?= )"
_ENGLISH_ENDS = """
that is all|i hope (?:this|that|it) helps(?: you)?|hope (?:this|that|it) helps
let me know if you (?:have|need) [a-z ]{3,40}
feel free to ask[a-z ]{0,40}|think step by step|step by step|please explain|explain your answer|explain
""".replace("\n", "|").strip("|")


# Atomic, or a turn of nothing but such words could be read in a million ways.
def _longest_first(words: list[str]) -> str:
    """Return an alternation that tries longer words first."""
    return "|".join(sorted(set(words), key=lambda word: (-len(word), word)))


_OPENING = re.compile(
    rf"(?>{'|'.join(_NUMBERED)}|{_longest_first(_CHINESE)}|(?:(?:{_ENGLISH}|{_ENGLISH_NUMBERED})(?![a-z0-9]))| )++"
)
_CLOSING = re.compile(rf"(?>(?:(?<![a-z0-9])(?:{_ENGLISH_ENDS}|{_ENGLISH})(?![a-z0-9]))| )++$")
#: The last words of English talk; behind others nothing is looked for.
_LAST_WORDS = word_set(
    "thanks you advance please helps explain answer step questions question help anything all more ask much lot"
)
_ANYWHERE = re.compile(_longest_first([*_CHINESE, *_CHINESE_ENDS]))


def _by_last_character() -> dict[str, list[str]]:
    """Return Chinese words by their last character, longer ones first: what a turn ends with is told by a look."""
    found: dict[str, list[str]] = {}
    for word in sorted({*_CHINESE, *_CHINESE_ENDS}, key=lambda word: (-len(word), word)):
        found.setdefault(word[-1], []).append(word)
    return found


_ENDS = _by_last_character()


def without_talk(text: str) -> str:
    """Return a short text, normalized, without Chinese talk anywhere in it."""
    return _ANYWHERE.sub("", text)


def core(turn: str) -> str:
    """Return a normalized turn, with word gaps, without the talk at its ends; the whole turn if it is all talk."""
    opening = _OPENING.match(turn)
    start = opening.end() if opening else 0
    end = _end(turn, start)
    return turn[start:end] if end > start else turn


def _end(turn: str, start: int) -> int:
    """Return where the talk at the end of a turn begins."""
    end = len(turn)
    if turn[-1:].isascii():
        tail = turn[max(start, end - _TAIL_CHARACTERS) :]
        closing = _CLOSING.search(tail) if tail.rpartition(" ")[2] in _LAST_WORDS else None
        return end - len(tail) + closing.start() if closing else end
    while end > start:
        word = next((one for one in _ENDS.get(turn[end - 1], ()) if turn.endswith(one, start, end)), None)
        if word is None:
            break
        end -= len(word)
    return end
