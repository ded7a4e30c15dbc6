"""A registered version with evidence, a log of what callers asked, data it was trained on; the asking is a stand-in."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from tasks.core.files import write_jsonl
from tasks.core.layout import PREPARED
from tasks.core.manifest import write_manifest
from tasks.monitor import look as module
from tasks.release.register import register
from tasks.serving.paths import audit_folder
from tests.unit.monitor.test_questions import DUTIES, PLACES, questions, rows
from tests.unit.release.conftest import _run_stages, empty_store, project, settings

__all__ = ["empty_store", "project", "settings"]


@pytest.fixture
def released(project, settings, monkeypatch):
    """Version 1 with its evidence and data; gives what the endpoint's report says of it, to be changed by a test."""
    _run_stages(project, "tg-1")
    answers = ["见应急规程。"] * 18 + ["资料里没有，我不知道。", "抱歉，我不能回答。"]
    samples = [{"suite": "domain_numeric", "item_id": str(n), "metric": "accuracy", "value": 1.0, "group": "zh",
                "detail": {"text": text}} for n, text in enumerate(answers)]  # fmt: skip
    # Beside the pack's items lie those of the exams, whose letters are no answers in words.
    exam = (("ceval_mini", {"chosen": "A"}), ("ceval_mini.generated", {"text": "我不知道。"}))
    samples += [{"suite": suite, "item_id": "1", "metric": "accuracy", "value": 1.0, "group": "zh", "detail": detail}
                for suite, detail in exam]  # fmt: skip
    folder = project.root / "data" / "reports" / "eval" / "awq"
    (folder / "manifest.json").unlink()
    write_jsonl(folder / "samples.jsonl", samples)
    write_manifest(folder, {"stage": "evaluate@awq", "lineage_id": "tg-1", "parts": {"raw": {}}})
    register(project, settings)
    prepared = project.root / PREPARED
    prepared.mkdir(parents=True)
    write_jsonl(prepared / "train.jsonl", rows(questions(PLACES, DUTIES, 300, 1)))
    write_jsonl(prepared / "validation.jsonl", rows(questions(PLACES, DUTIES, 150, 2)))
    write_manifest(prepared, {"stage": "prepare", "lineage_id": "tg-1", "parts": {"raw": {}}})
    results = {"version": "1", "model_lineage_id": "tg-1", "canary": {"failures": []}, "agreement": {"findings": []}}
    monkeypatch.setattr(module, "ask_released", lambda *given: results)
    return results


@pytest.fixture
def callers(project):
    """Write what callers asked within the last hour, and what they were answered."""

    def write(asked: list[str], answers: tuple[str, ...] = ("见应急规程。",), lineage_id: str = "tg-1") -> None:
        time = (datetime.now(UTC) - timedelta(minutes=30)).isoformat(timespec="milliseconds")
        rng = random.Random(7)
        lines = []
        for number, text in enumerate(asked):
            known = {"request_id": f"req-{number}", "time": time}
            lines.append(known | {"kind": "request", "key": "desk", "lineage_id": lineage_id, "prompt": text})
            lines.append(known | {"kind": "answer", "status": 200, "answer": rng.choice(answers)})
        folder = audit_folder(project)
        folder.mkdir(parents=True)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{time[:10]}.jsonl").write_text(text, "utf-8")

    return write
