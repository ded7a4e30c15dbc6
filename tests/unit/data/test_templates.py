"""What a base model's chat template does to rows is on record before anything is trained: ledger, summary, preview."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.chat.labels import taught
from tasks.chat.rows import encode_rows
from tasks.chat.tokenizer import load_tokenizer
from tasks.data.preview import BEGIN, END, preview
from tests.unit.data.conftest import PREPARE

THOUGHTS = [
    {"role": "user", "content": "孕妇能吃碘片吗？"},
    {"role": "assistant", "content": "<think>\n孕妇属于优先人群。\n</think>\n\n可以，按规定剂量服用一次。"},
    {"role": "user", "content": "哺乳期呢？"},
    {"role": "assistant", "content": "<think>\n与孕妇同组。\n</think>\n\n同样优先。"},
]
CALL = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
CALLING = [
    {"role": "user", "content": "东门关了没有？"},
    {"role": "assistant", "content": f"<think>\n得去看。\n</think>\n\n{CALL}"},
    {"role": "tool", "content": "关"},
    {"role": "assistant", "content": "<think>\n关着就好。\n</think>\n\n东门关着。"},
    {"role": "user", "content": "谢谢，再见！"},
    {"role": "assistant", "content": "再见。"},
]


@pytest.fixture
def with_template(base: Path, tmp_path: Path) -> Callable[[str], Path]:
    """The builder of a base folder with a family's chat template, as TRL ships it."""

    def build(name: str) -> Path:
        import trl

        folder = tmp_path / f"base-{name}"
        folder.mkdir()
        for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(base / file, folder)
        shutil.copy(Path(trl.__file__).parent / f"chat_templates/{name}.jinja", folder / "chat_template.jinja")
        return folder

    return build


def test_case_08_earlier_thoughts_become_samples_of_their_own(project: Any, with_template: Any) -> None:
    project.base = with_template("qwen3")
    project.write("a.jsonl", [{"messages": THOUGHTS}, {"messages": CALLING}])
    project.prepare()
    evidence = [entry["evidence"]["notes"] for entry in project.lines("ledger.jsonl")]
    words = "taught in a sample of its own, where it is last: the template drops earlier thoughts"
    assert evidence == [[f"turn 2: {words}"], [f"turn 2, 4: {words}"]]
    assert "2 rows have earlier answers whose thought" in project.summary()["notes"][0]
    assert project.summary()["template"] == {"empty_thought": "<think>\n\n</think>"}
    # A row stays one row: counts, splits and duplicates know nothing of samples.
    assert project.summary()["splits"]["train"] == len(project.lines("train.jsonl")) == 2

    tokenizer = load_tokenizer(project.base)
    encoded = encode_rows(project.prepared / "train.jsonl", tokenizer, 512, every_thought=True)
    learnt = [run.text for row in encoded.rows for run in taught(row.input_ids, row.labels, tokenizer)]
    answers = [turn["content"] for turn in (*THOUGHTS, *CALLING) if turn["role"] == "assistant"]
    assert sorted(learnt) == sorted([*answers[:-1], f"<think>\n\n</think>\n\n{answers[-1]}"])

    shown, called = preview(project.raw / "instructions/a.jsonl", project.raw, PREPARE, tokenizer, 512, None, 5)
    parts = [text.split(BEGIN)[1].partition(END)[0] for text in (shown["text"], *shown["thought_samples"])]
    assert parts == [f"{THOUGHTS[turn]['content']}<|im_end|>" for turn in (3, 1)]
    assert shown["notes"] == evidence[0]
    assert (called["notes"], called["refused"]) == (evidence[1], None)


@pytest.mark.slow
@pytest.mark.parametrize(("template", "hidden"), [(None, True), ("qwen2_5", False)])
def test_a_template_that_never_shows_tools_is_said_before_tool_rows_are_trained_on(
    project: Any, with_template: Any, template: str | None, hidden: bool
) -> None:
    if template:
        project.base = with_template(template)
    project.write("a.jsonl", [{"messages": CALLING[:2] + CALLING[2:4], "tools": [{"name": "f"}]}])
    project.prepare()
    said = [note for note in project.summary().get("notes", ()) if "never shows" in note]
    assert said == (
        ["1 rows offer tools that the base model's chat template never shows: calls are learnt without knowing what "
         "may be called"] if hidden else []
    )  # fmt: skip
    tokenizer = load_tokenizer(project.base)
    (shown,) = preview(project.raw / "instructions/a.jsonl", project.raw, PREPARE, tokenizer, 512, None, 5)
    assert any("never shows the tools" in note for note in shown["notes"]) is hidden


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("好<|im_end|>的。", "special_token: the text holds a special token of the base model"),
        ("<think>\n想。\n</think>\n\n好。", "template_refuses: the chat template of the base model: it never shows"),
    ],
)
def test_a_preview_says_in_words_why_training_would_leave_a_row_out(
    project: Any, base: Path, answer: str, words: str
) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content'] +", "message['content'].split('</think>')[-1] +"
    )
    project.write("a.jsonl", [{"question": "孕妇能吃碘片吗？", "answer": answer}])
    (shown,) = preview(project.raw / "instructions/a.jsonl", project.raw, PREPARE, tokenizer, 512, None, 5)
    assert shown["refused"].startswith(words)
