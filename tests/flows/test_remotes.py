"""The same over S3 (moto's server speaks it over HTTP) and SSH (OpenSSH's server, Debian's), where they install."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.flows.clones import REMOTE, clone, environment_of, make_origin, run

pytestmark = pytest.mark.net

ROOT = Path(__file__).parents[2]
#: Sends what training reads, has an object cut off on the way, is refused it, sends it again, and brings it.
ROUND_TRIP = """
import sys
from pathlib import Path
from flows.objects import fetch, fetch_recorded, inputs_of, outputs_of, push, push_recorded, remote_of
from flows.repo import opened, read_lock, write_lock
from tasks.core.errors import TransientError
from tasks.core.project import Project

first, second = (Project(Path(path)) for path in sys.argv[1:])

def send():
    with opened(first) as repo:
        place = remote_of(repo, "hand")
        moved = push(repo, place, inputs_of(repo, "train")[0].values())
        push_recorded(repo, place, "prepare")
        return moved

def bring():
    with opened(second) as repo:
        return fetch(repo, remote_of(repo, "hand"), inputs_of(repo, "train")[0].values())

print("sent", send())
assert send().objects == 0
with opened(first) as repo:
    odb = remote_of(repo, "hand").odb
    (out,) = outputs_of(repo, "validate")
    victim = next(file.value for _, _, file in out.get_obj())
    odb.fs.fs.pipe_file(odb.oid_to_path(victim), "半个".encode())
with opened(second):
    write_lock(second, read_lock(first))
try:
    bring()
    raise SystemExit("half an object was taken")
except TransientError as error:
    assert "1 were cut off" in str(error), error
assert not (second.root / "data").joinpath("reports").exists()
assert send().objects == 1
print("brought", bring())
with opened(second) as repo:
    assert fetch_recorded(repo, remote_of(repo, "hand"), "prepare")
for name in ("data/prepared", "data/reports/validation"):
    here, there = ({path.relative_to(root): path.read_bytes() for path in (root / name).rglob("*") if path.is_file()}
                   for root in (first.root, second.root))
    assert here == there != {}
"""


def installed(folder: Path, *packages: str) -> Path:
    """Install packages into a folder of their own; skips where they cannot be had."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable,
               "--target", str(folder), *packages]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip(f"{packages} cannot be had here: {done.stderr[-300:]}")
    return folder


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def await_port(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while not answers(port):
        assert process.poll() is None, log.read_text("utf-8")
        assert time.monotonic() < deadline, log.read_text("utf-8")
        time.sleep(0.2)


def round_trip(tmp_path: Path, settings: str, packages: Path) -> str:
    """Hand over between two clones by a remote with these DVC settings."""
    origin = make_origin(tmp_path / "origin", REMOTE)
    first, second = (clone(origin, tmp_path / name, tmp_path / "unused") for name in ("甲", "乙"))
    for project in (first, second):
        (project.root / ".dvc/config.local").write_text(settings, "utf-8")
    environment = environment_of(first)
    subprocess.run(["dvc", "repro", "--quiet", "validate"], cwd=first.root, env=environment, check=True)
    path = os.pathsep.join([str(first.root), str(packages)])
    done = subprocess.run(
        [sys.executable, "-c", ROUND_TRIP, str(first.root), str(second.root)],
        cwd=tmp_path, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_s3(tmp_path):
    moto = installed(tmp_path / "moto", "moto[server,s3]")
    packages = installed(tmp_path / "packages", "-c", str(ROOT / "infra/environments/pipeline.lock"), "dvc-s3")
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(moto)}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    log = tmp_path / "moto.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        await_port(port, server, log)
        keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
        make = f"import boto3; boto3.client('s3', endpoint_url='http://127.0.0.1:{port}').create_bucket(Bucket='dvc')"
        subprocess.run([sys.executable, "-c", make], env=environment | keys, check=True)
        settings = (f"['remote \"{REMOTE}\"']\n    url = s3://dvc/hand\n    endpointurl = http://127.0.0.1:{port}\n"
                    "    access_key_id = k\n    secret_access_key = s\n")  # fmt: skip
        said = round_trip(tmp_path, settings, packages)
        assert "brought " in said
    finally:
        server.terminate()
        server.wait(30)


#: Debian's, unpacked: nothing is installed.
DEBIAN = ("openssh-server", "openssh-client", "libwrap0", "libwtmpdb0")
SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM yes
StrictModes no
PasswordAuthentication no
Subsystem sftp internal-sftp
"""


def test_ssh(tmp_path):
    packages = installed(tmp_path / "packages", "-c", str(ROOT / "infra/environments/pipeline.lock"), "dvc-ssh")
    # As another user than root: then sshd parts no privileges, and asks for no account of its own.
    folder = Path(tempfile.mkdtemp(prefix="tunegate-sshd-"))
    folder.chmod(0o755)
    try:
        sshd, keygen, libraries = openssh(folder)
        for name in ("host", "user"):
            run(tmp_path, "env", f"LD_LIBRARY_PATH={libraries}", str(keygen), "-q", "-t", "ed25519", "-N", "",
                "-f", str(folder / name))  # fmt: skip
        port = free_port()
        (folder / "sshd_config").write_text(SSHD.format(port=port, folder=folder), "utf-8")
        (folder / "hand").mkdir()
        command = [str(sshd), "-D", "-e", "-f", str(folder / "sshd_config")]
        environment = {"LD_LIBRARY_PATH": libraries, "PATH": os.environ["PATH"]}
        options = {}
        if os.geteuid() == 0:
            options = {"user": "nobody", "group": "nogroup", "extra_groups": []}
            shutil.chown(folder, "nobody", "nogroup")
            for path in (folder / name for name in ("host", "user", "user.pub", "hand")):
                shutil.chown(path, "nobody", "nogroup")
        log = tmp_path / "sshd.log"
        with log.open("wb") as output:
            server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, **options)
        try:
            await_port(port, server, log)
            user = "nobody" if options else os.environ.get("USER", "nobody")
            shutil.copyfile(folder / "user", tmp_path / "user")
            (tmp_path / "user").chmod(0o600)
            said = round_trip(tmp_path, f"['remote \"{REMOTE}\"']\n    url = ssh://127.0.0.1{folder}/hand\n    port = "
                              f"{port}\n    user = {user}\n    keyfile = {tmp_path}/user\n", packages)  # fmt: skip
            assert "brought " in said
        finally:
            server.terminate()
            server.wait(30)
    finally:
        shutil.rmtree(folder)


def openssh(folder: Path) -> tuple[Path, Path, str]:
    """Return Debian's sshd and ssh-keygen and where their libraries are; skips where they cannot be had."""
    place = folder / "debian"
    place.mkdir()
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get here")
    for name in DEBIAN:
        subprocess.run(["apt-get", "download", name], cwd=place, capture_output=True, check=False, timeout=300)
    found = list(place.glob("*.deb"))
    if not any("server" in path.name for path in found):
        pytest.skip("Debian's OpenSSH cannot be had here")
    for package in found:
        subprocess.run(["dpkg-deb", "-x", package, place], check=True)
    libraries = ":".join(str(path) for path in place.glob("*lib/*-linux-gnu")) + f":{place}/usr/lib/x86_64-linux-gnu"
    return place / "usr/sbin/sshd", place / "usr/bin/ssh-keygen", libraries
