"""The live endpoint asked what its version was released on: through the gateway, with a key, as callers ask it."""

import copy
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.core.files import read_json, read_jsonl, write_json, write_jsonl
from tasks.core.project import Project
from tasks.core.settings import EvaluateParams
from tasks.engine.client import AnswerCache
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, FINGERPRINT_TOKENS, SERVED_HOP
from tasks.evaluation.hops import report
from tasks.evaluation.hops.asking import Respondent, ask_exam, ask_pack, cut, fitted_exam, limited
from tasks.evaluation.hops.samples import Sample
from tasks.evaluation.live.agreement import compare, findings, text_agreement
from tasks.evaluation.live.client import PIECE, GatewayClient
from tasks.evaluation.pack.generation import generation_items
from tasks.exams.pack.reading import Pack, load_pack
from tasks.exams.reading import load_exam
from tasks.exams.schema import Exam

log = logging.getLogger(__name__)

HOP = "served"


@dataclass(frozen=True)
class LiveVersion:
    """What is live, and where its files and its evidence are.

    Args:
        number: of the registered version.
        lineage_id: the name it is served under.
        model: folder of its weights; the tokenizer is read from it.
        evidence: folder of its evaluation report at the served hop.
    """

    number: str
    lineage_id: str
    model: Path
    evidence: Path


@dataclass(frozen=True)
class Endpoint:
    """How the live endpoint is asked.

    Args:
        url: of the gateway, without /v1.
        key: an API key.
        concurrency: requests in flight.
        context_tokens: longest prompt and answer together that it takes.
        max_completion_tokens: the gateway's cap on an answer.
    """

    url: str
    key: str
    concurrency: int
    context_tokens: int
    max_completion_tokens: int


@dataclass(frozen=True)
class LiveQuestions:
    """Everything that is asked of the endpoint, read and checked before the first request."""

    exams: list[Exam]
    pack: Pack


def read_live_questions(params: EvaluateParams, project: Project, limit: int | None) -> LiveQuestions:
    """Return what to ask: the exams and the pack of params.yaml, without what the gateway does not pass on.

    Args:
        params: section `evaluate`.
        project: where the sets lie.
        limit: first items of each subject and each kind; None for those of params.yaml.

    Raises:
        DataContractError: a set breaks its schema.
    """
    params = limited(params, limit)
    pack = cut(load_pack(project.root / params.domain.path), params.domain.limit)
    # Callers cannot switch thinking on or off: what they get is the template's own way.
    askable = {kind: [] if kind == "thinking" else items for kind, items in pack.items.items()}
    exams = [load_exam(exam, project.root, project.state / "datasets") for exam in params.exams]
    return LiveQuestions(exams, replace(pack, items=askable))


def evaluate_live(
    params: EvaluateParams,
    questions: LiveQuestions,
    version: LiveVersion,
    endpoint: Endpoint,
    *,
    output: Path,
    scratch: Path,
) -> dict[str, Any]:
    """Ask the live endpoint everything and hold it to the evidence of its version.

    A run that is killed goes on where it was; a finished one leaves no answers behind: the next asks anew.

    Args:
        params: section `evaluate`.
        questions: what to ask.
        version: what is live.
        endpoint: how to ask it.
        output: folder for results.json (form of a hop's report, with `agreement`), samples.jsonl and metrics.json.
        scratch: folder for the answers received.

    Returns:
        results.json; `agreement.findings` says in words why the endpoint is not what was released, empty where it is.

    Raises:
        TransientError: the endpoint is lost, or another version went live meanwhile.
        ConfigError: the key or a request is refused.
        DataContractError: an answer lacks what was asked for.
    """
    from tasks.evaluation.hops.served_model import load_tokenizer

    scratch.mkdir(parents=True, exist_ok=True)
    kept = scratch / f"{version.lineage_id}.jsonl"
    with AnswerCache(kept) as cache:
        tokenizer = load_tokenizer(version.model)
        asked, fingerprint = _ask(params, questions, version, endpoint, tokenizer, cache)
    results = _results(params, asked, version, tokenizer)
    samples = [sample.row() for sample in asked.samples]
    evidence = read_json(version.evidence / "results.json")
    agreement = compare(samples, read_jsonl(version.evidence / "samples.jsonl"))
    expected = [_text(tokenizer, ids) for ids in evidence["model"]["fingerprint"]]
    agreement["fingerprint"] = round(text_agreement(fingerprint, expected), 4)
    agreement["findings"] = findings(agreement)
    results |= {"version": version.number, "agreement": agreement}
    write_json(output / "results.json", results)
    write_jsonl(output / "samples.jsonl", samples)
    write_json(output / "metrics.json", report.flat_metrics(results))
    kept.unlink()
    return results


def _ask(
    params: EvaluateParams,
    questions: LiveQuestions,
    version: LiveVersion,
    endpoint: Endpoint,
    tokenizer: Any,
    cache: AnswerCache,
) -> tuple[report.Asked, list[str]]:
    """Return everything the endpoint answered, and its answers to the fingerprint prompts."""
    from tasks.evaluation.hops.canary import run_canary

    client = GatewayClient(
        endpoint.url, endpoint.key, version.lineage_id, tokenizer, concurrency=endpoint.concurrency, cache=cache
    )
    canary = run_canary(client, tokenizer, through_gateway=True)
    fingerprint = _fingerprint(client)
    hop = Respondent(HOP, client, tokenizer, tokenizer, version.model, version.model, endpoint.context_tokens)
    exams = [fitted_exam(exam, params, hop) for exam in questions.exams]
    longest = min(params.max_generated_tokens, endpoint.max_completion_tokens)
    samples: list[Sample] = []
    for exam in exams:
        samples += ask_exam(exam, hop, longest)
    for item in generation_items(questions.pack):
        client.register(item.messages)
    samples += ask_pack(questions.pack, hop, longest)
    asked = report.Asked(
        samples=sorted(samples, key=lambda sample: (sample.suite, sample.item_id)),
        exams=exams,
        predictions=[],
        heldout={"rows": 0, "tokens": 0, "bits_per_byte": None, "perplexity": None},
        canary=canary,
        parity={"rows": 0, "shapes": {}, "mismatches": []},
        fingerprint=[tokenizer.encode(text, add_special_tokens=False) for text in fingerprint],
        server_version="behind the gateway",
    )
    return asked, fingerprint


def _fingerprint(client: Any) -> list[str]:
    """Return the beginning of the greedy answer to each fixed prompt, asked anew at every start."""
    from tasks.engine.queries import answer_query
    from tasks.engine.spans import opening_ids

    fresh = copy.copy(client)
    fresh.cache = AnswerCache(None)
    opening = opening_ids(client.tokenizer)
    # With an opening a prompt is no conversation a caller could send: it goes as text.
    prompts = [client.register([{"role": "user", "content": text}]) + opening for text in FINGERPRINT_PROMPTS]
    answers = fresh.ask([answer_query(prompt, FINGERPRINT_TOKENS, "fingerprint") for prompt in prompts], "fingerprint")
    return [str(answer["text"]).rstrip(PIECE) for answer in answers]


def _results(params: EvaluateParams, asked: report.Asked, version: LiveVersion, tokenizer: Any) -> dict[str, Any]:
    """Return the endpoint's report in the form of a hop's; what cannot be asked through a gateway is left out."""
    found = report.results(
        params, asked, hop=HOP, lineage_id=version.lineage_id, tokenizer=tokenizer, folder=version.model, full=True,
    )  # fmt: skip
    found["metrics"].pop("heldout_bits_per_byte", None)
    return found | {"released_hop": SERVED_HOP}


def _text(tokenizer: Any, ids: list[int]) -> str:
    """Return what a caller sees of a greedy answer: the text up to the end of the turn."""
    stop = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else len(ids)
    return str(tokenizer.decode(ids[:stop], skip_special_tokens=True)).rstrip(PIECE)
