"""Keys that sign, and their public halves: Ed25519, or ECDSA on P-256 for tokens and agents that have no Ed25519.

A public key is written as OpenSSH writes it (`ssh-ed25519 AAAA...`) and named by OpenSSH's fingerprint
(`SHA256:...`, what `ssh-keygen -lf` prints), so that people can list the keys they have.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tasks.core.errors import ConfigError

#: What a machine signs: records of versions, and what its host kept (heads of history and audit log).
Use = Literal["release", "host"]
_ED25519, _P256 = "ssh-ed25519", "ecdsa-sha2-nistp256"


@dataclass(frozen=True)
class PublicKey:
    """A public key.

    Args:
        line: algorithm and key as OpenSSH writes them, without a comment.
    """

    line: str

    @classmethod
    def of_line(cls, text: str, where: str = "a public key") -> "PublicKey":
        """Return the key in a line of OpenSSH's format.

        Raises:
            ConfigError: it is no key, or of a kind that is not accepted.
        """
        words = str(text).split()
        key = cls(" ".join(words[:2]))
        hint = "cat ~/.ssh/id_ed25519.pub, or tunegate sign-key show"
        if len(words) < 2 or words[0] not in (_ED25519, _P256):
            raise ConfigError(f"{where}: {str(text)[:40]!r} is no ssh-ed25519 or ecdsa-sha2-nistp256 key", hint)
        try:
            key.loaded()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{where}: {str(text)[:40]!r} is no public key: {error}", hint) from error
        return key

    @classmethod
    def of_private(cls, private: Any) -> "PublicKey":
        """Return the public half of a loaded private key."""
        raw = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return cls(raw.decode())

    @property
    def key_id(self) -> str:
        """OpenSSH's fingerprint: the same for the same key, whatever the comment."""
        digest = hashlib.sha256(base64.b64decode(self.line.split()[1])).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def loaded(self) -> Any:
        """Return the key as the library has it."""
        return serialization.load_ssh_public_key(self.line.encode())

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Return whether a signature is this key's over a message: raw Ed25519, or ECDSA with SHA-256 in DER."""
        key = self.loaded()
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            else:
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """Something that holds a private key and signs with it."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
