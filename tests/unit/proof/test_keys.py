"""Keys in files, with a real ssh-agent, on a real (software) token."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.proof.keys import PublicKey
from tasks.proof.signers import PASSPHRASE, load_signer, machine_signer, make_key

MESSAGE = "核应急 record".encode() * 50
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


def holds(signer) -> bool:
    signature = signer.sign(MESSAGE)
    assert not signer.public.verifies(MESSAGE + b"x", signature)
    assert not signer.public.verifies(MESSAGE, signature[:-1])
    return signer.public.verifies(MESSAGE, signature)


@pytest.mark.parametrize("algorithm", ["ed25519", "p256"])
def test_a_key_file_signs_and_is_its_owners_alone(tmp_path, algorithm):
    path = tmp_path / "keys" / "own.pem"
    public = make_key(path, algorithm=algorithm)
    assert (path.stat().st_mode & 0o777, public) == (0o600, load_signer(str(path)).public)
    assert holds(load_signer(str(path)))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        load_signer(str(path))


def test_an_encrypted_key_asks_for_its_passphrase_and_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSPHRASE, "木棉花")
    make_key(tmp_path / "own.pem")
    assert b"ENCRYPTED" in (tmp_path / "own.pem").read_bytes()
    assert holds(load_signer(str(tmp_path / "own.pem")))
    for word in ("wrong", ""):
        monkeypatch.setenv(PASSPHRASE, word)
        with pytest.raises(ConfigError, match="is its passphrase right") as refused:
            load_signer(str(tmp_path / "own.pem"))
        assert "wrong" not in str(refused.value)


def test_a_machine_makes_its_key_once_and_says_what_it_is_worth(tmp_path, monkeypatch, caplog):
    for name in ("TUNEGATE_RELEASE_KEY", "TUNEGATE_HOST_KEY"):
        monkeypatch.delenv(name, raising=False)
    caplog.set_level("INFO")
    first = machine_signer(Project(tmp_path), "release").public
    assert "for production keep it elsewhere" in caplog.text
    assert machine_signer(Project(tmp_path), "release").public == first
    assert machine_signer(Project(tmp_path), "host").public != first
    monkeypatch.setenv("TUNEGATE_RELEASE_KEY", str(tmp_path / "gone.pem"))
    with pytest.raises(ConfigError, match="no key at"):
        machine_signer(Project(tmp_path), "release")


@pytest.mark.parametrize("line", ["", "ssh-rsa AAAA", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 !!"])
def test_what_is_no_public_key_is_refused(line):
    with pytest.raises(ConfigError, match="key"):
        PublicKey.of_line(line)


def test_a_file_that_is_no_key_is_refused(tmp_path):
    path = tmp_path / "x.pem"
    path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="cannot be read as a private key"):
        load_signer(str(path))
    other = ed448.Ed448PrivateKey.generate()
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="neither an Ed25519 nor a P-256"):
        load_signer(str(path))


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """A real ssh-agent with a key of each kind; gives their public files."""
    if not shutil.which("ssh-agent"):
        pytest.skip("ssh-agent is not installed")
    sock = tmp_path / "s"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
    try:
        while not sock.exists():
            assert process.poll() is None
        for kind in ("ed25519", "ecdsa"):
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", kind, "-f", tmp_path / kind], check=True)
            subprocess.run(["ssh-add", "-q", tmp_path / kind], check=True)
        yield tmp_path
    finally:
        process.terminate()
        process.wait()


def test_keys_of_an_ssh_agent_sign_and_are_found_by_name(agent):
    for kind in ("ed25519", "ecdsa"):
        signer = load_signer(f"agent:{kind}")
        assert signer.public == PublicKey.of_line((agent / f"{kind}.pub").read_text())
        assert holds(signer)
        assert load_signer(f"agent:{signer.public.key_id}").public == signer.public
        assert load_signer(str(agent / kind)).public == signer.public
    shown = subprocess.run(["ssh-keygen", "-lf", agent / "ed25519.pub"], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[1] == load_signer("agent:ed25519").public.key_id
    with pytest.raises(ConfigError, match="2 keys"):
        load_signer("agent")
    with pytest.raises(ConfigError, match="0 keys nobody"):
        load_signer("agent:nobody")


def test_no_agent_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(ConfigError, match="SSH_AUTH_SOCK is not set"):
        load_signer("agent")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="does not answer"):
        load_signer("agent")


@pytest.mark.skipif(not (SOFTHSM.exists() and shutil.which("pkcs11-tool")), reason="softhsm2 and opensc")
def test_a_key_on_a_token_signs_and_never_leaves_it(tmp_path, monkeypatch):
    (tmp_path / "tokens").mkdir()
    (tmp_path / "conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    for name, value in {"SOFTHSM2_CONF": str(tmp_path / "conf"), "TUNEGATE_PKCS11_MODULE": str(SOFTHSM),
                        "TUNEGATE_PKCS11_PIN": "1234"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    run = {"check": True, "capture_output": True, "env": dict(os.environ)}
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "t", "--pin", "1234", "--so-pin", "5678"], **run
    )
    subprocess.run(["pkcs11-tool", "--module", SOFTHSM, "--login", "--pin", "1234", "--keypairgen", "--key-type",
                    "EC:prime256v1", "--label", "release"], **run)  # fmt: skip
    assert holds(load_signer("pkcs11:release"))
    with pytest.raises(ConfigError, match="the token refused"):
        load_signer("pkcs11:another")
    monkeypatch.setenv("TUNEGATE_PKCS11_PIN", "4321")
    with pytest.raises(ConfigError, match="the token refused"):
        load_signer("pkcs11:release").sign(MESSAGE)
    monkeypatch.delenv("TUNEGATE_PKCS11_MODULE")
    with pytest.raises(ConfigError, match="TUNEGATE_PKCS11_MODULE is not set"):
        load_signer("pkcs11:release")
