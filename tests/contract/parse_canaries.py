"""Run vLLM's parsers over canned texts, whole and token by token; in the serving interpreter.

Reads lines of {"folder", "abilities": {"tool_parser", "reasoning_parser", "plugin"}, "cases": [{"prompt", "text",
"settings", "tools"}]} from stdin and prints, for each, a list of {"whole": {...}, "streamed": {...}}, both with
reasoning, content, calls.
"""

import json
import logging
import sys

logging.disable(logging.CRITICAL)

from transformers import AutoTokenizer  # noqa: E402
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest  # noqa: E402
from vllm.parser.parser_manager import ParserManager  # noqa: E402
from vllm.reasoning import ReasoningParserManager  # noqa: E402


def parser_of(asked, tokenizer, plugins):
    if (plugin := asked["abilities"]["plugin"]) and plugin not in plugins:
        plugins.add(plugin)
        ReasoningParserManager.import_reasoning_parser(asked["abilities"]["plugin"])
    return ParserManager.get_parser(
        tool_parser_name=asked["abilities"]["tool_parser"],
        reasoning_parser_name=asked["abilities"]["reasoning_parser"],
        enable_auto_tools=bool(asked["abilities"]["tool_parser"]),
        tokenizer=tokenizer,
    )


def whole(parser, text, ids, request):
    reasoning, content, calls = parser.parse(text, request, enable_auto_tools=True, model_output_token_ids=ids)
    return {"reasoning": reasoning, "content": content,
            "calls": [[call.name, json.loads(call.arguments)] for call in calls or ()]}  # fmt: skip


def streamed(parser, tokenizer, ids, request, prompt):
    found = {"reasoning": "", "content": "", "calls": {}}
    before = ""
    for place, token in enumerate(ids):
        text = tokenizer.decode(ids[: place + 1])
        text = before if text.endswith("�") else text
        delta = parser.parse_delta(text[len(before) :], [token], request, prompt, finished=place == len(ids) - 1)
        before = text
        for name in ("reasoning", "content"):
            found[name] += (getattr(delta, name) or "") if delta else ""
        for call in (delta.tool_calls or ()) if delta else ():
            kept = found["calls"].setdefault(call.index, ["", ""])
            kept[0] += call.function.name or ""
            kept[1] += call.function.arguments or ""
    return found | {"calls": [[name, json.loads(arguments)] for name, arguments in found["calls"].values()]}


def answers_to(asked, plugins):
    tokenizer = AutoTokenizer.from_pretrained(asked["folder"])
    made = parser_of(asked, tokenizer, plugins)
    answers = []
    for case in asked["cases"]:
        request = ChatCompletionRequest(
            model="x", messages=[{"role": "user", "content": "?"}], tools=case["tools"] or None,
            tool_choice="auto" if case["tools"] else "none", chat_template_kwargs=case["settings"],
        )  # fmt: skip
        ids = tokenizer.encode(case["text"], add_special_tokens=False)
        prompt = tokenizer.encode(case["prompt"], add_special_tokens=False)
        new = lambda: made(tokenizer, request.tools, chat_template_kwargs=case["settings"])  # noqa: B023, E731
        answers.append({
            "whole": whole(new(), case["text"], ids, request),
            "streamed": streamed(new(), tokenizer, ids, request, prompt),
        })  # fmt: skip
    return answers


imported = set()
for line in sys.stdin:
    print(json.dumps(answers_to(json.loads(line), imported)), flush=True)
