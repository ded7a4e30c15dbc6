"""Signers made of fixed bytes, and lists of approvers."""

from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.proof.signers import FileSigner
from tasks.proof.trust import read_trust


def signer(number: int) -> FileSigner:
    """Return a signer; the same number is the same key."""
    return FileSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def write_approvers(path: Path, people=(), machines=()) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"people": list(people), "machines": list(machines)}, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    return path


def person(name: str, *keys: FileSigner, roles=("safety",), logins=()) -> dict:
    return {"name": name, "logins": list(logins), "roles": list(roles), "keys": [key.public.line for key in keys]}


@pytest.fixture
def trust(tmp_path):
    """李审 and Li Wei may approve; key 9 signs records."""
    build = {"name": "build", "uses": ["release"], "keys": [signer(9).public.line]}
    people = [person("李审", signer(1), signer(2)), person("Li Wei", signer(3), logins=["liwei"])]
    return read_trust(write_approvers(tmp_path / "approvers.yaml", people, [build]))
