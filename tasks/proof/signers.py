"""Where a private key is: in a file, with an ssh-agent, on a token; and the keys a machine makes for itself."""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.proof.agent import find_agent_signer
from tasks.proof.keys import PublicKey, Signer, Use
from tasks.proof.pkcs11 import TokenSigner

log = logging.getLogger(__name__)

PASSPHRASE = "TUNEGATE_KEY_PASSPHRASE"
SOURCES: dict[Use, str] = {"release": "TUNEGATE_RELEASE_KEY", "host": "TUNEGATE_HOST_KEY"}
#: What a key made on first use, beside what it signs, is worth.
WORTH = (
    "it shows that nothing was changed by anybody who cannot read this folder; for production keep it elsewhere "
    "and list its public half in infra/approvers.yaml"
)


@dataclass(frozen=True)
class FileSigner:
    """A private key from a file."""

    private: Any

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey.of_private(self.private)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        signature: bytes = self.private.sign(message, ec.ECDSA(hashes.SHA256()))
        return signature


def load_signer(source: str) -> Signer:
    """Return the signer that a setting names.

    Args:
        source: path of a private key (PEM or OpenSSH); `agent` or `agent:COMMENT` for a key of the ssh-agent;
            `pkcs11:LABEL` for one on a token.

    Raises:
        ConfigError: there is no such key, its file is open to others, or its passphrase is missing or wrong.
    """
    kind, _, name = source.partition(":")
    if kind == "agent":
        return find_agent_signer(name)
    if kind == "pkcs11":
        return TokenSigner.find(name)
    return FileSigner(_read_private(Path(source).expanduser()))


def machine_signer(project: Project, use: Use) -> Signer:
    """Return the key this machine signs with: of the environment, or the project's own, made on first use.

    Raises:
        ConfigError: what is there is no key.
    """
    if source := os.environ.get(SOURCES[use]):
        return load_signer(source)
    path = machine_key_path(project, use)
    if not path.exists():
        made = make_key(path)
        log.info("%s: a key of this machine was made, %s: %s", path, made.key_id, WORTH)
    return FileSigner(_read_private(path))


def machine_key_path(project: Project, use: Use) -> Path:
    """Return where the key of this machine lies if the environment names none."""
    return project.state / "signing" / f"{use}.pem"


def make_key(path: Path, *, algorithm: Literal["ed25519", "p256"] = "ed25519") -> PublicKey:
    """Make a private key that only its owner can read, and return its public half; an existing file is left alone.

    It is encrypted where the environment has a passphrase.
    """
    private: Any = ed25519.Ed25519PrivateKey.generate()
    if algorithm == "p256":
        private = ec.generate_private_key(ec.SECP256R1())
    word = os.environ.get(PASSPHRASE)
    lock = serialization.BestAvailableEncryption(word.encode()) if word else serialization.NoEncryption()
    text = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(file, text)
        os.fsync(file)
    finally:
        os.close(file)
    # Where another process is faster, its key counts.
    with suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()
    return PublicKey.of_private(_read_private(path))


def _read_private(path: Path) -> Any:
    """Return the private key in a file."""
    try:
        text, status = path.read_bytes(), path.stat()
    except OSError as error:
        raise ConfigError(f"no key at {path}: {error.strerror}", f"tunegate sign-key new {path}") from error
    # A cluster mounts a secret as root's and lets us read it by our group; a key that is ours is for nobody else.
    if status.st_mode & (0o077 if status.st_uid == os.geteuid() else 0o037):
        raise ConfigError(f"{path} is a private key that others can read", f"chmod 600 {path}")
    word = os.environ.get(PASSPHRASE)
    load = serialization.load_pem_private_key
    if b"OPENSSH PRIVATE KEY" in text:
        load = serialization.load_ssh_private_key  # type: ignore[assignment]
    try:
        return _accepted(_unlocked(load, text, word.encode() if word else None), path)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # Nothing of the key or the passphrase in the message: messages end up in logs.
        raise ConfigError(f"{path} cannot be read as a private key: is its passphrase right?",
                          f"export {PASSPHRASE}=..., or tunegate sign-key new FILE") from error  # fmt: skip


def _unlocked(load: Any, text: bytes, word: bytes | None) -> Any:
    """Return a loaded key; a passphrase that is set for another key is no reason to refuse one that has none."""
    try:
        return load(text, password=word)
    except TypeError:
        if word is None:
            raise
        return load(text, password=None)


def _accepted(private: Any, path: Path) -> Any:
    """Return a key of a kind that is accepted."""
    fits = isinstance(private, ed25519.Ed25519PrivateKey) or (
        isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1)
    )
    if not fits:
        raise ConfigError(f"{path} is neither an Ed25519 nor a P-256 key", "tunegate sign-key new FILE")
    return private
