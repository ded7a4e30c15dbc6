"""A machine-learning bill of materials: model card, data with its ledger's counts, dependencies from the locks.

Written as data: cyclonedx-python-lib drops `modelCard` on a round trip.
Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


@dataclass(frozen=True)
class Materials:
    """What a version is made of.

    Args:
        locks: lock file's name -> (SHA-256, text).
        parts: kind -> name -> digest: raw data, parameters, base model, code.
        data: summary of the prepared data; empty where it is not known.
        metrics: hop -> metric -> value.
        weights: path of a weights file -> SHA-256.
    """

    model: str
    lineage_id: str
    parts: Mapping[str, Mapping[str, str]]
    locks: Mapping[str, tuple[str, str]]
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)


def ml_bom(made_of: Materials) -> dict[str, Any]:
    """Return the bill of materials of a version, in CycloneDX 1.6; the same materials give the same bytes."""
    reference = f"model/{made_of.lineage_id}"
    libraries = [_library(name, version, lock) for lock, (_, text) in sorted(made_of.locks.items())
                 for name, version in _locked(text)]  # fmt: skip
    base = [_base(name, digest) for name, digest in sorted(made_of.parts.get("base_model", {}).items())]
    data = [_dataset(name, digest) for name, digest in sorted(made_of.parts.get("raw", {}).items())]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "machine-learning-model",
                "bom-ref": reference,
                "name": made_of.model,
                "version": made_of.lineage_id,
                "modelCard": _card(made_of, [one["bom-ref"] for one in data]),
                "properties": _properties(made_of),
            }
        },
        "components": [*base, *data, *libraries],
        "dependencies": [{"ref": reference, "dependsOn": [one["bom-ref"] for one in (*base, *data, *libraries)]}],
    }


def lock_digests(bom: Mapping[str, Any]) -> dict[str, str]:
    """Return {lock file: SHA-256} as a bill of materials names them."""
    stated = bom["metadata"]["component"].get("properties", [])
    return {one["name"].removeprefix("tunegate:lock:"): one["value"] for one in stated
            if one["name"].startswith("tunegate:lock:")}  # fmt: skip


def _card(made_of: Materials, datasets: list[str]) -> dict[str, Any]:
    """Return the model card."""
    named = {f"{hop}.{name}": value for hop, values in made_of.metrics.items() for name, value in values.items()}
    metrics = [{"type": name, "value": f"{value:.6f}"} for name, value in sorted(named.items())]
    return {
        "modelParameters": {
            "task": "text-generation",
            "approach": {"type": "supervised"},
            "datasets": [{"ref": reference} for reference in datasets],
            "inputs": [{"format": "text"}],
            "outputs": [{"format": "text"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
    }


def _properties(made_of: Materials) -> list[dict[str, str]]:
    """Return what CycloneDX has no field for: locks, weights, what became of each row."""
    found = {f"tunegate:lock:{name}": digest for name, (digest, _) in made_of.locks.items()}
    found |= {f"tunegate:weights:{name}": digest for name, digest in made_of.weights.items()}
    found |= {f"tunegate:rows:{fate}": str(count) for fate, count in made_of.data.get("rows", {}).items()}
    found |= {f"tunegate:rows:{fate}:{reason}": str(count) for fate, reasons in made_of.data.get("reasons", {}).items()
              for reason, count in reasons.items()}  # fmt: skip
    return [{"name": name, "value": value} for name, value in sorted(found.items())]


def _locked(text: str) -> list[tuple[str, str]]:
    """Return (name, version) of each package in a lock."""
    return [(found[1], found[2]) for line in text.splitlines() if (found := LOCKED.match(line))]


def _library(name: str, version: str, lock: str) -> dict[str, Any]:
    """Return a package as a component."""
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version}"
    return {"type": "library", "bom-ref": f"{lock}/{name}@{version}", "name": name, "version": version, "purl": purl}


def _base(name: str, digest: str) -> dict[str, Any]:
    """Return the base model as a component."""
    return {"type": "machine-learning-model", "bom-ref": f"base/{name}", "name": name,
            "properties": [{"name": "tunegate:digest", "value": digest}]}  # fmt: skip


def _dataset(name: str, digest: str) -> dict[str, Any]:
    """Return raw data as a component."""
    content = [{"type": "dataset", "name": name}]
    return {"type": "data", "bom-ref": f"data/{name}", "name": name, "data": content,
            "properties": [{"name": "tunegate:sha256", "value": digest}]}  # fmt: skip
