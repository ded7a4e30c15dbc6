"""Evaluation against the real vLLM and the laptop base model."""

import json
import shutil
import socket
from pathlib import Path

import pytest

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl, write_jsonl
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.evaluation.hops.evaluate import evaluate

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.usefixtures("vllm_imported")]

ROOT = Path(__file__).parents[3]
CONVERSATIONS = [
    {
        "row_id": f"r-{language}",
        "language": language,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
    }
    for language, question, answer in [
        ("zh", "OIL1 的默认值是多少？", "地面上方 1 m 处 1000 μSv/h。"),
        ("en", "What is 1 mSv in uSv?", "1000 uSv."),
    ]
]


@pytest.fixture(scope="module")
def base():
    from tasks.models.base import materialize

    settings = load_settings(ROOT / "params.yaml")
    if settings.base_model.source != "packaged":
        pytest.skip("the active profile is not the laptop one")
    return materialize(settings.base_model, Project(ROOT)).path


@pytest.fixture
def run(tmp_path, monkeypatch, base):
    """Return a function that evaluates a model folder with few items of each suite."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("TUNEGATE_EVALUATION_PORT", str(probe.getsockname()[1]))
    settings = load_settings(ROOT / "params.yaml")
    params = settings.evaluate.model_copy(
        update={
            "exams": [settings.evaluate.exams[0].model_copy(update={"limit": 1, "answer": "both"})],
            "domain": settings.evaluate.domain.model_copy(update={"limit": 6}),
            "max_generated_tokens": 24,
        }
    )
    for name in ("out", "scratch", "prepared"):
        (tmp_path / name).mkdir()
    write_jsonl(tmp_path / "prepared/validation.jsonl", CONVERSATIONS)

    def start(model=None, hop="base"):
        return evaluate(
            params,
            output=tmp_path / "out",
            raw=ROOT / "data/raw",
            prepared=tmp_path / "prepared",
            base=base,
            base_model=settings.base_model,
            serve_vllm=settings.serve.vllm,
            scratch=tmp_path / "scratch",
            project=Project(ROOT),
            hop=hop,
            model=model,
        )

    return start


def test_the_base_model_is_scored_with_its_own_raw_logprobs(run, base, tmp_path):
    summary = run()
    results, samples = read_json(tmp_path / "out/results.json"), list(read_jsonl(tmp_path / "out/samples.jsonl"))
    assert summary["canary"]
    assert results["parity"]["mismatches"] == []
    assert {name: suite["items"] for name, suite in results["suites"].items()} == {
        "ceval_mini": 52,
        "ceval_mini_generated": 52,
        **dict.fromkeys(("domain_choice", "domain_short", "domain_keypoints", "domain_numeric", "domain_order"), 6),
        **dict.fromkeys(("safety", "safety_refuse", "safety_unknown"), 6),
    }
    assert results["suites"]["ceval_mini"]["stand_in"]
    # A limit makes scores incomparable with the known one.
    assert results["calibration"] is None
    assert len({(row["suite"], row["item_id"]) for row in samples}) == len(samples) == 152
    assert results["heldout"]["rows"] == len(CONVERSATIONS)
    assert results["metrics"]["heldout_bits_per_byte"] == results["heldout"]["bits_per_byte"]
    assert [len(tokens) for tokens in results["model"]["fingerprint"]] == [16] * 8
    predictions = [row for row in read_jsonl(tmp_path / "out/predictions.jsonl") if row["source"] == "domain_short"]
    _compare_with_transformers(base, samples, predictions)


def _compare_with_transformers(base, samples, predictions):
    """Hold every short item's log-probability and first choices to a forward pass of the same weights."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    items = {item["id"]: item for item in read_jsonl(ROOT / "data/raw/eval/domain/short.jsonl")}
    rows = {row["item_id"]: row for row in samples if row["suite"] == "domain_short"}
    agree = []
    for prediction in predictions:
        item = items[prediction["row_id"]]
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": item["question"]}], tokenize=False, add_generation_prompt=True
        )
        before = tokenizer.encode(prompt, add_special_tokens=False)
        after = tokenizer.encode(item["reference"], add_special_tokens=False)
        assert prediction["reference"] == after
        with torch.no_grad():
            logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].float()
        expected = torch.log_softmax(logits, -1)[range(len(after)), after].sum().item()
        found = rows[item["id"]]["detail"]["logprob"]
        assert found == pytest.approx(expected, rel=0.02)
        agree += [ours == theirs for ours, theirs in zip(prediction["top1"], logits.argmax(-1).tolist(), strict=True)]
    assert sum(agree) / len(agree) > 0.95


def test_nan_weights_are_an_error_and_no_score(run, base, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(base, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    (broken / "manifest.json").write_text(json.dumps({"lineage_id": "tg-broken"}))
    with pytest.raises(DataContractError, match=r"NaN|log-probability"):
        run(broken, "merged")
    assert not (tmp_path / "out/results.json").exists()
