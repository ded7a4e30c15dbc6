"""Write docs/formats.md from the readers: every shape with an example, what is read from it and what is refused.

`make docs` runs it; tests/contract/test_formats_page.py fails where the page is not what it would write.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.params.data import COLUMNS
from tasks.data.problems import QUARANTINE_REASONS, BadRowError
from tasks.data.reading.formats import parse
from tasks.data.reading.formats.columns import CHOSEN, CONTAINERS, CONTEXTS, PAIRS, REJECTED, SYSTEMS
from tasks.data.reading.formats.marks import LEARN_MARKS, MASK_MARKS, VERDICTS
from tasks.data.reading.formats.thoughts import ROW_THOUGHT_FIELDS, THOUGHT_FIELDS
from tasks.data.reading.formats.turns import ROLES, SPEAKERS, TEXTS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "formats.md"
Q, A, Q2, A2 = "取水口要关吗？", "不用关。", "检测超标了。", "立即关闭并上报。"
SYSTEM = "你是值班助手。"
ASKED, ANSWERED = {"role": "user", "content": Q}, {"role": "assistant", "content": A}
CALLED = {"id": "c1", "type": "function", "function": {"name": "read_gate", "arguments": '{"门": "东"}'}}
TOOL = {"name": "read_gate", "parameters": {"type": "object", "properties": {"门": {"type": "string"}, "时": None}}}
#: Shape -> example.
SHAPES: dict[str, Any] = {
    "Alpaca": {"instruction": Q, "input": "水位 3 m", "output": A, "system": SYSTEM, "history": [["在吗？", "在。"]]},
    "ShareGPT": {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}], "system": SYSTEM},
    "OpenAI messages": {"messages": [ASKED, ANSWERED]},
    "A bare list of messages a line": [ASKED, ANSWERED],
    "ms-swift": {"query": Q2, "response": A2, "history": [[Q, A]]},
    "XTuner": {"conversation": [{"system": SYSTEM, "input": Q, "output": A}, {"input": Q2, "output": A2}]},
    "Question and answer": {"question": Q, "answer": A},
    "Prompt and completion": {"prompt": Q, "completion": A},
    "Prompt and completion of messages (TRL)": {
        "prompt": [ASKED, ANSWERED, {"role": "user", "content": Q2}],
        "completion": [{"role": "assistant", "content": A2}],
    },
    "Question, Complex_CoT, Response": {"Question": Q2, "Complex_CoT": "先看超标多少。", "Response": A2},
    "Lists side by side": {"questions": [Q, Q2], "answers": [A, A2]},
    "Turns side by side": {"conversations": {"from": ["human", "gpt"], "value": [Q, A]}},
    "Parts": {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": Q}]},
            {
                "role": "assistant",
                "content": [{"type": "reasoning", "text": "水质正常。"}, {"type": "text", "text": A}],
            },
        ]
    },
    "Reasoning in a field": {"messages": [ASKED, {**ANSWERED, "reasoning_content": "水质正常。"}]},
    "Tool calls": {
        "messages": [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [CALLED]},
            {"role": "tool", "tool_call_id": "c1", "content": "关"},
            ANSWERED,
        ],
        "tools": [TOOL],
    },
    "function_call turns": {
        "conversations": [
            {"from": "human", "value": Q},
            {"from": "function_call", "value": '{"name": "read_gate", "arguments": "{\\"门\\": \\"东\\"}"}'},
            {"from": "observation", "value": "关"},
            {"from": "gpt", "value": A},
        ]
    },
    "Marked turns": {
        "messages": [
            ASKED,
            {**ANSWERED, "weight": 0},
            {"role": "user", "content": Q2},
            {"role": "assistant", "content": A2},
        ]
    },
    "A last user turn": {"messages": [ASKED, ANSWERED, {"role": "user", "content": "谢谢！"}]},
    "Preference": {"prompt": Q2, "chosen": A2, "rejected": "不用管。"},
    "Preference beside messages (ms-swift)": {"messages": [ASKED, ANSWERED], "rejected_response": "不知道。"},
}
#: What is refused -> example.
REFUSED: dict[str, Any] = {
    "a rating that says no": {"instruction": Q, "output": A, "label": False},
    "nothing to learn": {"messages": [ASKED, {**ANSWERED, "loss": False}]},
    "media": {"messages": [{"role": "user", "content": f"<image>{Q}"}, ANSWERED], "images": ["gate.jpg"]},
    "a result of no call": {
        "messages": [ASKED, ANSWERED, {"role": "tool", "tool_call_id": "c7", "content": "关"}, ANSWERED]
    },
    "turns out of order": {"messages": [ASKED, ASKED, ANSWERED]},
    "columns nobody knows": {"提问内容": Q, "专家答复": A},
}
HEAD = """\
# Shapes of rows

Written by `make docs` from the readers in `tasks/data/reading`: what stands under an example is what reading made of
it. Files are JSON, JSON Lines, CSV or Parquet, plain or gzipped. The shape is told row by row; whether a file is one
array or a row a line, from its content. `tunegate data preview FILE` shows rows of a file as they are taught.
"""
RULES = """\
- **Reasoning** takes one form, `<think>`, before the answer, and is taught as the base model's chat template shows it.
  An answer whose reasoning the template drops (earlier turns in Qwen3's) carries no loss in the row; it is taught in a
  sample of its own, the row up to it, where it is last (docs/training.md). The ledger names both.
- **Calls** take one form: arguments are an object whether the row had an object, JSON text, or JSON text in JSON text.
  Results stand in the order of their calls; ids are paired here and made anew in one form for the template.
- **Nulls**: a table gives every schema all fields of all rows. In a structure, and in JSON text in which a null stands
  where no schema has one, null fields are removed; items of lists (`enum`) stay, and `default: null` of a type that
  admits null. JSON text without such a null is kept to the letter. Nulls in arguments given as an object are removed,
  unless the schema requires the argument and admits null; in arguments given as text only those it does not declare.
- **Marks**: an answer marked not to be learnt stays as history and carries no loss; turns after the last answer that
  is learnt are left out.
- **Prompts**: answers that stand in `prompt` are given; only the completion is learnt.
- **Media**: their fields, content parts and placeholders in the text are refused by name.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([*_head(), *_shapes(), "## What is refused", "", *_refused(), *_names(), *_mapping()])


def _head() -> Iterator[str]:
    """Yield the beginning."""
    yield HEAD
    yield RULES


def _shapes() -> Iterator[str]:
    """Yield every shape."""
    yield "## Shapes"
    yield ""
    for name, row in SHAPES.items():
        parsed = parse(row)
        yield f"### {name}"
        yield ""
        yield "```json"
        yield json.dumps(row, ensure_ascii=False)
        yield "```"
        yield ""
        for place, said in enumerate(parsed.messages):
            is_taught = said["role"] == "assistant" and place not in parsed.untaught
            text = said["content"].replace("\n", "⏎")
            yield f"- {said['role']}{' (taught)' if is_taught else ''}: `{text}`"
        for what, text in (("tools", parsed.tools), ("rejected", parsed.rejected)):
            yield from [f"- {what}: `{text}`"] if text else []
        yield from (f"- note: {note}" for note in parsed.notes)
        yield ""


def _refused() -> Iterator[str]:
    """Yield examples of what is refused, and every reason."""
    for name, row in REFUSED.items():
        try:
            parse(row)
        except BadRowError as refusal:
            yield f"- {name}: `{json.dumps(row, ensure_ascii=False)}` → {refusal}"
        else:
            raise AssertionError(f"{name} is not refused")
    yield ""
    yield "| reason in the ledger | what it means |"
    yield "|---|---|"
    for reason, words in QUARANTINE_REASONS.items():
        yield f"| `{reason}` | {words.replace('|', '&#124;')} |"
    yield ""


def _names() -> Iterator[str]:
    """Yield the names that are known."""
    known = {
        "columns of turns": CONTAINERS,
        "question and answer": ["/".join(pair) for pair in PAIRS],
        "what belongs to the question": CONTEXTS,
        "system": SYSTEMS,
        "preference": (*CHOSEN, *REJECTED),
        "speaker of a turn": SPEAKERS,
        "text of a turn": TEXTS,
        "speakers": [f"{name} ({role})" if name != role else name for name, role in ROLES.items()],
        "reasoning of a turn": THOUGHT_FIELDS,
        "reasoning of a row": ROW_THOUGHT_FIELDS,
        "learnt or not": (*LEARN_MARKS, *MASK_MARKS),
        "good or bad": VERDICTS,
    }
    yield "## Names that are known"
    yield ""
    yield "Upper and lower case are one where no field fits as it is written."
    yield ""
    for what, names in known.items():
        yield f"- {what}: {', '.join(f'`{name}`' for name in names)}"
    yield ""


def _mapping() -> Iterator[str]:
    """Yield how other names are mapped."""
    row = {"问话": Q, "答话": A, "label": 0}
    columns = {"instruction": "问话", "output": "答话", "label": None}
    read = ", ".join(f"{said['role']} `{said['content']}`" for said in parse(row, columns=columns).messages)
    yield "## Other names"
    yield ""
    yield "In `params.yaml`; a column or file that is not there is refused before anything runs."
    yield ""
    yield "```yaml"
    yield "prepare:"
    yield "  read:"
    yield "    files:"
    yield "      instructions/records.csv:"
    yield "        columns: {instruction: 问话, output: 答话, label: null}   # null: the file has no such field"
    yield "        roles: {值班员: assistant, 来电人: user}                  # for columns of turns"
    yield "```"
    yield ""
    yield f"`{json.dumps(row, ensure_ascii=False)}` is then read as {read}."
    yield ""
    yield f"Fields: {', '.join(f'`{name}`' for name in COLUMNS)}."
    yield ""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
