"""Stage evaluate: one hop asked everything, through the same served path as every other hop and as production."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file, sha256_json
from tasks.core.files import write_json, write_jsonl
from tasks.core.manifest import MANIFEST
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.core.settings import EvaluateParams, VllmParams
from tasks.evaluation import ceval, domain, report
from tasks.serving.vllm_server import VllmServer

log = logging.getLogger(__name__)

#: Asked greedily at every hop: two hops that should differ but answer these alike token by token are one model.
FINGERPRINT_PROMPTS = (
    "什么是应急计划区？",
    "碘片什么时候服用？",
    "隐蔽时应注意什么？",
    "1 mSv 等于多少 μSv？",
    "What is a general emergency?",
    "When should stable iodine be taken?",
    "What does sheltering mean?",
    "How many microsieverts are in 1 mSv?",
)
FINGERPRINT_TOKENS = 16


@dataclass(frozen=True)
class Questions:
    """Everything that is asked, read and checked before a server is started."""

    subjects: list[ceval.Subject]
    pack: domain.Pack
    conversations: list[dict[str, Any]]


def evaluate(
    params: EvaluateParams,
    *,
    output: Path,
    raw: Path,
    prepared: Path,
    base: Path,
    serve_vllm: VllmParams,
    scratch: Path,
    project: Project,
    hop: str,
    model: Path | None = None,
) -> dict[str, Any]:
    """Evaluate one hop and write results.json, samples.jsonl, predictions.jsonl and metrics.json.

    Args:
        params: section `evaluate`; its paths start at the project root.
        output: folder to fill.
        raw: the project's own sets live here by default (an input, so that DVC sees their changes).
        prepared: folder of the prepared rows; validation.jsonl gives the parity conversations.
        base: folder of the base model.
        serve_vllm: section `serve.vllm`: production's flags.
        scratch: keeps the answers received, so that a restart continues.
        project: gives serving interpreter, port and log folder.
        hop: base, merged or awq.
        model: folder of the hop's model; None for the base itself.

    Raises:
        DataContractError: a suite breaks its schema, or the server gives no usable log-probabilities.
        TransientError: the server is lost or does not start.
    """
    questions = _read_questions(params, prepared, project)
    folder = model or base
    with VllmServer(project.serve_python) as server:
        server.start(folder, project.evaluation_port, serve_vllm, hop, project.state / "logs" / f"evaluate-{hop}.log")
        outcome = _ask(params, questions, server, folder, base, scratch, hop)
    results = report.results(params, questions.subjects, outcome, hop=hop, model=model)
    write_json(output / "results.json", results)
    write_jsonl(output / "samples.jsonl", [sample.row() for sample in outcome.samples])
    write_jsonl(output / "predictions.jsonl", outcome.predictions)
    write_json(output / "metrics.json", report.flat_metrics(params, results))
    return {
        "hop": hop,
        **results["metrics"],
        "canary": results["canary"]["passed"],
        "parity_mismatches": len(results["parity"]["mismatches"]),
    }


def _read_questions(params: EvaluateParams, prepared: Path, project: Project) -> Questions:
    """Return everything to ask; a broken file is found before a server is started."""
    from tasks.evaluation.parity import choose_conversations

    return Questions(
        ceval.load_subjects(params.ceval, project.root, project.state / "datasets"),
        domain.load_pack(project.root / params.domain.path),
        choose_conversations(prepared / "validation.jsonl", params.parity_rows),
    )


def _ask(
    params: EvaluateParams, questions: Questions, server: VllmServer, folder: Path, base: Path, scratch: Path, hop: str
) -> report.Outcome:
    """Ask the server everything: canary and parity first, then the suites, then the fingerprint."""
    # Slow imports and the tokenizers load while the server starts.
    from tasks.evaluation import harness  # noqa: F401
    from tasks.evaluation.canary import run_canary
    from tasks.evaluation.client import AnswerCache, ServedClient
    from tasks.evaluation.served_model import load_tokenizer

    tokenizer = load_tokenizer(folder)
    base_tokenizer = tokenizer if folder == base else load_tokenizer(base)
    server.wait_ready()
    with AnswerCache(scratch / "answers.jsonl") as cache:
        client = ServedClient(
            server.url,
            hop,
            model_digest=model_digest(folder),
            concurrency=params.concurrency,
            cache=cache,
            alive=lambda: server.alive,
        )
        clock = _Clock(hop)
        canary = run_canary(client, tokenizer)
        clock.lap("canary")
        mismatches = _parity(questions, folder, base, tokenizer, base_tokenizer, client)
        clock.lap("token parity")
        samples, predictions = _suites(params, questions, client, tokenizer, clock)
        fingerprint = _fingerprint(client, tokenizer)
        clock.lap("fingerprint")
        return report.Outcome(
            samples,
            predictions,
            canary,
            len(questions.conversations),
            mismatches,
            fingerprint,
            tokenizer,
            client.version(),
            folder,
        )


def _parity(
    questions: Questions, folder: Path, base: Path, tokenizer: Any, base_tokenizer: Any, client: Any
) -> list[dict[str, Any]]:
    """Return every difference of tokens and special tokens."""
    from tasks.evaluation.parity import check_parity, check_special_tokens

    return [
        *check_special_tokens(folder, base, tokenizer, base_tokenizer),
        *check_parity(questions.conversations, tokenizer, base_tokenizer, client),
    ]


def _suites(
    params: EvaluateParams, questions: Questions, client: Any, tokenizer: Any, clock: "_Clock"
) -> tuple[list[report.Sample], list[dict[str, Any]]]:
    """Return the scored items of all suites, sorted, and the token-level predictions."""
    from tasks.evaluation.harness import run_tasks
    from tasks.evaluation.served_model import ServedModel

    exam = ServedModel(client, tokenizer, params.ceval.name)
    exam_records = run_tasks(
        exam,
        ceval.task_configs(params.ceval, questions.subjects),
        chat_template=params.ceval.chat_template,
        limit=params.ceval.limit,
    )
    clock.lap(params.ceval.name)
    pack = ServedModel(client, tokenizer, "domain pack")
    pack_records = run_tasks(pack, domain.task_configs(questions.pack), chat_template=True, limit=params.domain.limit)
    clock.lap("domain pack")
    samples = [report.exam_sample(params.ceval.name, record) for record in exam_records]
    samples += [report.pack_sample(record, pack.scored) for record in pack_records]
    predictions = [
        report.prediction(record, pack.scored) for record in pack_records if record["suite"] == "domain_short"
    ]
    return sorted(samples, key=lambda sample: (sample.suite, sample.item_id)), predictions


def _fingerprint(client: Any, tokenizer: Any) -> list[list[int]]:
    """Return the greedy token ids after each fixed prompt."""
    from tasks.evaluation.parity import render
    from tasks.evaluation.served_model import greedy_query

    prompts = [render(tokenizer, [{"role": "user", "content": text}], True) for text in FINGERPRINT_PROMPTS]
    queries = [greedy_query(prompt, FINGERPRINT_TOKENS, "fingerprint") for prompt in prompts]
    return list(client.ask(queries, "fingerprint"))


def model_digest(folder: Path) -> str:
    """Return what kept answers depend on: the manifest's digest, or names, sizes and times where there is none."""
    if (folder / MANIFEST).is_file():
        return sha256_file(folder / MANIFEST)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256_json([[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files])


class _Clock:
    """Log how long each part took."""

    def __init__(self, hop: str) -> None:
        self.hop, self.last = hop, time.monotonic()

    def lap(self, what: str) -> None:
        """Log the time since the last call."""
        now = time.monotonic()
        log.info("evaluate@%s: %s took %s", self.hop, what, duration(now - self.last))
        self.last = now
