"""Stage validate: Great Expectations on the prepared rows; a broken critical expectation stops the run."""

import logging
import shutil
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl, replaced_directory, write_json
from tasks.core.project import Project
from tasks.core.settings import ValidateParams
from tasks.data.privacy.desensitize import ALL_TYPES, mask_text
from tasks.data.expectations.suites import Outcome, run_expectations
from tasks.data.expectations.frames import read_prepared, row_frame, totals_frame

log = logging.getLogger(__name__)

DATA_DOCS = "data_docs"
EXAMPLE_ROWS = 3
EXAMPLE_CHARACTERS = 120


def validate(params: ValidateParams, *, output: Path, prepared: Path, raw: Path) -> dict[str, Any]:
    """Check the prepared rows and write validation.json and the Data Docs site.

    Args:
        params: thresholds.
        output: folder to fill.
        prepared: output of stage prepare.
        raw: data/raw of the project; the profile of the last released dataset is read from it.

    Returns:
        How many expectations were met and which were not.

    Raises:
        DataContractError: a critical expectation is broken. The message names it, what was observed, the threshold
            and up to three rows without personal data; the Data Docs are kept under .tunegate/failed/validation.
    """
    data = read_prepared(prepared)
    log.info("validate: %d rows", len(data.rows))
    outcomes = run_expectations(row_frame(data), totals_frame(data), params, output / DATA_DOCS)
    broken = [outcome for outcome in outcomes if not outcome.success]
    critical = [outcome for outcome in broken if outcome.severity == "critical"]
    write_json(output / "validation.json", _report(outcomes))
    for outcome in broken:
        log.warning("validate: %s", outcome.words)
    if critical:
        raise DataContractError(*_refusal(critical, prepared, _keep_evidence(output, Project(prepared.parents[1]))))
    return {
        "expectations": len(outcomes),
        "met": len(outcomes) - len(broken),
        "warnings": [outcome.name for outcome in broken],
    }


def _report(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return the content of validation.json."""
    import great_expectations

    return {
        "engine": {"name": "great_expectations", "version": great_expectations.__version__},
        "success": all(outcome.success or outcome.severity != "critical" for outcome in outcomes),
        "expectations": [outcome.as_json() for outcome in outcomes],
        "data_docs": f"{DATA_DOCS}/index.html",
    }


def _keep_evidence(output: Path, project: Project) -> Path:
    """Copy the report and the Data Docs to where they outlive the discarded output; return that folder."""
    kept = project.state / "failed" / "validation"
    with replaced_directory(kept) as folder:
        shutil.copytree(output, folder, dirs_exist_ok=True)
    return kept


def _refusal(critical: list[Outcome], prepared: Path, kept: Path) -> tuple[str, str]:
    """Return message and hint: every broken critical expectation with example rows, and where the Data Docs are."""
    wanted = {row_id for outcome in critical for row_id in outcome.examples[:EXAMPLE_ROWS]}
    texts = _example_texts(prepared, wanted) if wanted else {}
    lines = [f"{len(critical)} critical expectation(s) broken in {prepared}"]
    for outcome in critical:
        lines.append(f"  {outcome.words}")
        lines += [f"    {row_id}: {texts.get(row_id, '')}" for row_id in outcome.examples[:EXAMPLE_ROWS]]
    lines.append(f"  Data Docs: {kept / DATA_DOCS / 'index.html'}")
    hint = "mend the data, or the thresholds under validate in params.yaml; ledger.jsonl tells the fate of every row"
    return "\n".join(lines), hint


def _example_texts(prepared: Path, row_ids: set[str]) -> dict[str, str]:
    """Return the start of some rows, every type of personal data masked whatever the policy is."""
    found = {}
    for name in ("train.jsonl", "validation.jsonl"):
        for row in read_jsonl(prepared / name):
            if row["row_id"] in row_ids:
                text = " / ".join(f"{message['role']}: {message['content']}" for message in row["messages"])
                masked = mask_text(text, ALL_TYPES)[0].replace("\n", " ")
                found[row["row_id"]] = masked[:EXAMPLE_CHARACTERS] + ("…" if len(masked) > EXAMPLE_CHARACTERS else "")
    return found
