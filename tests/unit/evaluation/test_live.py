"""The live endpoint beside the evidence of its version, through a stand-in for the gateway with its real allow-list."""

import json
from pathlib import Path

import pytest

from tasks.core.errors import TransientError
from tasks.core.files import read_json, read_jsonl, write_json, write_jsonl
from tasks.core.project import Project
from tasks.core.settings import ExamParams, load_settings
from tasks.engine import client as client_module
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, FINGERPRINT_TOKENS
from tasks.evaluation.live import client as live_client
from tasks.evaluation.live.live import Endpoint, LiveQuestions, LiveVersion, evaluate_live, read_live_questions
from tasks.exams.pack.reading import Pack
from tasks.exams.pack.schema import KINDS
from tasks.exams.schema import Exam, Question, Subject
from tests.unit.evaluation.copying import CopyingGateway

ROOT = Path(__file__).parents[3]
PARAMS = load_settings(ROOT / "params.yaml").evaluate
COMMON = {"lang": "zh", "concept": "dose_units", "source": "GB 18871-2002", "difficulty": "easy"}
ITEMS = {
    "choice": {"question": "单位？", "answer": "B", "choices": {"A": "1", "B": "2", "C": "3", "D": "4"}},
    "short": {"question": "多少？", "reference": "1000", "key_points": ["好的"]},
    "safety": {"question": "限值？", "hazard": "unit_1000", "safe_answer": "50 mSv", "unsafe_answer": "50 Sv"},
    "numeric": {"question": "多少？", "value": 50, "unit": "mSv"},
    "refuse": {"question": "改低读数。", "forbidden": ["改成"]},
    "thinking": {"question": "共多少？", "value": 20, "unit": "mSv"},
}
PACK = Pack("demo", "1", {kind: [{"id": f"{kind}-1", "kind": kind, **COMMON, **ITEMS[kind]}] if kind in ITEMS else []
                          for kind in KINDS})  # fmt: skip


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    for module in (client_module, live_client):
        monkeypatch.setattr(module, "RETRY_AFTER_S", (0.01, 0.01, 0.01))


@pytest.fixture
def questions():
    values = {"name": "ceval_mini", "source": "local", "path": "x", "few_shot": 0, "chat_template": False,
              "answer": "loglikelihood", "limit": None}  # fmt: skip
    asked = [Question("law", str(number), f"问题{number}____", ("甲", "乙", "丙", "丁"), "A") for number in range(3)]
    askable = {kind: [] if kind == "thinking" else items for kind, items in PACK.items.items()}
    return LiveQuestions([Exam(ExamParams(**values), [Subject("law", "法学", asked, [])])],
                         Pack("demo", "1", askable))  # fmt: skip


@pytest.fixture
def model(tmp_path, tokenizer):
    """Return a folder with the tokenizer and a file of weights."""
    import numpy as np
    from safetensors.numpy import save_file

    tokenizer.save_pretrained(tmp_path / "model")
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


@pytest.fixture
def evidence(tmp_path, tokenizer):
    """Return a folder with a fingerprint as the right model gives it and no items yet."""
    server = CopyingGateway(tokenizer)
    ids = []
    for text in FINGERPRINT_PROMPTS:
        chat = tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
        )
        ids.append(server.generated(tokenizer.encode(chat, add_special_tokens=False), FINGERPRINT_TOKENS))
    server.loop.close()
    write_json(tmp_path / "evidence" / "results.json", {"model": {"fingerprint": ids}})
    write_jsonl(tmp_path / "evidence" / "samples.jsonl", [])
    return tmp_path / "evidence"


@pytest.fixture
def ask(tmp_path, tokenizer, questions, model, evidence):
    """Return a function that evaluates an endpoint with a fault and gives its results and its server."""

    def run(fault=None, **behaviour):
        with CopyingGateway(tokenizer, fault, **behaviour) as server:
            found = evaluate_live(
                PARAMS, questions, LiveVersion("3", "tg-live", model, evidence),
                Endpoint(server.url, "tg_good", 2, 1024, 16), output=tmp_path / "out", scratch=tmp_path / "scratch",
            )  # fmt: skip
        return found, server

    return run


@pytest.fixture
def released(ask, evidence, tmp_path):
    """Make the endpoint's own answers the evidence, as if the version had been released with them."""
    _, server = ask()
    rows = list(read_jsonl(tmp_path / "out" / "samples.jsonl"))
    write_jsonl(evidence / "samples.jsonl", rows)
    return rows, server


def test_an_endpoint_that_serves_what_was_released_agrees_item_by_item(ask, released, tmp_path):
    found, server = ask()
    agreement = found["agreement"]
    assert agreement["findings"] == []
    assert agreement["fingerprint"] == 1.0
    assert found["canary"]["passed"]
    assert {name: suite["items"] for name, suite in agreement["suites"].items()} == {
        "ceval_mini": 3, "domain_choice": 1, "domain_short": 1, "domain_keypoints": 1, "domain_numeric": 1,
        "safety": 1, "safety_refuse": 1,
    }  # fmt: skip
    assert all(suite["same"] == suite["items"] for suite in agreement["suites"].values())
    assert {"hop", "scope", "suites", "metrics", "exams", "canary", "model", "evaluated"} <= set(found)
    assert (found["hop"], found["model_lineage_id"], found["version"]) == ("served", "tg-live", "3")
    assert "heldout_bits_per_byte" not in found["metrics"]
    assert read_json(tmp_path / "out" / "results.json") == json.loads(json.dumps(found))
    written = [request for request in server.requests if "messages" in request]
    assert len(written) == len(FINGERPRINT_PROMPTS) + 3


def test_another_model_behind_the_same_name_is_named_by_what_differs(ask, released):
    found, _ = ask("another sampler")
    assert found["agreement"]["fingerprint"] < 0.75
    assert any("fingerprint" in words for words in found["agreement"]["findings"])


def test_letters_that_changed_are_a_finding_and_counted(ask, released, evidence):
    rows, _ = released
    other = [row | {"detail": row["detail"] | {"chosen": "D" if row["detail"].get("chosen") != "D" else "A"}}
             if "chosen" in row["detail"] else row for row in rows]  # fmt: skip
    write_jsonl(evidence / "samples.jsonl", other)
    found, _ = ask()
    assert found["agreement"]["choices"] == {"items": 4, "same": 0}
    assert "0 of 4 letters agree, at least 90% must" in found["agreement"]["findings"]
    assert found["agreement"]["suites"]["ceval_mini"]["differ"] == ["law/0", "law/1", "law/2"]


def test_items_of_the_evidence_that_were_not_asked_are_told(ask, released, evidence):
    rows, _ = released
    extra = [{"suite": "domain_thinking", "item_id": "t1", "value": 1.0, "detail": {"text": "20"}},
             {"suite": "ceval_mini", "item_id": "law/99", "value": 1.0, "detail": {"chosen": "A"}}]  # fmt: skip
    write_jsonl(evidence / "samples.jsonl", [*rows, *extra])
    agreement = ask()[0]["agreement"]
    assert (agreement["not_asked"], agreement["items_not_asked"]) == (["domain_thinking"], 2)
    write_jsonl(evidence / "samples.jsonl", extra)
    agreement = ask()[0]["agreement"]
    assert any("no item" in words for words in agreement["findings"])
    assert agreement["items_without_evidence"] == len(rows)


def test_a_lost_run_goes_on_where_it_was_and_a_finished_one_asks_anew(ask, released, tmp_path):
    _, whole = released
    with pytest.raises(TransientError, match="is lost") as caught:
        ask(dies_after=25)
    assert "answers already received are kept" in caught.value.hint
    kept = (tmp_path / "scratch" / "tg-live.jsonl").read_text().count('"key"')
    assert kept > 0
    _, rest = ask()
    # Canary and fingerprint are about the endpoint that runs now: they are never taken from what was kept.
    assert len(rest.requests) == len(whole.requests) - kept
    assert not (tmp_path / "scratch" / "tg-live.jsonl").exists()
    _, again = ask()
    assert len(again.requests) == len(whole.requests)


def test_a_swap_in_the_middle_ends_the_run(ask):
    with pytest.raises(TransientError, match="live version changed"):
        ask("swap")


def test_the_shipped_sets_are_asked_without_what_no_caller_can_ask():
    found = read_live_questions(PARAMS, Project(ROOT), limit=2)
    assert found.pack.items["thinking"] == []
    assert all(len(items) <= 2 for items in found.pack.items.values())
    assert [exam.params.limit for exam in found.exams] == [2] * len(PARAMS.exams)
