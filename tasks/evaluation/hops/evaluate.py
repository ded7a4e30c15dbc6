"""Stage evaluate: one hop asked everything, through the same served path as every other hop and as production."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file, sha256_json
from tasks.core.files import write_json, write_jsonl
from tasks.core.manifest import MANIFEST, read_manifest
from tasks.core.project import Project
from tasks.core.settings import BaseModelParams, EvaluateParams, ExamParams, VllmParams
from tasks.engine.client import AnswerCache, ServedClient
from tasks.engine.environment import require_as_recorded
from tasks.engine.queries import TOKENS_FLAG
from tasks.engine.server import VllmServer
from tasks.evaluation.hops import report
from tasks.evaluation.hops.asking import Questions, Respondent, ask_all, cut
from tasks.evaluation.hops.heldout import heldout_rows
from tasks.evaluation.multiple_choice.calibration import check_calibration
from tasks.evaluation.pack.judge import judge_client, second_opinion
from tasks.exams.pack.reading import load_pack
from tasks.exams.reading import load_exam

log = logging.getLogger(__name__)

ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Hop:
    """Which folders a hop is.

    Args:
        name: base, adapter, merged or awq.
        base: the base model.
        model: a whole model of its own, if it is one.
        adapter: the adapter, if the hop is base + adapter.
    """

    name: str
    base: Path
    model: Path | None
    adapter: Path | None

    @property
    def served(self) -> Path:
        """What the server loads; an adapter is loaded beside it."""
        return self.model or self.base

    @property
    def folder(self) -> Path:
        """What the hop added: its tokenizer is the one asked with."""
        return self.adapter or self.served


def evaluate(
    params: EvaluateParams,
    *,
    output: Path,
    raw: Path,
    prepared: Path,
    base: Path,
    base_model: BaseModelParams,
    serve_vllm: VllmParams,
    scratch: Path,
    project: Project,
    hop: str,
    model: Path | None = None,
    adapter: Path | None = None,
) -> dict[str, Any]:
    """Evaluate one hop and write results.json, samples.jsonl, predictions.jsonl and metrics.json.

    Args:
        params: section `evaluate`; its paths start at the project root.
        output: folder to fill.
        raw: the project's own sets live here by default (an input, so that DVC sees their changes).
        prepared: folder of the prepared rows; validation.jsonl gives held-out text and parity conversations.
        base: folder of the base model.
        base_model: what it is called: a known base has a known score.
        serve_vllm: section `serve.vllm`: production's flags.
        scratch: keeps the answers received, so that a restart continues.
        project: gives serving interpreter, port and log folder.
        hop: base, adapter, merged or awq.
        model: folder of the hop's whole model; None for the base itself and for base + adapter.
        adapter: folder of the adapter, served beside the base.

    Raises:
        DataContractError: a suite breaks its schema, or the server gives no usable log-probabilities.
        MissingToolError: the serving interpreter is not the one on record.
        TransientError: the server is lost or does not start.
    """
    require_as_recorded(project)
    questions = read_questions(params, prepared, project)
    if adapter and not (adapter / ADAPTER_CONFIG).is_file():
        # train.mode full writes a whole model.
        model, adapter = adapter, None
    asked_hop = Hop(hop, base, model, adapter)
    full = hop != "adapter" or params.adapter == "full"
    with VllmServer(project.serve_python) as server:
        log_path = project.state / "logs" / f"evaluate-{hop}.log"
        server.start(
            asked_hop.served,
            project.evaluation_port,
            serve_vllm,
            hop,
            log_path,
            adapter=asked_hop.adapter,
            flags=[TOKENS_FLAG],
            spare_cores=0,
        )
        asked, tokenizer = _ask(params, questions, server, asked_hop, scratch, serve_vllm, full=full)
    made = model or adapter
    lines = [sample.row() for sample in asked.samples]
    results = report.results(
        params,
        asked,
        hop=hop,
        lineage_id=read_manifest(made)["lineage_id"] if made else None,
        tokenizer=tokenizer,
        folder=asked_hop.folder,
        full=full,
        judge=second_opinion(params.judge if full else None, questions.pack, lines, scratch),
    )
    results["server"]["computed_in"] = server.computed_in
    if hop == "base":
        results["calibration"] = _calibration(params.exams, base_model, results["exams"])
    write_json(output / "results.json", results)
    write_jsonl(output / "samples.jsonl", lines)
    write_jsonl(output / "predictions.jsonl", asked.predictions)
    write_json(output / "metrics.json", report.flat_metrics(results))
    return {
        "hop": hop,
        **results["metrics"],
        "canary": results["canary"]["passed"],
        "parity_mismatches": len(results["parity"]["mismatches"]),
    }


def read_questions(params: EvaluateParams, prepared: Path, project: Project) -> Questions:
    """Return everything to ask; a broken file, or a judge without an address, is found before a server is started."""
    from tasks.chat.shapes import choose_conversations

    if params.judge:
        judge_client(params.judge, AnswerCache(None))
    pack = cut(load_pack(project.root / params.domain.path), params.domain.limit)
    validation = prepared / "validation.jsonl"
    return Questions(
        [load_exam(exam, project.root, project.state / "datasets") for exam in params.exams],
        pack,
        choose_conversations(validation, params.parity_rows),
        heldout_rows(pack.items["short"], validation, params.heldout_rows),
    )


def _ask(
    params: EvaluateParams,
    questions: Questions,
    server: VllmServer,
    hop: Hop,
    scratch: Path,
    serve_vllm: VllmParams,
    *,
    full: bool,
) -> tuple[report.Asked, Any]:
    """Return the hop's answers and its tokenizer; slow imports and tokenizers load while the server starts."""
    from tasks.evaluation.hops import harness  # noqa: F401
    from tasks.evaluation.hops.served_model import load_tokenizer

    tokenizer = load_tokenizer(hop.folder)
    base_tokenizer = tokenizer if hop.folder == hop.base else load_tokenizer(hop.base)
    server.wait_ready()
    with AnswerCache(scratch / "answers.jsonl") as cache:
        client = ServedClient(
            server.url,
            hop.name,
            model_digest=model_digest(hop.folder),
            concurrency=params.concurrency,
            cache=cache,
            alive=lambda: server.alive,
            token_route=True,
        )
        respondent = Respondent(
            hop.name, client, tokenizer, base_tokenizer, hop.served, hop.base, serve_vllm.max_model_length_tokens,
            hop.folder,
        )  # fmt: skip
        return ask_all(params, questions, respondent, suites=full), tokenizer


def _calibration(
    exams: list[ExamParams], base_model: BaseModelParams, facts: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return how the base's score compares with its known one, for the first exam with a known score."""
    for params, exam in zip(exams, facts, strict=True):
        if found := check_calibration(base_model.id, base_model.digest, exam, params):
            return found
    return None


def model_digest(folder: Path) -> str:
    """Return what kept answers depend on: the manifest's digest, or names, sizes and times where there is none."""
    if (folder / MANIFEST).is_file():
        return sha256_file(folder / MANIFEST)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256_json([[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files])
