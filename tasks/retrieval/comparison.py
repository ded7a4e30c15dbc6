"""The domain pack asked twice of one served version, with and without documents, compared as the gate compares hops."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.core.files import write_json, write_jsonl
from tasks.core.settings import GateParams
from tasks.engine.client import AnswerCache, Query, ServedClient
from tasks.evaluation.pack.generation import GenerationItem, generation_items, score
from tasks.evaluation.statistics.binary import compare_binary
from tasks.evaluation.statistics.comparison import Comparison
from tasks.evaluation.statistics.continuous import compare_continuous
from tasks.exams.pack.reading import Pack

CHAT = "/v1/chat/completions"
SUFFIX = ":grounded"
#: Answered in words, and what documents may change: key points, and saying that something is not known.
KINDS = ("short", "unknown")


@dataclass(frozen=True)
class Asked:
    """How both sides are asked.

    Args:
        url: of the gateway, without /v1.
        key: an API key; of role evaluator where every chat is answered from documents.
        lineage_id: of the version that is live.
        index: what the documents are and how answers are held to them: kept answers depend on it.
        concurrency: requests in flight.
        cache: file that keeps answers, so that a restart continues.
        limit: first items of each kind; None for all.
    """

    url: str
    key: str
    lineage_id: str
    index: str
    concurrency: int
    cache: Path
    limit: int | None = None


def compare_grounded(pack: Pack, params: GateParams, asked: Asked, output: Path) -> dict[str, Any]:
    """Ask both ways, score both by the pack's rules, and write results.json and samples.jsonl.

    Args:
        pack: the domain pack.
        params: section `gate`: level, bootstrap samples and seed.
        asked: how.
        output: folder of the report.

    Raises:
        TransientError: the gateway is lost; answers received are kept.
        ConfigError: it refuses the key or a request.
    """
    items = [one for one in generation_items(pack, thinking=False, limit=asked.limit) if one.item["kind"] in KINDS]
    with AnswerCache(asked.cache) as cache:
        plain = _answers(items, asked, cache, "")
        grounded = _answers(items, asked, cache, SUFFIX)
    rows = [_row(*one) for one in zip(items, plain, grounded, strict=True)]
    found = {suite: _compared([row for row in rows if row["suite"] == suite], params)
             for suite in dict.fromkeys(item.suite for item in items)}  # fmt: skip
    results = {"lineage_id": asked.lineage_id, "index": asked.index, "limit": asked.limit, "suites": found}
    write_jsonl(output / "samples.jsonl", rows)
    write_json(output / "results.json", results)
    return results


def _answers(items: list[GenerationItem], asked: Asked, cache: AnswerCache, suffix: str) -> list[dict[str, Any]]:
    """Return every item's answer by one of the two names."""
    client = ServedClient(
        asked.url,
        asked.lineage_id + suffix,
        model_digest=f"{asked.lineage_id}{suffix} {asked.index if suffix else ''}",
        concurrency=asked.concurrency,
        cache=cache,
        api_key=asked.key,
    )
    queries = [
        Query(
            CHAT,
            {"messages": item.messages, "max_tokens": item.max_tokens, "temperature": 0},
            _read,
            f"{item.item_id}{suffix}",
        )
        for item in items
    ]
    return client.ask(queries, "grounded" if suffix else "plain")


def _read(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of an answer."""
    about = answer.get("grounded") or {}
    kept = {name: about[name] for name in ("answered", "why", "quoted", "problems") if name in about}
    return {"text": answer["choices"][0]["message"]["content"] or "", "grounded": kept}


def _row(item: GenerationItem, plain: dict[str, Any], grounded: dict[str, Any]) -> dict[str, Any]:
    """Return one item with both answers and their scores."""
    values = {"plain": score(item, plain["text"])[0], "grounded": score(item, grounded["text"])[0]}
    return {"suite": item.suite, "item_id": item.item_id, "lang": item.lang, "values": values,
            "plain": plain["text"], "grounded": grounded["text"], "outcome": grounded["grounded"]}  # fmt: skip


def _compared(rows: Sequence[dict[str, Any]], params: GateParams) -> dict[str, Any]:
    """Return the paired comparison of a suite, and what became of its grounded answers."""
    base, value = ([row["values"][side] for row in rows] for side in ("plain", "grounded"))
    compared: Comparison
    if {*base, *value} <= {0.0, 1.0}:
        compared = compare_binary(base, value, threshold=0.0, alpha=params.alpha)
    else:
        compared = compare_continuous(
            base, value, threshold=0.0, alpha=params.alpha, samples=params.bootstrap_samples, seed=params.seed
        )
    outcomes = Counter(row["outcome"].get("why") or "answered" for row in rows)
    quoted = sum(bool(row["outcome"].get("quoted")) for row in rows)
    problems = Counter(one for row in rows for one in row["outcome"].get("problems", ()))
    better = compared.interval[0] > 0 and compared.p_value <= params.alpha
    worse = compared.interval[1] < 0 and compared.p_opposite <= params.alpha
    return asdict(compared) | {
        "verdict": "better" if better else "worse" if worse else "undecided",
        "outcomes": dict(outcomes), "quoted": quoted, "problems": dict(problems),
    }  # fmt: skip
