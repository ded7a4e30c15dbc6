"""What tests of the host process look at: its processes, its audit log, and waiting with a limit."""

import contextlib
import json
import time
from pathlib import Path

from tasks.core.files import write_json
from tasks.core.layout import AWQ
from tasks.core.manifest import write_manifest
from tasks.core.settings import Settings
from tasks.release.register import register
from tasks.serving.audit.chain import whole_lines
from tasks.serving.paths import audit_folder
from tests.unit.release.conftest import _run_stages

CHAT = "/v1/chat/completions"
BODY = {"model": "champion", "messages": [{"role": "user", "content": "碘片什么时候服用？"}]}
STREAMED = BODY | {"stream": True}


def until(condition, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def processes_of(project) -> list[int]:
    """Return the processes that belong to a project: its path stands in their command line or environment."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and str(project.root).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def server_pids(project) -> list[int]:
    """Return the stand-in servers (not their keepers)."""
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_of(project)}
    return [pid for pid, line in lines.items() if b"stand_in_vllm" in line and b"keeper" not in line]


def audit_records(project) -> list[dict]:
    return [json.loads(line) for path in audit_folder(project.project).glob("*.jsonl")
            for _, line in whole_lines(path)]  # fmt: skip


def register_version(project, settings: Settings, number: str, **behaviour: object) -> None:
    """Register a version whose weights the stand-in can serve, and answers with what the evidence asks."""
    _run_stages(project.project, f"tg-{number}")
    folder = project.root / AWQ
    (folder / "model.safetensors").write_bytes(number.encode())
    write_json(folder / "behaviour.json", {"token_ids": [3, 1, 2]} | behaviour)
    (folder / "manifest.json").unlink()
    write_manifest(folder, {"stage": "quantize", "lineage_id": f"tg-{number}", "parts": {"raw": {}}})
    register(project.project, settings)
