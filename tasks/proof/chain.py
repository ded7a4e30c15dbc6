"""The chain of a version, link by link: record, files, gate, rules, approvals; the first broken link is the answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.digest import file_digests, sha256_file
from tasks.core.errors import DataContractError
from tasks.core.files import read_json
from tasks.proof import record as records
from tasks.proof.approval import Counted, counted
from tasks.proof.envelope import HISTORY, document_sha256, genuine
from tasks.proof.sbom import lock_digests
from tasks.proof.trust import Trust

PASS = "PASS"
NAMED = 5


@dataclass(frozen=True)
class Link:
    """One link of a chain: what it is, whether it holds, and a line about it for a person."""

    name: str
    holds: bool
    words: str

    def row(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"link": self.name, "holds": self.holds, "words": self.words}


@dataclass(frozen=True)
class Policy:
    """What a place asks of a version.

    Args:
        environment: `demo` or `production`; approvals are for one of them.
        approvals: listed people who must have approved.
    """

    environment: str
    approvals: int


@dataclass(frozen=True)
class Proof:
    """What was signed about a version.

    Args:
        record: envelope of its record; None where it has none.
        approvals, withdrawals: envelopes.
        champion: signed entry of the history from which it was champion last, if it ever was: approvals had to be
            valid then, not for ever.
    """

    record: Any = None
    approvals: Sequence[Any] = ()
    withdrawals: Sequence[Any] = ()
    champion: Mapping[str, Any] = field(default_factory=dict)


def broken(links: Iterable[Link]) -> Link | None:
    """Return the first link that does not hold."""
    return next((link for link in links if not link.holds), None)


def examine(
    proof: Proof, trust: Trust, policy: Policy, *, parts: Mapping[str, Path] | None = None, weights: bool = True,
    now: datetime | None = None,
) -> list[Link]:  # fmt: skip
    """Return the chain of a version.

    Args:
        parts: folders of the version's files, to be held to the record; None: they are not looked at.
        weights: whether the weights are among them.
        now: the time.
    """
    try:
        if proof.record is None:
            raise DataContractError("it has no release record")
        keys = trust.keys_for("release", policy.environment)
        record, signed_by = records.read_record(proof.record, keys)
    except DataContractError as error:
        return [Link("record", False, error.message)]
    digest = document_sha256(record)
    predicate = record["predicate"]
    links = [Link("record", True, f"{digest[:16]}, signed by {', '.join(signed_by)}")]
    if parts is not None:
        links += file_links(record, parts, weights=weights)
    links.append(_gate(predicate, policy))
    links.append(_rules(predicate))
    links.append(_approvals(_counted(proof, trust, policy.environment, record, signed_by, now), policy))
    return links


def counted_approvals(proof: Proof, trust: Trust, environment: str, *, now: datetime | None = None) -> list[Counted]:
    """Return what becomes of each approval of a version, in their order.

    Raises:
        DataContractError: its record does not hold: there is nothing they could be of.
    """
    if proof.record is None:
        raise DataContractError("it has no release record")
    record, signed_by = records.read_record(proof.record, trust.keys_for("release", environment))
    return _counted(proof, trust, environment, record, signed_by, now)


def file_links(record: Mapping[str, Any], parts: Mapping[str, Path], *, weights: bool = True) -> list[Link]:
    """Hold a version's files to its record: every one, no other, and what they say of each other.

    Args:
        parts: first part of the files' paths -> its folder.
        weights: whether the weights are there to be looked at.
    """
    wanted = records.files_of(record)
    lists = {part: file_digests(folder) for part, folder in parts.items()}
    found = {f"{part}/{name}": digest for part, files in lists.items() for name, digest in files.items()}
    found.pop(records.RECORD, None)
    if not weights:
        wanted, found = ({name: digest for name, digest in side.items() if records.link_of(name) != "weights"}
                         for side in (wanted, found))  # fmt: skip
    differing: dict[str, list[str]] = {}
    for name, _ in sorted(wanted.items() ^ found.items()):
        state = "missing" if name not in found else "not in the record" if name not in wanted else "changed"
        differing.setdefault(records.link_of(name), []).append(f"{name} is {state}")
    links = []
    for link in (*dict(records.FILES), "files"):
        count = sum(records.link_of(name) == link for name in wanted)
        if lines := differing.get(link):
            links.append(Link(link, False, "; ".join(list(dict.fromkeys(lines))[:NAMED])))
        elif count:
            links.append(Link(link, True, f"{count} files as in the record"))
    if broken(links):
        return links
    return links + _said(record, parts)


def _said(record: Mapping[str, Any], parts: Mapping[str, Path]) -> list[Link]:
    """Return the links between what the files say: a record over files of different versions does not hold either."""
    predicate, links = record["predicate"], []
    reports, release = parts["reports"], parts["release"]
    for name in ("gate", "dossier"):
        manifest = reports / name / "manifest.json"
        if manifest.is_file() and read_json(manifest).get("lineage_id") != predicate["lineage_id"]:
            link = "verdict" if name == "gate" else name
            links.append(Link(link, False, f"it is of version {read_json(manifest).get('lineage_id')}"))
    verdict = read_json(reports / "gate" / "verdict.json")
    if verdict["verdict"] != predicate["verdict"] or verdict["demo"] != predicate["demo"]:
        words = f"verdict.json says {verdict['verdict']}, the record {predicate['verdict']}"
        links.append(Link("verdict", False, words))
    locks = {path.name: sha256_file(path) for path in sorted((release / "locks").glob("*"))}
    if locks != lock_digests(read_json(release / "sbom.cdx.json")):
        links.append(Link("sbom", False, "it is of other locks than the version's"))
    return links


def _gate(predicate: Mapping[str, Any], policy: Policy) -> Link:
    """Return whether the verdict lets a version go on."""
    if predicate["verdict"] != PASS:
        return Link("gate", False, f"its gate verdict is {predicate['verdict']}, not PASS")
    if policy.environment == "production" and predicate["demo"]:
        reasons = "; ".join(predicate.get("demo_reasons") or []) or "stand-in set, limit, laptop profile"
        return Link("gate", False, f"its verdict is marked demo ({reasons}) and this deployment is production")
    return Link("gate", True, "PASS" + (", a demonstration" if predicate["demo"] else ""))


def _rules(predicate: Mapping[str, Any]) -> Link:
    """Return how the rules stand: fixed before training, or changed since.

    Changed ones make the verdict a demonstration (tasks/gate/gate.py): here they are shown.
    """
    rules = predicate["rules"]
    if rules["changed"]:
        return Link("rules", True, f"changed after training began: then {rules['fixed_sha256'][:12]}, judged by "
                                   f"{str(rules['sha256'])[:12]}")  # fmt: skip
    fixed = "as fixed before training" if rules["fixed_sha256"] else "not written down before training"
    return Link("rules", True, f"{str(rules['sha256'])[:12]}, {fixed}")


def _rights_time(proof: Proof, trust: Trust, predicate: Mapping[str, Any], now: datetime) -> datetime:
    """Return the time at which approvals had to be valid: when it became champion; now where it never was."""
    event = proof.champion
    known = trust.keys_for("host", "demo")
    if not event or not genuine(HISTORY, event, known) or event.get("lineage_id") != predicate["lineage_id"]:
        return now
    try:
        return min(now, datetime.fromisoformat(event["time"]))
    except (KeyError, ValueError):
        return now


def _counted(
    proof: Proof, trust: Trust, environment: str, record: Mapping[str, Any], signed_by: Sequence[str],
    now: datetime | None,
) -> list[Counted]:  # fmt: skip
    """Return what becomes of the approvals of a record whose signature holds."""
    predicate = record["predicate"]
    return counted(
        proof.approvals, proof.withdrawals, trust, record=predicate, record_sha256=document_sha256(record),
        signed_by=signed_by, environment=environment,
        at=_rights_time(proof, trust, predicate, now or datetime.now(UTC)),
    )  # fmt: skip


def _approvals(found: Sequence[Counted], policy: Policy) -> Link:
    """Return whether enough listed people approved."""
    good = [one for one in found if one.why_not is None]
    words = f"{len(good)} of {policy.approvals} approvals"
    if found:
        words = f"{words}: {'; '.join(one.words for one in found)}"
    return Link("approvals", len(good) >= policy.approvals, words)
