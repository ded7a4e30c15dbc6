"""The release record: one document that names all of a version by digest, as an in-toto statement.

Its subjects are the version's files, each with its SHA-256; its predicate says what they are, what was decided on them
and by which rules. The record itself is the only file of a version that it does not name.

Source: in-toto attestation v1, https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/statement.md
"""

from collections.abc import Mapping
from typing import Any

from tasks.core.errors import DataContractError
from tasks.proof.envelope import IN_TOTO, opened
from tasks.proof.keys import PublicKey

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:tunegate:release-record:1"
SCHEMA = 1
#: Where the record and what belongs to it stand among a version's files.
FOLDER = "release"
RECORD = "release/record.dsse.json"
SBOM = "release/sbom.cdx.json"
RULES = "release/rules.dsse.json"
LOCKS = "release/locks/"
MANIFESTS = "release/manifests/"
#: Link of the chain -> where its files stand; the first that fits counts.
FILES: tuple[tuple[str, str], ...] = (
    ("weights", "model/"),
    ("adapter", f"{MANIFESTS}adapter.json"),
    ("data", f"{MANIFESTS}prepared.json"),
    ("merge", f"{MANIFESTS}merged.json"),
    ("evaluation", "reports/eval/"),
    ("verdict", "reports/gate/"),
    ("dossier", "reports/dossier/"),
    ("validation", "reports/validation/"),
    ("rules", RULES),
    ("sbom", SBOM),
    ("locks", LOCKS),
    ("code", "checkout/"),
)


def statement(files: Mapping[str, str], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a version.

    Args:
        files: {path among the version's files: SHA-256}, without the record.
        predicate: lineage, verdict, rules, digests by name.
    """
    subjects = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())]
    return {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {"schema": SCHEMA, **predicate},
    }


def read_record(envelope: Any, trusted: Mapping[str, PublicKey]) -> tuple[dict[str, Any], list[str]]:
    """Return a signed record and the ids of the keys whose signatures hold.

    Raises:
        DataContractError: it is not signed by a trusted key, or is no record.
    """
    record, keys = opened(envelope, IN_TOTO, trusted)
    try:
        if (record["_type"], record["predicateType"]) != (STATEMENT, PREDICATE):
            raise DataContractError(f"it is no release record: {str(record['predicateType'])[:80]}")
        if record["predicate"]["schema"] != SCHEMA:
            raise DataContractError(f"it is of schema {record['predicate']['schema']}, known is {SCHEMA}")
        files_of(record)
    except (KeyError, TypeError) as error:
        raise DataContractError(f"it is no release record: {type(error).__name__}") from error
    return record, keys


def files_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return {path: SHA-256} of the files a record names.

    Raises:
        DataContractError: one is named twice, or by another digest than SHA-256.
    """
    found: dict[str, str] = {}
    for subject in record["subject"]:
        digest = subject["digest"]
        if set(digest) != {"sha256"} or len(digest["sha256"]) != 64:
            raise DataContractError(f"{subject['name']} is named by {', '.join(digest)}; only sha256 counts")
        if subject["name"] in found:
            raise DataContractError(f"{subject['name']} is named twice")
        found[subject["name"]] = digest["sha256"]
    return found


def link_of(path: str) -> str:
    """Return the link of the chain that a file belongs to."""
    return next((name for name, place in FILES if path.startswith(place)), "files")
