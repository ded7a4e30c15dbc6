"""A candidate against the present champion: the quantized models of both, on the same items, by gate.champion_rules.

Not a stage: who is champion is state, and a stage's output depends on files alone. The comparison is made when a
version is registered, kept on it, and made anew when somebody promotes it, because the champion may have changed.
FAIL (it is shown that the candidate lost) refuses the promotion; INCONCLUSIVE is told and refuses nothing, because the
version has passed the gate against its own base already. A rollback asks nothing.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.core import tracking
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.settings import ChampionRule, GateParams, Settings
from tasks.gate.evidence import METRICS, Report, read_report
from tasks.gate.findings import examine
from tasks.gate.rules import FAIL, INCONCLUSIVE, PASS, judge
from tasks.gate.words import claim, rule_words
from tasks.release.registry import Registry, Version
from tasks.release.version_evidence import report_folder

log = logging.getLogger(__name__)

HOP = "awq"
NONE = "none"
ARTIFACT = "champion.json"
#: Beside the evidence, not in it: made after the version has its number.
COMPARISON = "comparison"
TAG, TAG_AGAINST = "champion_comparison", "compared_with_champion"
#: What must be the same of a suite for two versions' answers to be comparable, beside the items.
ASKED_ALIKE = ("name", "few_shot", "chat_template", "task_version", "answer")


def compare_with_champion(
    registry: Registry, params: GateParams, version: Version, *, against: Version | None = None
) -> dict[str, Any]:
    """Return how a version stands against the present champion.

    Args:
        registry: where both are.
        params: the champion's rules.
        version: the candidate.
        against: whom to compare with; None for the version under the alias.

    Returns:
        {"verdict": PASS | FAIL | INCONCLUSIVE | none, "champion": its version or None, "version", "rules", "notes",
        "words"}.

    Raises:
        TransientError: the artifact store does not answer.
    """
    champion = against or registry.champion()
    if champion is None or champion.number == version.number or not params.champion_rules:
        return _not_compared(version, "there is no other champion" if params.champion_rules else "no rules")
    try:
        reports = [read_report(HOP, report_folder(registry, side, HOP)) for side in (champion, version)]
    except DataContractError as error:
        # Evidence in an older form, or none: nothing is shown, and it is said.
        log.warning("version %s could not be compared with champion %s: %s", version.number, champion.number, error)
        return _plain(version, champion, INCONCLUSIVE, [], [f"the evidence could not be read: {error.message}"])
    rules, notes = compare(params, candidate=reports[1], champion=reports[0])
    return _plain(version, champion, _verdict(rules), rules, notes)


def record(registry: Registry, params: GateParams, version: Version) -> dict[str, Any]:
    """Compare a version with the champion, keep the comparison with its evidence, and return it."""
    comparison = compare_with_champion(registry, params, version)
    with TemporaryDirectory() as folder:
        path = Path(folder) / ARTIFACT
        write_json(path, comparison)
        if version.run_id:
            tracking.upload(registry.client, version.run_id, path, COMPARISON)
    registry.tag(version.number, TAG, comparison["verdict"])
    registry.tag(version.number, TAG_AGAINST, json.dumps(comparison["champion"]))
    return comparison


def recorded_comparison(registry: Registry, version: Version) -> dict[str, Any] | None:
    """Return the comparison made when a version was registered, None where none was kept."""
    if version.run_id is None:
        return None
    run = registry.client.get_run(version.run_id)
    # Releases before the write-once place kept it among the reports.
    for place in (COMPARISON, "reports"):
        path = f"{place}/{ARTIFACT}"
        if path in {item.path for item in registry.client.list_artifacts(run.info.run_id, place)}:
            folder = registry.project.state / "serving" / "evidence" / version.number
            found: dict[str, Any] = read_json(tracking.download(f"{run.info.artifact_uri}/{path}", folder))
            return found
    return None


def champion_refusal(
    registry: Registry, settings: Settings, version: Version, *, against: Version | None = None
) -> str | None:
    """Return why a version may not take the present champion's place, None where nothing speaks against it.

    Raises:
        TransientError: the artifact store does not answer.
    """
    comparison = compare_with_champion(registry, settings.gate, version, against=against)
    if comparison["verdict"] != FAIL:
        return None
    lost = "; ".join(rule["words"] for rule in comparison["rules"] if _blocks(rule, FAIL))
    return f"it is worse than champion {comparison['champion']}: {lost}"


def compare(params: GateParams, *, candidate: Report, champion: Report) -> tuple[list[dict[str, Any]], list[str]]:
    """Judge the champion's rules over the items both versions were asked in the same way.

    Args:
        params: the rules and their error rate.
        candidate: its last hop's report.
        champion: the champion's.

    Returns:
        (rules as in verdict.json, what could not be compared and why).
    """
    shared, notes = _shared(candidate, champion)
    sides = {"champion": _only(champion, shared), HOP: _only(candidate, shared)}
    findings = [examine(_askable(rule, sides[HOP]), params, sides) for rule in params.champion_rules]
    severity = {rule.name: rule.severity for rule in params.champion_rules}
    judged = [rule | {"severity": severity[rule["name"]]} for rule in judge(params, findings)]
    return [rule | rule_words(rule, rule["alpha"]) for rule in judged], notes


def _shared(candidate: Report, champion: Report) -> tuple[set[tuple[str, str]], list[str]]:
    """Return the items that both were asked alike, and what is left out."""
    suites = {
        name: (facts, champion.results["suites"].get(name)) for name, facts in candidate.results["suites"].items()
    }
    alike, notes = set(), []
    for name, (mine, other) in sorted(suites.items()):
        differing = [key for key in ASKED_ALIKE if other and mine.get(key) != other.get(key)]
        if other is None:
            notes.append(f"{name}: the champion was not asked it")
        elif differing:
            notes.append(f"{name}: asked in another way ({', '.join(differing)}), not compared")
        else:
            alike.add(name)
    shared = {key for key in candidate.samples.keys() & champion.samples.keys() if key[0] in alike}
    for name in sorted(alike):
        only = [sum(key[0] == name and key not in shared for key in side.samples) for side in (candidate, champion)]
        if any(only):
            notes.append(f"{name}: {only[0]} items only of the candidate, {only[1]} only of the champion left out")
    return shared, notes


def _only(report: Report, keys: set[tuple[str, str]]) -> Report:
    """Return a report of these items alone."""
    return replace(report, samples={key: row for key, row in report.samples.items() if key in keys})


def _askable(rule: ChampionRule, side: Report) -> ChampionRule:
    """Return a rule that leaves open what has no items in common, instead of stopping the others."""
    few = len(side.keys_of(METRICS[rule.metric])) < 2
    return rule.model_copy(update={"severity": "report"}) if few else rule


def _verdict(rules: list[dict[str, Any]]) -> str:
    """Return the whole comparison's verdict."""
    for outcome in (FAIL, INCONCLUSIVE):
        if any(_blocks(rule, outcome) for rule in rules):
            return outcome
    return PASS


def _blocks(rule: dict[str, Any], outcome: str) -> bool:
    """Tell whether a blocking rule has this outcome."""
    return bool(rule["severity"] == "block" and rule["outcome"] == outcome)


def _not_compared(version: Version, why: str) -> dict[str, Any]:
    """Return the result where there is nobody to compare with."""
    return {"verdict": NONE, "champion": None, "version": version.number, "rules": [], "notes": [why],
            "words": f"Version {version.number} was compared with no champion: {why}."}  # fmt: skip


def _plain(
    version: Version, champion: Version, verdict: str, rules: list[dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    """Return a comparison as champion.json has it."""
    named = [f"{rule['outcome']}: {claim(rule)[0]}" for rule in rules if rule["severity"] == "block"]
    words = f"Against champion {champion.number}: {verdict}. {'; '.join([*named, *notes])}."
    return {"verdict": verdict, "champion": champion.number, "version": version.number, "rules": rules, "notes": notes,
            "words": words}  # fmt: skip
