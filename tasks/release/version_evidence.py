"""The evidence of a registered version, read back from MLflow: what was evaluated, not what lies in the checkout."""

from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json
from tasks.core.layout import HOPS, report_of
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, SERVED_HOP, Fingerprint
from tasks.release.registry import Registry, Version


def report_folder(registry: Registry, version: Version, hop: str) -> Path:
    """Return a local folder with a hop's evaluation report, as it was registered.

    Raises:
        DataContractError: the version was not registered by Tunegate, or that hop's report is not among its evidence.
        TransientError: the artifact store does not answer.
    """
    folder = registered(registry, version, report_of(hop).removeprefix("data/"))
    if not (folder / "results.json").is_file():
        raise DataContractError(f"version {version.number} has no report of hop {hop}", "tunegate run")
    return folder


def registered(registry: Registry, version: Version, path: str) -> Path:
    """Return a file or folder of a version's evidence, as it was registered.

    Args:
        registry: where the version is.
        version: whose evidence.
        path: below the run's artifacts: `reports/gate`.

    Raises:
        DataContractError: the version was not registered by Tunegate.
        TransientError: the artifact store does not answer.
    """
    return registry.files(version, path, registry.project.state / "serving" / "evidence" / version.number)


def evaluated_fingerprint(registry: Registry, version: Version) -> Fingerprint:
    """Return what a version's evaluation got for the fingerprint prompts, at the served hop and those before it.

    Raises:
        DataContractError: its evidence has no fingerprint: nothing could tell its weights from any others.
        TransientError: the artifact store does not answer.
    """
    served = _model_facts(report_folder(registry, version, SERVED_HOP))
    prompts = served.get("fingerprint_prompts") or FINGERPRINT_PROMPTS
    answers = {SERVED_HOP: served.get("fingerprint") or []}
    for hop in HOPS:
        if hop != SERVED_HOP and (known := _known_answers(registry, version, hop)):
            answers[hop] = known
    try:
        opening = served.get("fingerprint_opening") or []
        return Fingerprint.of_row({"prompts": prompts, "answers": answers, "opening": opening})
    except DataContractError as error:
        raise DataContractError(f"version {version.number}: {error.message}", error.hint or "tunegate run") from error


def _known_answers(registry: Registry, version: Version, hop: str) -> list[list[int]]:
    """Return an earlier hop's answers; none where the version is older than that hop. They only help to explain."""
    try:
        answers: list[list[int]] = _model_facts(report_folder(registry, version, hop)).get("fingerprint") or []
    except DataContractError:
        return []
    return answers


def _model_facts(folder: Path) -> dict[str, Any]:
    """Return what a report says about the model's files and answers."""
    facts: dict[str, Any] = read_json(folder / "results.json").get("model") or {}
    return facts
