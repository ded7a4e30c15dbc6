"""A caller's mark: only on an answer the log has, masked before it is anywhere, rows from what the log still holds."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.data.privacy.desensitize import mask_text
from tasks.review.feedback import feedback_rows, give
from tasks.serving.audit import AuditLog, verify
from tasks.serving.audit.log import Ways
from tasks.serving.audit.outbox import collect
from tasks.serving.audit.secret import audit_secret
from tasks.serving.paths import audit_folder, audit_outbox

ROOT = Path(__file__).parents[3]
SETTINGS = load_settings(ROOT / "params.yaml")
ASKED = [{"role": "user", "content": "碘片什么时候服用？我的电话是13800138000。"}]


def records(request_id, answer, *, status=200, prompt=ASKED):
    common = {"request_id": request_id, "key": "ward-7", "key_id": "k1"}
    return [
        {**common, "kind": "request", "prompt": prompt, "version": "3", "lineage_id": "tg-cccccccccccccccc"},
        {**common, "kind": "answer", "status": status, "answer": answer},
    ]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def write(project):
    """Let a host write records, and what lies in the outbox."""
    redact = partial(mask_text, types=SETTINGS.prepare.privacy.policies.sought)

    def run(*found, now=None):
        async def go():
            ways = Ways(redact, 30, digest_key=audit_secret(project))
            log = AuditLog(audit_folder(project), ways, now=now or (lambda: datetime.now(UTC)))
            await log.open()
            assert all(await asyncio.gather(*[log.submit(record) for record in found]))
            await collect(audit_outbox(project), log)
            await log.close()

        asyncio.run(go())

    return run


def mark(project, *given, **more):
    return give(project, SETTINGS, *given, by="ward", **more)


def on_disk(project):
    """Everything that lies below the project's state, as text."""
    return "".join(path.read_text("utf-8", "replace") for path in project.state.rglob("*") if path.is_file())


def test_a_mark_is_a_record_of_the_log_and_makes_a_row(project, write):
    write(*records("req-1", "照射前24小时内服用。"), *records("req-2", "随时都行。"), *records("req-3", "不知道。"))
    mark(project, "req-1", "good")
    mark(project, "req-2", "bad", note="剂量不对", answer="照射前24小时内到开始后2小时服用。")
    mark(project, "req-3", "bad")
    for written in (False, True):  # waiting in the outbox, then in the log
        if written:
            write()
        rows, counts = feedback_rows(project, read_by="ward")
        assert dict(counts) == {"good": 1, "corrected": 1, "bad": 1}
        assert rows[0]["messages"][-1]["content"] == "照射前24小时内服用。"
        assert rows[1]["chosen"][0]["content"] == "照射前24小时内到开始后2小时服用。"
        assert rows[1]["rejected"][0]["content"] == "随时都行。"
        assert rows[2]["label"] is False
    assert verify(audit_folder(project))["problems"] == []


def test_no_personal_data_lies_anywhere_at_any_time(project, write):
    write(*records("req-1", "请拨打值班手机13800138000。"))
    left = mark(project, "req-1", "bad", note="打13800138000说的", answer="请联系duty@example.com。")
    assert left["lineage_id"] == "tg-cccccccccccccccc"
    for step in range(2):
        text = on_disk(project)
        assert "13800138000" not in text
        assert "duty@example.com" not in text
        assert step or '"mark": "bad"' in text
        write()
    rows, _ = feedback_rows(project, read_by="ward")
    assert "13800138000" not in json.dumps(rows)
    assert "duty@example.com" not in json.dumps(rows)


def test_the_last_mark_on_an_answer_counts(project, write):
    write(*records("req-1", "照射前服用。"))
    mark(project, "req-1", "bad")
    write()
    mark(project, "req-1", "good")
    assert dict(feedback_rows(project, read_by="ward")[1]) == {"good": 1}


def test_that_the_texts_were_read_is_recorded(project, write):
    write(*records("req-1", "照射前服用。"))
    mark(project, "req-1", "good")
    feedback_rows(project, read_by="审计员")
    write()
    assert '"by": "审计员"' in on_disk(project)
    assert '"kind": "read"' in on_disk(project)


def test_a_mark_whose_texts_are_gone_is_counted_and_no_row(project, write):
    write(*records("req-1", "照射前服用。"), now=lambda: datetime.now(UTC) - timedelta(days=29))
    mark(project, "req-1", "good")
    write()
    write(now=lambda: datetime.now(UTC) + timedelta(days=5))  # the day of the answer is past its retention
    rows, counts = feedback_rows(project, read_by="ward")
    assert (rows, dict(counts)) == ([], {"gone": 1})


REFUSED = {
    "no such request": (("req-9", "good"), {}, "no answer to req-9"),
    "refused at the time": (("req-2", "good"), {}, "no answer to req-2"),
    "a long note": (("req-1", "bad"), {"note": "字" * 201}, "the log keeps 200"),
    "good, and another answer": (("req-1", "good"), {"answer": "另一个"}, "needs no other"),
    "a mark that is none": (("req-1", "fine"), {}, "is no mark"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_taken(case, project, write):
    given, more, words = REFUSED[case]
    write(*records("req-1", "照射前服用。"), *records("req-2", "", status=503))
    with pytest.raises(ConfigError, match=words):
        mark(project, *given, **more)
    assert not list(audit_outbox(project).glob("*"))


@pytest.mark.parametrize(("prompt", "answer", "what"), [
    (ASKED, {"tool_calls": [{"name": "读数", "arguments": "{}"}]}, "no_text"),
    ([{"role": "user", "content": None}], "好。", "not_a_chat"),
    ("碘片什么时候服用？", "照射前服用。", "good"),
])  # fmt: skip
def test_what_is_no_row(project, write, prompt, answer, what):
    write(*records("req-1", answer, prompt=prompt))
    mark(project, "req-1", "good")
    assert dict(feedback_rows(project, read_by="ward")[1]) == {what: 1}
