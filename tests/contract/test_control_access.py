"""Who may ask the host and read its keys, with accounts of their own: needs root, which alone can be somebody else."""

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.proof.signers import load_signer, machine_key_path, machine_signer, make_key
from tasks.serving import control
from tasks.serving.control_access import GROUP_VARIABLE, control_group
from tasks.serving.paths import control_socket, serving_folder
from tests.contract.conftest import served

PIPELINE, RELEASE, GROUP = 10001, 10003, 10010
ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as another account")


@pytest.fixture
def open_project():
    """A project below a folder that every account may pass through, as an installed one is."""
    folder = Path(tempfile.mkdtemp(prefix="tunegate-access-"))
    folder.chmod(0o755)
    try:
        with served(folder / "project") as found:
            yield found
    finally:
        shutil.rmtree(folder)


def as_account(uid: int, groups: list[int], action) -> str:
    """Return what an action says in a child that has become another account; its error's name where it raises."""
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups(groups)
            os.setgid(uid)
            os.setuid(uid)
            said = str(action())
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
            said = f"{type(error).__name__}: {error}"
        os.write(writes, said.encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as stream:
        said = stream.read().decode()
    os.waitpid(child, 0)
    return said


def connected(path: Path) -> str:
    """Open a socket as any program would, without our client."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /status HTTP/1.0\r\n\r\n")
        return sock.recv(100).split(b"\r\n")[0].decode()


@ROOT_ALONE
def test_without_a_group_the_hosts_account_alone_may_ask(open_project):
    control.ensure_host(open_project.project)
    path = control_socket(open_project.project)
    assert as_account(PIPELINE, [], lambda: connected(path)).startswith("PermissionError")
    assert as_account(RELEASE, [GROUP], lambda: connected(path)).startswith("PermissionError")
    said = as_account(PIPELINE, [], lambda: control.host_status(open_project.project))
    assert said.startswith("ConfigError: account 10001 may not ask the serving host")
    assert "a deployment of pool release" in said
    assert control.host_status(open_project.project)["host_pid"]


@ROOT_ALONE
def test_with_a_group_its_members_may_and_the_pipeline_may_not(open_project, monkeypatch):
    monkeypatch.setenv(GROUP_VARIABLE, str(GROUP))
    control.ensure_host(open_project.project)
    project, path = open_project.project, control_socket(open_project.project)
    assert as_account(RELEASE, [GROUP], lambda: connected(path)) == "HTTP/1.0 200 OK"
    assert as_account(RELEASE, [GROUP], lambda: control.host_status(project)["host_pid"]).isdigit()
    assert as_account(PIPELINE, [], lambda: connected(path)).startswith("PermissionError")
    assert as_account(RELEASE, [GROUP], lambda: os.listdir(path.parent)).startswith("PermissionError")

    # What somebody has widened opens nothing: the host asks the kernel who is there.
    serving_folder(project).chmod(0o755)
    path.chmod(0o666)
    assert as_account(PIPELINE, [], lambda: connected(path)) == "HTTP/1.0 403 Forbidden"
    assert as_account(PIPELINE, [], lambda: control.host_status(project)).startswith("ConfigError: account 10001")
    assert as_account(RELEASE, [GROUP], lambda: connected(path)) == "HTTP/1.0 200 OK"


@ROOT_ALONE
def test_a_group_that_is_named_no_more_is_kept_out_again(open_project, monkeypatch):
    monkeypatch.setenv(GROUP_VARIABLE, str(GROUP))
    control.ensure_host(open_project.project)
    control.stop_host(open_project.project)
    monkeypatch.delenv(GROUP_VARIABLE)
    control.ensure_host(open_project.project)
    path = control_socket(open_project.project)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert as_account(RELEASE, [GROUP], lambda: connected(path)).startswith("PermissionError")


@ROOT_ALONE
@pytest.mark.parametrize("use", ["host", "release"])
def test_keys_are_read_by_their_owner_alone(open_project, use):
    machine_signer(open_project.project, use)
    path = machine_key_path(open_project.project, use)
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY")
    assert as_account(PIPELINE, [], path.read_bytes).startswith("PermissionError")
    # The control group is for orders to the host, not for what it signs with.
    assert as_account(RELEASE, [GROUP], path.read_bytes).startswith("PermissionError")


@ROOT_ALONE
@pytest.mark.parametrize(("mode", "said"), [(0o440, "SHA256:"), (0o444, "ConfigError"), (0o460, "ConfigError")])
def test_a_key_that_a_cluster_mounts_is_read_by_its_group(open_project, mode, said):
    path = open_project.root / "host.pem"
    make_key(path)
    os.chown(path, 0, GROUP)
    path.chmod(mode)
    assert as_account(RELEASE, [GROUP], lambda: load_signer(str(path)).public.key_id).startswith(said)
    assert as_account(PIPELINE, [], lambda: load_signer(str(path)).public.key_id).startswith("ConfigError")


def test_a_group_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv(GROUP_VARIABLE, "没有这个组")
    with pytest.raises(ConfigError, match="没有这个组"):
        control_group()


def test_the_log_says_who_asked(started):
    control.abort_deployment(started.project)
    control.stop_host(started.project)
    folder = started.project.state / "audit"
    rows = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    asked = [row for row in rows if row["kind"] == "admin"]
    assert {row["uid"] for row in asked} == {os.geteuid()}
    assert [row["action"] for row in asked] == ["abort", "stop"]
