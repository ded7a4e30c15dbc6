"""Stage validate: Great Expectations on raw and prepared rows; a broken critical expectation stops the run."""

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import replaced_directory, write_json
from tasks.core.project import Project
from tasks.core.settings import PrivacyParams, ValidateParams
from tasks.data.expectations.columns import masking, read_lines
from tasks.data.expectations.data_docs import Table, finish_site
from tasks.data.expectations.drift import Comparison, compare_with, read_reference
from tasks.data.expectations.frames import SPLITS, PreparedData, read_prepared
from tasks.data.expectations.ledger_counts import as_json, raw_files, raw_formats, raw_reasons
from tasks.data.expectations.outcome import Outcome
from tasks.data.expectations.rules import require_known_severities
from tasks.data.expectations.suites import build_suites, run_suites
from tasks.data.privacy.desensitize import Desensitizer

log = logging.getLogger(__name__)

DATA_DOCS = "data_docs"
EXAMPLE_ROWS = 3
EXAMPLE_CHARACTERS = 120


def validate(params: ValidateParams, *, output: Path, prepared: Path, raw: Path) -> dict[str, Any]:
    """Check raw files (by their ledger) and prepared rows; write validation.json and the Data Docs site.

    Args:
        params: thresholds, severities, and the profile of the last released dataset.
        output: folder to fill.
        prepared: output of stage prepare.
        raw: data/raw of the project; the profile of the last released dataset lies there.

    Returns:
        How many expectations were met, which were not, and what the data was compared with.

    Raises:
        ConfigError: a severity is set for an expectation that does not exist, or the profile is not there.
        DataContractError: a critical expectation is broken. The message names it, what was observed, the threshold
            and up to three rows without personal data; the Data Docs are kept under .tunegate/failed/validation.
    """
    require_known_severities(params)
    reference = read_reference(params.drift, raw)
    data = read_prepared(prepared, raw)
    comparison = compare_with(params.drift, reference, data.profile())
    outcomes = run_suites(build_suites(data, comparison.drifts, params), output / DATA_DOCS)
    report = _report(outcomes, data, comparison)
    finish_site(output / DATA_DOCS, outcomes, _tables(report))
    write_json(output / "validation.json", report)
    broken = [outcome for outcome in outcomes if not outcome.success]
    for outcome in broken:
        log.warning("validate: %s", outcome.words)
    log.info("validate: drift: %s", comparison.words)
    if critical := [outcome for outcome in broken if outcome.severity == "critical"]:
        kept = _keep_evidence(output, Project(prepared.parents[1]))
        raise DataContractError(*_refusal(critical, _examples(critical, data, prepared, raw), prepared, kept))
    return {
        "expectations": len(outcomes),
        "met": len(outcomes) - len(broken),
        "warnings": [outcome.name for outcome in broken],
        "compared_with": comparison.reference,
    }


def _report(outcomes: list[Outcome], data: PreparedData, comparison: Comparison) -> dict[str, Any]:
    """Return the content of validation.json."""
    import great_expectations

    return {
        "engine": {"name": "great_expectations", "version": great_expectations.__version__},
        "success": all(outcome.success or outcome.severity != "critical" for outcome in outcomes),
        "expectations": [outcome.as_json() for outcome in outcomes],
        "raw": {
            "files": as_json(raw_files(data.ledger)),
            "formats": as_json(raw_formats(data.ledger)),
            "reasons": as_json(raw_reasons(data.ledger)),
        },
        "drift": comparison.as_json(),
        "data_docs": f"{DATA_DOCS}/index.html",
    }


def _tables(report: dict[str, Any]) -> list[Table]:
    """Return what the index of the Data Docs shows beside the outcomes."""
    fates = ("rows", "kept", "dropped", "quarantined", "understood_fraction", "why_quarantined")
    raw, drift = report["raw"], report["drift"]
    moved = [
        (one["name"], one["index"], one["limit"], "met" if one["index"] <= one["limit"] else "broken",
         "; ".join(f"{name}: {100 * old:.1f} % to {100 * new:.1f} %" for name, old, new in one["movers"]))
        for one in drift["drifts"]
    ]  # fmt: skip
    return [
        Table(("Raw files", "原始文件"), "What became of the rows of each file.", ("source", *fates),
              _lines(raw["files"], ("source", *fates))),
        Table(("Raw formats", "原始格式"), "What became of the rows of each format.", ("format", *fates),
              _lines(raw["formats"], ("format", *fates))),
        Table(("Reasons", "原因"), "Why rows were left out.", ("fate", "reason", "rows"),
              _lines(raw["reasons"], ("fate", "reason", "rows"))),
        Table(("Drift", "分布漂移"), drift["words"],
              ("distribution", "stability index", "limit", "outcome", "what moved most"), moved),
    ]  # fmt: skip


def _lines(values: list[dict[str, Any]], names: tuple[str, ...]) -> list[list[Any]]:
    """Return these fields of each value."""
    return [[value[name] for name in names] for value in values]


def _keep_evidence(output: Path, project: Project) -> Path:
    """Copy the report and the Data Docs to where they outlive the discarded output; return that folder."""
    kept = project.state / "failed" / "validation"
    with replaced_directory(kept) as folder:
        shutil.copytree(output, folder, dirs_exist_ok=True)
    return kept


def _refusal(critical: list[Outcome], texts: dict[str, str], prepared: Path, kept: Path) -> tuple[str, str]:
    """Return message and hint: every broken critical expectation with example rows, and where the Data Docs are."""
    lines = [f"{len(critical)} critical expectation(s) broken in {prepared}"]
    for outcome in critical:
        lines.append(f"  {outcome.words}")
        lines += [f"    {name}: {texts.get(name, '')}".rstrip(": ") for name in outcome.examples[:EXAMPLE_ROWS]]
    lines.append(f"  Data Docs: {kept / DATA_DOCS / 'index.html'}")
    hint = "mend the data, or the thresholds under validate in params.yaml; ledger.jsonl tells the fate of every row"
    return "\n".join(lines), hint


def _examples(critical: list[Outcome], data: PreparedData, prepared: Path, raw: Path) -> dict[str, str]:
    """Return the start of the rows to show, every type of personal data masked whatever the policy is."""
    wanted = {row_id for outcome in critical for row_id in outcome.examples[:EXAMPLE_ROWS]}
    privacy = PrivacyParams.model_validate(data.summary["policy"]["privacy"])
    desensitizer = Desensitizer(masking(privacy, everything=True), raw, None)
    found = {}
    for row in _rows_named(prepared, wanted) if wanted else ():
        messages = desensitizer.clean(row["messages"]).messages
        text = " / ".join(f"{message['role']}: {message['content']}" for message in messages).replace("\n", " ")
        found[row["row_id"]] = text[:EXAMPLE_CHARACTERS] + ("…" if len(text) > EXAMPLE_CHARACTERS else "")
    return found


def _rows_named(prepared: Path, row_ids: set[str]) -> Iterable[dict[str, Any]]:
    """Yield the rows of these ids."""
    for split in SPLITS:
        for lines in read_lines(prepared / f"{split}.jsonl"):
            if any(row_id.encode() in lines.data for row_id in row_ids):
                yield from (row for _, row in lines.values() if row["row_id"] in row_ids)
