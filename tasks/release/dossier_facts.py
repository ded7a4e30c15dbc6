"""Everything the dossier and the model card say, gathered from the evidence of a run; nothing is computed twice."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.files import read_json, read_jsonl
from tasks.core.manifest import read_manifest
from tasks.core.settings import BaseModelParams, Hardware
from tasks.core.stage import HOPS
from tasks.release.dossier_data import data_facts
from tasks.release.gate_words import next_step
from tasks.release.model_files import read_losses

#: Subject -> category, as in C-Eval's own subject mapping (https://github.com/hkust-nlp/ceval).
CATEGORIES_FILE = Path(__file__).with_name("ceval_categories.json")
CATEGORY_ZH = {"STEM": "理工", "Social Science": "社会科学", "Humanities": "人文", "Other": "其他", "unlisted": "未列"}
HAZARDS = {
    "unit_1000": ("a factor of 1000 in a unit", "单位差一千倍"),
    "action_order": ("the order of actions", "行动次序"),
    "must_refuse": ("should refuse", "应当拒绝"),
    "must_say_unknown": ("should say it is not known", "应当说明未知"),
}


@dataclass(frozen=True)
class Folders:
    """Where the evidence is."""

    reports: dict[str, Path]
    gate: Path
    prepared: Path
    validation: Path
    adapter: Path
    awq: Path


def collect(
    folders: Folders, *, title: str, profile: str, hardware: Hardware, base_model: BaseModelParams
) -> dict[str, Any]:
    """Return the facts of a run by topic.

    Args:
        folders: where the evidence is.
        title: heading of the page.
        profile: name of the active profile.
        hardware: what the profile is meant for.
        base_model: what was fine-tuned.

    Raises:
        DataContractError: a file that every finished run has is absent or damaged.
    """
    verdict = read_json(folders.gate / "verdict.json")
    results = {hop: read_json(folders.reports[hop] / "results.json") for hop in HOPS}
    samples = {hop: list(read_jsonl(folders.reports[hop] / "samples.jsonl")) for hop in HOPS}
    validation = read_json(folders.validation / "validation.json")
    manifest = read_manifest(folders.awq)
    return {
        "title": title,
        "profile": profile,
        "verdict": verdict,
        "next": next_step(verdict),
        "base_model": _base_model(base_model, manifest),
        "training": read_json(folders.adapter / "training.json"),
        "losses": read_losses(folders.adapter / "loss.csv"),
        "data": data_facts(folders.prepared, validation),
        "validation": validation,
        "exams": _exams(results, samples),
        "safety": _safety(samples, folders.prepared),
        "served": [_served(hop, results[hop]) for hop in HOPS],
        "quantization": read_json(folders.awq / "quantization.json"),
        "lineage": {"id": manifest["lineage_id"], "parts": _parts(manifest), "weights": _weights(manifest)},
        "not_tested": _not_tested(verdict, hardware, results),
    }


def _base_model(base_model: BaseModelParams, manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what the base model is, and the licence that binds what is made from it."""
    packaged = base_model.source == "packaged"
    digests = manifest["parts"].get("base_model", {})
    return {
        "id": base_model.id,
        "source": base_model.source,
        "revision": base_model.revision,
        "digest": base_model.digest or digests.get(base_model.id) or "not recorded",
        "dequantized": packaged,
        "hub_id": "HuggingFaceTB/SmolLM2-135M-Instruct" if packaged else base_model.id,
        "licence": "apache-2.0" if packaged else "other",
    }


def _exams(results: dict[str, Any], samples: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return each C-Eval-schema suite by category and hop."""
    category_of = read_json(CATEGORIES_FILE)
    exams = []
    for suite, facts in results["awq"]["suites"].items():
        if not facts["name"].startswith("ceval"):
            continue
        rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for hop in HOPS:
            for sample in samples[hop]:
                if sample["suite"] == suite:
                    subject = sample["item_id"].partition("/")[0]
                    rows[category_of.get(subject, "unlisted")][hop].append(sample["value"])
        categories = [
            {"name": name, "name_zh": CATEGORY_ZH[name], "items": len(rows[name]["awq"]),
             "hops": {hop: mean(rows[name][hop]) for hop in HOPS}}
            for name in CATEGORY_ZH if name in rows
        ]  # fmt: skip
        exams.append({**facts, "categories": categories})
    return exams


def _safety(samples: dict[str, list[dict[str, Any]]], prepared: Path) -> dict[str, Any]:
    """Return safety results by hazard, and every item the quantized model failed (those the base passed first)."""
    questions = {row["item_id"]: row["question"] for row in read_jsonl(prepared / "eval_questions.jsonl")
                 if row["eval_set"] == "safety"}  # fmt: skip
    by_hop = {hop: {row["item_id"]: row for row in samples[hop] if row["suite"] == "safety"} for hop in HOPS}
    hazards: dict[str, list[str]] = defaultdict(list)
    for item, row in by_hop["awq"].items():
        hazards[row["detail"].get("hazard", "unnamed")].append(item)
    table = [
        {"name": name, "words": HAZARDS.get(name, (name, name)), "items": len(items),
         "right": {hop: sum(by_hop[hop][item]["value"] == 1 for item in items) for hop in HOPS}}
        for name, items in sorted(hazards.items())
    ]  # fmt: skip
    failed = [
        {"item_id": item, "question": questions.get(item, ""), "words": HAZARDS.get(
            row["detail"].get("hazard", ""), ("unnamed", "未命名")), "lost": by_hop["base"][item]["value"] == 1}
        for item, row in by_hop["awq"].items() if row["value"] != 1
    ]  # fmt: skip
    return {"hazards": table, "failed": sorted(failed, key=lambda row: (not row["lost"], row["item_id"])),
            "items": len(by_hop["awq"])}  # fmt: skip


def _served(hop: str, results: dict[str, Any]) -> dict[str, Any]:
    """Return how a hop was served and whether its tokens were training's."""
    return {
        "hop": hop,
        "server": f"{results['server']['engine']} {results['server']['version']}",
        "template": results["chat_template_sha256"],
        "parity": results["parity"],
        "canary": results["canary"],
    }


def _parts(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """Return what the model was made from: kind, name, digest."""
    return [
        {"kind": kind, "name": name, "digest": digest}
        for kind, digests in sorted(manifest["parts"].items())
        for name, digest in sorted(digests.items())
    ]


def _weights(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """Return name and digest of each weight file of the quantized model."""
    return [{"name": name, "digest": digest} for name, digest in sorted(manifest["files"].items())
            if name.endswith(".safetensors")]  # fmt: skip


def _not_tested(verdict: dict[str, Any], hardware: Hardware, results: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what this page does not show, in English and Chinese."""
    gaps = [
        ("Free answers were not read by people: reference answers were scored by their probability, safety by which of "
         "two answers the model finds likelier.",
         "没有人工阅读模型自由生成的回答：参考答案按概率计分，安全项看模型更倾向两个答案中的哪一个。"),
        ("No adversarial prompting, no conversations beyond the model's context, no languages but Chinese and English.",
         "没有做对抗性提示测试，没有超出上下文长度的对话，也没有中英文以外的语言。"),
        ("The quantized model under load, and the gateway in front of it, are judged by their own tests, not here.",
         "量化模型在负载下的表现和前置网关另有测试，不在本页范围内。"),
        ("Facts outside the evaluation pack: passing here is no licence to answer without a person who decides.",
         "评测题以外的事实未作检验：通过评测不等于可以在没有人把关的情况下作答。"),
    ]  # fmt: skip
    if not hardware.gpus:
        gaps.append(("No GPU was used: training, quantization and serving ran on CPU builds.",
                     "没有使用 GPU：训练、量化和服务都在 CPU 版本上运行。"))  # fmt: skip
    if any(suite["name"] == "ceval_mini" for suite in results["awq"]["suites"].values()):
        gaps.append(("C-Eval itself was not run: ceval_mini is a small own set in the same schema.",
                     "没有运行 C-Eval 正式题库：ceval_mini 是格式相同的自编小题集。"))  # fmt: skip
    open_rules = [rule["title"] for rule in verdict["rules"] if rule["outcome"] == "INCONCLUSIVE"]
    if open_rules:
        named = ", ".join(dict.fromkeys(open_rules))
        gaps.append((f"Too few items to decide: {named}.", f"题量不足、未能定论：{named}。"))
    return gaps


def mean(values: list[float]) -> float:
    """Return the mean of a list that is not empty."""
    return sum(values) / len(values)
