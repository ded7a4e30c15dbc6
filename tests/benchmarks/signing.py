"""What signing adds to a run: every step that signs or verifies, timed over the outputs of a finished run.

    .venv/bin/python tests/benchmarks/signing.py CLONE     # a clone in which `make demo` has run

Works in a copy, with a registry of its own: the clone is only read. Registers, verifies and hands over as `tunegate
run` does, without starting vLLM. Exit code 1 where it adds more than BAR_S.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.core.manifest import read_manifest
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.proof import rules
from tasks.release import approvals, history, proofs, register
from tasks.release.reconcile import deployment_of
from tasks.release.registry import Registry
from tasks.serving.proven import require_proven

BAR_S = 3.0
#: Where a step is timed: the module that calls it, and its name there.
STEPS = (
    (register, "prepare_record_files"), (register, "digests_of"), (register, "write_record"),
    (register, "read_record_envelope"), (register, "require_whole"), (history, "append_event"),
)  # fmt: skip
COPIED = ("data/models/adapter", "data/models/awq", "data/prepared", "data/reports", "dvc.lock", "dvc.yaml",
          "params.yaml", "infra", ".tunegate/signing")  # fmt: skip
MERGED = "data/models/merged/manifest.json"


def main() -> int:
    """Time the steps and print them."""
    clone = Path(sys.argv[1]).resolve()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for name in COPIED:
            _copy(clone / name, root / name)
        if (clone / MERGED).is_file():
            _copy(clone / MERGED, root / MERGED)
        os.environ["TUNEGATE_ROOT"] = str(root)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        seconds = _timed(Project(root))
    for name, value in seconds.items():
        print(f"{name:32} {value:7.3f} s")
    whole = sum(seconds.values())
    print(f"{'signing adds':32} {whole:7.3f} s (bar {BAR_S:.0f} s)")
    return int(whole > BAR_S)


def _copy(source: Path, target: Path) -> None:
    """Copy a file or folder of the clone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _timed(project: Project) -> dict[str, float]:
    """Return the seconds of each step, in the order of a run."""
    settings = load_settings(project.root / "params.yaml")
    seconds: dict[str, float] = {}
    adapter = read_manifest(project.root / "data/models/adapter")["lineage_id"]
    fix = _watched(rules.fix_rules, "fix_rules", seconds)
    fix(project, settings.gate, f"{adapter}-timed", resumed=False)
    # A registry's first use makes its tables, signed or not.
    Registry(project, settings.register_.model_name)
    for module, name in STEPS:
        setattr(module, name, _watched(getattr(module, name), name, seconds))
    version = register.register(project, settings)
    registry = Registry(project, settings.register_.model_name)
    refusal = _watched(approvals.refusal, "refusal (go_live and promote)", seconds)
    for _ in range(2):
        refusal(registry, version, settings.promote)
    whole = _watched(proofs.require_whole, "require_whole (deployment)", seconds)
    whole(registry, version)
    hand_over = _watched(proofs.deployed_proof, "deployed_proof", seconds)
    hand_over(registry, version)
    deployment = deployment_of(registry, version, by="", reason="")
    proven = _watched(require_proven, "require_proven (host)", seconds)
    proven(project, settings.promote, deployment)
    history.append_event(registry, "promote", version.number, "", "", lineage_id=version.lineage_id)
    return seconds


def _watched(function: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
    """Return a function that adds its time under a name."""

    def timed(*args: Any, **named: Any) -> Any:
        """Call it."""
        began = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began

    return timed


if __name__ == "__main__":
    sys.exit(main())
