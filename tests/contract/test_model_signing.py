"""Our signature of the weights, read by OpenSSF's own tool in an environment of its own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.cli.main import cli
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.proof.model_signing import public_pem
from tasks.proof.signers import load_signer, make_key
from tasks.release.travel import sign_weights

pytestmark = pytest.mark.slow

UV = Path(sys.executable).with_name("uv")
#: It imports OpenSSL, which it does not declare.
TOOL = ["model-signing==1.1.1", "pyopenssl"]


@pytest.fixture(scope="module")
def tool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tool") / "venv"
    python = folder / "bin" / "python"
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder], check=True, timeout=300)
    subprocess.run([UV, "pip", "install", "-q", "--python", python, *TOOL], check=True, timeout=300)

    def verify(model: Path, signature: Path, public: Path) -> str | None:
        """Return what the tool has against a model, None for nothing."""
        words = ["verify", "key", model, "--signature", signature, "--public_key", public]
        done = subprocess.run([python, "-m", "model_signing", *words], capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr) if done.returncode else None

    return verify


@pytest.fixture
def key(tmp_path):
    make_key(tmp_path / "p256.pem", algorithm="p256")
    return tmp_path / "p256.pem"


def test_the_public_tool_accepts_it_and_sees_every_change(world, tool, key, tmp_path, monkeypatch):
    monkeypatch.chdir(world.project.root)
    target = tmp_path / "model.sig"
    done = CliRunner().invoke(cli, ["sign-weights", "1", "--to", str(target), "--key", str(key), "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    model, public = tmp_path / "model", Path(facts["public_key"])
    shutil.copytree(facts["folder"], model)
    assert tool(model, target, public) is None
    weights = model / "config.json"
    before = weights.read_bytes()

    weights.write_bytes(before + b" ")
    assert "Hash mismatch for" in tool(model, target, public)
    weights.unlink()
    assert "Missing files" in tool(model, target, public)
    weights.write_bytes(before)
    (model / "tokenizer.py").write_text("import os\n")
    assert "Extra files found" in tool(model, target, public)
    (model / "tokenizer.py").unlink()
    assert tool(model, target, public) is None

    # Nothing is named that the tool would pass over.
    assert "ignore_paths" not in target.read_text()
    make_key(tmp_path / "other.pem", algorithm="p256")
    (tmp_path / "other.pub").write_bytes(public_pem(load_signer(str(tmp_path / "other.pem")).public))
    assert "Key mismatch" in tool(model, target, tmp_path / "other.pub")
    forged = read_json(target)
    forged["dsseEnvelope"]["payload"] = forged["dsseEnvelope"]["payload"][:-8] + "AAAAAAA="
    (tmp_path / "forged.sig").write_text(json.dumps(forged))
    assert tool(model, tmp_path / "forged.sig", public) is not None


def test_what_is_not_signed(world, key, tmp_path):
    signer, version = load_signer(str(key)), world.version()
    make_key(tmp_path / "ed25519.pem")
    with pytest.raises(ConfigError, match="P-256 alone"):
        sign_weights(world.registry, version, tmp_path / "a.sig", load_signer(str(tmp_path / "ed25519.pem")))
    (tmp_path / "taken.sig.pub").write_text("")
    with pytest.raises(ConfigError, match="exists already"):
        sign_weights(world.registry, version, tmp_path / "taken.sig", signer)
    (world.root() / "model" / "config.json").write_text("{}")
    with pytest.raises(DataContractError):
        sign_weights(world.registry, version, tmp_path / "b.sig", signer)
    assert not (tmp_path / "a.sig").exists()
    assert not (tmp_path / "b.sig").exists()
