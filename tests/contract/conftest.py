"""A served project whose only stand-in is the vLLM executable: host, control socket, slots and gateway are real."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tasks.core.project import Project
from tasks.engine.abilities import PLAIN, Abilities
from tasks.engine.deployment import Deployment
from tasks.engine.fingerprint import Fingerprint
from tasks.serving import control
from tasks.serving.keys import KeyStore
from tasks.serving.paths import keys_path
from tests.contract.forged import made, world
from tests.proofs import proven

__all__ = ["made", "world"]

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in_vllm.py")
TUNEGATE = Path(sys.executable).with_name("tunegate")
#: What a key may ask in a minute is met by tests that ask as fast as they can; those about these limits set their own.
NO_LIMITS = {"requests_per_minute": 10**6, "tokens_per_minute": 10**9}


def unused_ports(count: int) -> list[int]:
    """Return free loopback ports, neighbours of each other.

    Below those that the kernel gives to outgoing connections: one of these may be taken before a server is started.
    """
    while True:
        first = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return list(range(first, first + count))


class ServedProject:
    """A project of its own, with the environment that points at it."""

    def __init__(self, root: Path, grounded: dict[str, object] | None = None, **gateway: object) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        (root / "dvc.yaml").touch()
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        params["serve"]["gateway"] |= NO_LIMITS | gateway
        params["promote"]["smoke_timeout_s"] = 20.0
        params["serve"]["vllm"]["startup_timeout_s"] = 8.0
        params["serve"]["grounded"] |= grounded or {}
        (root / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True))
        ports = unused_ports(4)
        self.environment = {
            "TUNEGATE_ROOT": str(root),
            "TUNEGATE_GATEWAY_PORT": str(ports[0]),
            "TUNEGATE_SLOT_PORT": str(ports[1]),
            "TUNEGATE_EMBEDDING_PORT": str(ports[3]),
            "TUNEGATE_SERVE_PYTHON": str(self._serving_interpreter()),
        }
        self.project = Project(root)

    def _serving_interpreter(self) -> Path:
        path = self.root / "stand-in-python"
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
        path.chmod(0o755)
        return path

    def model(self, version: str, /, **behaviour: object) -> Path:
        folder = self.root / "weights" / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"\0" * 8)
        (folder / "behaviour.json").write_text(json.dumps(behaviour))
        return folder

    def deploy(
        self,
        version: str,
        /,
        *,
        fingerprint: Fingerprint | None = None,
        abilities: Abilities = PLAIN,
        **behaviour: object,
    ) -> list[str]:
        lines: list[str] = []
        control.deploy(
            self.project,
            self.deployment(version, fingerprint=fingerprint, abilities=abilities, **behaviour),
            on_progress=lines.append,
        )
        return lines

    def deployment(self, version: str, /, *, by: str = "", reason: str = "", fingerprint: Fingerprint | None = None,
                   abilities: Abilities = PLAIN, **behaviour: object) -> Deployment:  # fmt: skip
        """Return a version with the record that registering it would have made."""
        model = self.model(version, **behaviour)
        wanted = Deployment(version, f"tg-{version}", model, fingerprint, by=by, reason=reason, abilities=abilities)
        return proven(self.project, wanted)

    def key(self, name: str, **settings: object) -> str:
        return self.keys.create(name, settings.pop("role", "caller"), **settings)

    @property
    def keys(self) -> KeyStore:
        return KeyStore(keys_path(self.project))

    def client(self, key: str | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.project.gateway_url, headers=headers, timeout=30, trust_env=False)

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([TUNEGATE, *arguments], capture_output=True, text=True, check=False, timeout=60)

    def start_command(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([TUNEGATE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def kill_host(self) -> None:
        status = control.host_status(self.project)
        if status:
            os.kill(status["host_pid"], signal.SIGKILL)


@contextlib.contextmanager
def served(root: Path, grounded: dict[str, object] | None = None, **gateway: object) -> Iterator[ServedProject]:
    project = ServedProject(root, grounded, **gateway)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in project.environment.items():
            patch.setenv(name, value)
        try:
            yield project
        finally:
            control.stop_host(project.project)


@contextlib.contextmanager
def real_vllm(root: Path) -> Iterator[Project]:
    """A project with the shipped settings and the real serving interpreter; what it serves is stopped at the end."""
    (root / "dvc.yaml").touch()
    shutil.copy(ROOT / "params.yaml", root)
    found = Project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEGATE_ROOT", str(root))
        patch.setenv("TUNEGATE_GATEWAY_PORT", str(unused_ports(1)[0]))
        patch.setenv("TUNEGATE_SLOT_PORT", str(unused_ports(1)[0]))
        patch.setenv("TUNEGATE_SERVE_PYTHON", str(Project(ROOT).serve_python))
        try:
            yield found
        finally:
            control.stop_host(found)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[ServedProject]:
    """A project nothing serves yet."""
    with served(tmp_path / "project", drain_timeout_s=10.0) as found:
        yield found


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProject]:
    """A project with version 1 live."""
    caps = {"max_body_bytes": 4096, "max_completion_tokens": 64, "requests_per_minute": 100000}
    with served(tmp_path_factory.mktemp("live") / "project", **caps) as found:
        control.ensure_host(found.project)
        found.deploy("1")
        yield found


@pytest.fixture(scope="session")
def served_project():
    """The context manager that makes a project at a given place."""
    return served


@pytest.fixture(scope="session")
def free_ports():
    """The function that finds free loopback ports."""
    return unused_ports


@pytest.fixture
def started(project):
    assert control.ensure_host(project.project) is True
    return project
