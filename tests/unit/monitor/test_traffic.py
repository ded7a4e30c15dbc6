"""The audit log's window: callers' questions and what they were answered, nobody else's and no other version's."""

import json
from datetime import UTC, datetime, timedelta

from tasks.monitor.traffic import read_traffic

NOW = datetime(2026, 11, 29, 6, 15, tzinfo=UTC)
SINCE = NOW - timedelta(hours=24)


def exchange(number: int, answer: object = "碘片在照射前服用。", **more: object) -> list[dict]:
    time = more.pop("at", NOW - timedelta(hours=1)).isoformat(timespec="milliseconds")
    request = {
        "kind": "request", "request_id": f"req-{number}", "time": time, "key": "desk", "lineage_id": "tg-1",
        "prompt": [{"role": "user", "content": f"第{number}问：碘片何时服用？"}],
    }  # fmt: skip
    status = more.pop("status", 200)
    return [request | more, {"kind": "answer", "request_id": f"req-{number}", "time": time, "status": status,
                             "answer": answer}]  # fmt: skip


def write(folder, day: str, *records: list[dict], end: str = "") -> None:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for pair in records for record in pair]
    (folder / f"{day}.jsonl").write_text("".join(lines) + end, "utf-8")


def test_questions_and_answers_of_the_window(tmp_path):
    write(
        tmp_path,
        "2026-11-29",
        exchange(1),
        exchange(2, "抱歉，这个问题我不能回答。"),
        exchange(3, {"content": "资料里没有这一数据，我不知道。", "reasoning": "查一查"}),
        exchange(4, ["第一个答复", "第二个答复"]),
        exchange(5, {"content": None, "tool_calls": [{"function": {"name": "query"}}]}),
        exchange(6, "断了", status=503),
    )
    found = read_traffic(tmp_path, SINCE, "tg-1")
    assert len(found.questions) == 6
    assert (found.answers, found.refusals, found.unknowns) == (4, 1, 1)


def test_what_does_not_count(tmp_path):
    write(tmp_path, "2026-11-27", exchange(1, at=NOW - timedelta(days=2)))
    write(tmp_path, "2026-11-28", exchange(2, at=SINCE - timedelta(minutes=1)), exchange(3, at=SINCE))
    write(
        tmp_path,
        "2026-11-29",
        exchange(4, key="eval-live-77-ab"),
        exchange(5, lineage_id="tg-2"),
        exchange(6),
        [{"kind": "refusal", "time": NOW.isoformat(), "code": "missing_key"}],
        end='not a record\n{"kind": "request", "time": "half',
    )
    found = read_traffic(tmp_path, SINCE, "tg-1")
    assert [text[:2] for text in found.questions] == ["第3", "第6"]
    assert found.answers == 2


def test_no_log_is_no_traffic(tmp_path):
    assert read_traffic(tmp_path / "audit", SINCE, "tg-1").questions == []
