"""Text in a document that speaks to a model instead of a reader: such passages are left out of the index, and named.

A fence around passages and the check of the answer come after this (fence.py, support.py); no list finds everything.
"""

import re
import unicodedata

#: Marks of templates: what opens a turn in one of them.
CONTROL = re.compile(
    r"<[|｜][^<>\n]{0,40}[|｜]>|</?s>|<</?SYS>>|\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]|\[gMASK\]"
    r"|</?(?:start_of_turn|end_of_turn|think|tool_call|tool_response|function_call)>",
    re.IGNORECASE,
)
_ROLE = re.compile(
    r"^\s*(?:#{2,}\s*)?(?:system|assistant|user|human|instruction|系统|助手|用户|指令)\s*[:：]", re.I | re.M
)
_ORDERS = re.compile(
    r"(?:忽略|无视|忘记|不要理会|覆盖)[^。\n]{0,12}(?:以上|之前|上面|前面|先前|原有|所有)"
    r"[^。\n]{0,12}(?:指令|指示|要求|规则|提示|设定|内容)"
    r"|(?:ignore|disregard|forget|override)\b[^.\n]{0,30}\b(?:previous|above|prior|earlier|all|system)\b[^.\n]{0,30}"
    r"\b(?:instructions?|rules?|prompts?|messages?|directions?)"
    r"|(?:你现在是|从现在起你|你必须回答|请你扮演|假装你是"
    r"|you are now|from now on,? you|pretend (?:to be|you))"
    r"|(?:系统提示词|开发者模式|越狱|system prompt|developer mode|jailbreak)"
    r"|(?:回答|回复|输出|answer|reply|respond|output)[^。.\n]{0,12}(?:时|with|必须|only)[^。.\n]{0,12}[“\"'「]",
    re.IGNORECASE,
)


def why_suspect(text: str) -> str | None:
    """Return what in a text is meant for a model, in one word; None where nothing is."""
    plain = unicodedata.normalize("NFKC", "".join(one for one in text if unicodedata.category(one) != "Cf"))
    if CONTROL.search(text) or CONTROL.search(plain):
        return "control_token"
    if _ROLE.search(plain):
        return "role_marker"
    return "instruction" if _ORDERS.search(plain) else None
