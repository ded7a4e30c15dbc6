"""The evaluation of one hop, made up, in the form `evaluate` writes it: as many items as asked, better by `gain`."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.core.files import write_json, write_jsonl

SUITE = "domain_short"


def noise(*names: object) -> float:
    """A number from 0 to 1 that follows from names alone."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def samples(items: int, gain: Callable[[str], float], who: object = 0) -> list[dict[str, Any]]:
    """Bits per byte of items with Chinese names, around 2, lower by `gain(item)`, with noise of each model's own."""
    names = [f"第{number}题" for number in range(items)]
    return [
        {"suite": SUITE, "item_id": name, "metric": "bits_per_byte",
         "value": 2 + noise(name) - gain(name) + 0.02 * (noise(name, who) - 0.5)}
        for name in names
    ]  # fmt: skip


def write_evaluation(folder: Path, hop: str, rows: list[dict[str, Any]], *, canary: bool = True) -> None:
    """Write results.json and samples.jsonl."""
    suites = {
        suite: {"name": suite, "items": sum(row["suite"] == suite for row in rows), "stand_in": False, "limit": None}
        for suite in dict.fromkeys(row["suite"] for row in rows)
    }
    write_jsonl(folder / "samples.jsonl", rows)
    results = {"hop": hop, "scope": "full", "suites": suites, "metrics": {}, "parity": {"mismatches": []},
               "chat_template_sha256": "0", "canary": {"passed": canary}, "server": {}, "tokens": {}}  # fmt: skip
    write_json(folder / "results.json", results)
