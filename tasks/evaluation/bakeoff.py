"""Several base models asked the same questions through the same served path, before any training is paid for.

Each candidate is evaluated as hop `base` of a run would be. A finished candidate is not asked again; one that was
stopped goes on with the answers it has.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core.digest import sha256_json
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, read_jsonl, replaced_directory
from tasks.core.project import Project
from tasks.core.settings import BaseModelParams, EvaluateParams, GateParams, Settings
from tasks.core.table import table
from tasks.models.base import materialize
from tasks.models.catalogue import load_catalogue
from tasks.models.packaged import PACKAGES

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

OVERALL = "overall"
#: Suites whose items are right or wrong, or right by a share: they make up `overall`, each with the same weight.
COUNTED = ("accuracy", "share")
LOWER_IS_BETTER = "bits_per_byte"
#: Resamples of the items; an interval's end then wobbles by about a fiftieth of its width.
SAMPLES = 4000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Candidate:
    """One base model's evaluation.

    Args:
        name: as it was asked for.
        results: its results.json.
        values: suite -> item id -> value.
        metrics: suite -> accuracy, share or bits_per_byte.
    """

    name: str
    results: dict[str, Any]
    values: dict[str, dict[str, float]]
    metrics: dict[str, str]


def base_model_of(name: str, project: Project) -> BaseModelParams:
    """Return a candidate as `base_model` would have it: a folder, a packaged model, a catalogue id, or `hub:id`.

    Raises:
        ConfigError: it is none of these.
    """
    hub, _, rest = name.partition(":")
    if hub in ("huggingface", "modelscope") and rest:
        return BaseModelParams(source=hub, id=rest, revision=None, digest=None)  # type: ignore[arg-type]
    if name in PACKAGES:
        return BaseModelParams(source="packaged", id=name, revision=None, digest=None)
    if (project.root / name).is_dir():
        return BaseModelParams(source="local", id=name, revision=None, digest=None)
    if name in {model.id for model in load_catalogue().models}:
        return BaseModelParams(source="huggingface", id=name, revision=None, digest=None)
    raise ConfigError(
        f"{name!r} is no folder, no packaged model and no id of the catalogue",
        "tunegate models list; any other model of a hub: huggingface:ID or modelscope:ID",
    )


def run_bakeoff(names: Sequence[str], settings: Settings, project: Project, *, limit: int | None) -> list[Candidate]:
    """Evaluate each candidate that was not evaluated yet, and return all, in the order given.

    Args:
        names: candidates.
        settings: `evaluate` and `serve.vllm` are used.
        project: its state folder keeps the reports.
        limit: items of each exam and kind; None: as set.

    Raises:
        ConfigError: a name is unknown or stands twice; nothing was started.
        DataContractError: there are no prepared rows (they give the held-out text).
    """
    bases = {name: base_model_of(name, project) for name in names}
    if len(bases) < len(names):
        raise ConfigError("a candidate stands twice", "name each once")
    prepared = project.root / "data" / "prepared"
    if not (prepared / "validation.jsonl").is_file():
        raise DataContractError(f"{prepared}/validation.jsonl does not exist", "tunegate stage prepare")
    from tasks.evaluation.hops.asking import limited

    params = limited(settings.evaluate, limit)
    return [_evaluated(name, base, params, settings, project) for name, base in bases.items()]


def read_candidate(name: str, folder: Path) -> Candidate:
    """Return a finished evaluation."""
    values: dict[str, dict[str, float]] = {}
    metrics: dict[str, str] = {}
    for row in read_jsonl(folder / "samples.jsonl"):
        values.setdefault(row["suite"], {})[row["item_id"]] = float(row["value"])
        metrics[row["suite"]] = row["metric"]
    return Candidate(name, read_json(folder / "results.json"), values, metrics)


def compare(candidates: Sequence[Candidate], *, by: str, gate: GateParams) -> dict[str, Any]:
    """Rank candidates, with a bootstrap interval of each value and of its distance from the best.

    Items are resampled within their suite, the same for every candidate: what two of them share cancels out.

    Args:
        candidates: evaluated on the same items.
        by: `overall` (the mean of all suites of right or wrong answers), a suite, or a metric's name.
        gate: its seed.

    Raises:
        ConfigError: no candidate has that metric.
        DataContractError: two candidates answered other items of one suite.
    """
    suites = _common_suites(candidates)
    chosen = _suites_of(by, suites, candidates[0])
    lower = candidates[0].metrics[chosen[0]] == LOWER_IS_BETTER
    draws = _draws(candidates, chosen, gate.seed)
    values = [_mean(candidate, chosen) for candidate in candidates]
    sound = [bool(candidate.results["canary"]["passed"]) for candidate in candidates]
    order = sorted(range(len(candidates)), key=lambda at: (not sound[at], values[at] if lower else -values[at]))
    best = order[0]
    ranking = []
    for rank, at in enumerate(order, start=1):
        behind = (values[at] - values[best]) * (1 if lower else -1)
        spread = _interval((draws[at] - draws[best]) * (1 if lower else -1))
        ranking.append(_ranked(candidates[at], rank, values[at], draws[at], behind, spread, sound[at]))
    left_out = {candidate.name: sorted(set(candidate.values) - set(suites)) for candidate in candidates}
    return {"by": by, "suites": chosen, "lower_is_better": lower, "ranking": ranking,
            "not_compared": {name: missing for name, missing in left_out.items() if missing}}  # fmt: skip


def ranked_text(ranking: dict[str, Any]) -> str:
    """Return a ranking as a table."""
    head = ["", "candidate", ranking["by"], "95 % interval", "behind the best", "bits/byte", "notes"]
    rows = []
    for entry in ranking["ranking"]:
        low, high = entry["interval"]
        behind = "" if entry["rank"] == 1 else f"{entry['behind']:.3f} ({_range(entry['behind_interval'])})"
        bits = entry["suites"].get("domain_short")
        rows.append(
            [str(entry["rank"]), entry["candidate"], f"{entry['value']:.3f}", _range((low, high)), behind,
             f"{bits:.3f}" if bits is not None else "", "; ".join(entry["notes"])]
        )  # fmt: skip
    lines = [table(head, rows), f"{ranking['by']}: mean of {', '.join(ranking['suites'])}"]
    lines += [f"not compared, {name}: {', '.join(suites)}" for name, suites in ranking["not_compared"].items()]
    return "\n".join(lines)


def _evaluated(
    name: str, base_model: BaseModelParams, params: EvaluateParams, settings: Settings, project: Project
) -> Candidate:
    """Return one candidate's evaluation, made now where there is none of the same model and questions."""
    from tasks.evaluation.hops.evaluate import evaluate

    base = materialize(base_model, project)
    asked = [base.digest, params.model_dump(mode="json"), settings.serve.vllm.model_dump(mode="json")]
    slug = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-')}-{sha256_json(asked)[:12]}"
    folder = project.state / "bakeoff" / slug
    if (folder / "results.json").is_file():
        log.info("bakeoff: %s was evaluated before: %s", name, folder)
        return read_candidate(name, folder)
    log.info("bakeoff: %s", name)
    scratch = project.state / "scratch" / f"bakeoff-{slug}"
    scratch.mkdir(parents=True, exist_ok=True)
    with replaced_directory(folder) as partial:
        evaluate(
            params,
            output=partial,
            raw=project.root / "data" / "raw",
            prepared=project.root / "data" / "prepared",
            base=base.path,
            base_model=base_model,
            serve_vllm=settings.serve.vllm,
            scratch=scratch,
            project=project,
            hop="base",
        )
    return read_candidate(name, folder)


def _common_suites(candidates: Sequence[Candidate]) -> list[str]:
    """Return the suites every candidate answered, with the same items."""
    common = set.intersection(*(set(candidate.values) for candidate in candidates))
    for suite in sorted(common):
        for candidate in candidates[1:]:
            if other := set(candidate.values[suite]) ^ set(candidates[0].values[suite]):
                raise DataContractError(
                    f"{candidate.name} and {candidates[0].name} answered other items of {suite}: {min(other)}",
                    "delete .tunegate/bakeoff and run again",
                )
    return sorted(common)


def _suites_of(by: str, suites: list[str], candidate: Candidate) -> list[str]:
    """Return the suites a metric is made of."""
    if by == OVERALL:
        found = [suite for suite in suites if candidate.metrics[suite] in COUNTED]
    else:
        found = [suite for suite in suites if by in (suite, f"{suite}_accuracy", f"{suite}_bits_per_byte")]
        found += [suite for suite in suites if by == "domain_bits_per_byte" and suite == "domain_short"]
    if not found:
        raise ConfigError(f"no candidate has {by!r}", f"one of: {', '.join([OVERALL, *suites])}")
    return found


def _mean(candidate: Candidate, suites: list[str]) -> float:
    """Return the mean of the suites' means."""
    return float(np.mean([np.mean(list(candidate.values[suite].values())) for suite in suites]))


def _draws(candidates: Sequence[Candidate], suites: list[str], seed: int) -> list[Floats]:
    """Return the bootstrap values of each candidate, length SAMPLES; the same items are drawn for all."""
    totals = [np.zeros(SAMPLES) for _ in candidates]
    for number, suite in enumerate(suites):
        items = sorted(candidates[0].values[suite])
        weights = np.random.default_rng([seed, number]).multinomial(
            len(items), np.full(len(items), 1 / len(items)), size=SAMPLES
        )
        for total, candidate in zip(totals, candidates, strict=True):
            values = np.array([candidate.values[suite][item] for item in items])
            total += weights @ values / len(items) / len(suites)
    return totals


def _interval(draws: Floats) -> tuple[float, float]:
    """Return the percentile interval of bootstrap values."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return round(float(low), 6), round(float(high), 6)


def _ranked(
    candidate: Candidate,
    rank: int,
    value: float,
    draws: Floats,
    behind: float,
    spread: tuple[float, float],
    sound: bool,
) -> dict[str, Any]:
    """Return one line of the ranking."""
    level = rank > 1 and sound and spread[0] <= 0
    parity, calibration = candidate.results["parity"], candidate.results.get("calibration")
    notes = [] if sound else ["its canary failed: no score of it means anything"]
    notes += ["no worse than the best, as far as these items tell"] if level else []
    notes += [f"{len(parity['mismatches'])} token mismatches"] if parity["mismatches"] else []
    notes += ["a known score was missed"] if calibration and not calibration["ok"] else []
    return {
        "rank": rank,
        "candidate": candidate.name,
        "value": round(value, 6),
        "interval": _interval(draws),
        "behind": round(behind, 6),
        "behind_interval": spread,
        "level_with_best": level,
        "suites": {suite: round(_mean(candidate, [suite]), 6) for suite in sorted(candidate.values)},
        "items": {suite: len(items) for suite, items in sorted(candidate.values.items())},
        "notes": notes,
    }


def _range(interval: tuple[float, float]) -> str:
    """Return an interval as a reader sees it."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}"
