"""Signatures by a PKCS#11 token (a smart card, an HSM) through OpenSC's `pkcs11-tool`: the key never leaves the token.

`TUNEGATE_PKCS11_MODULE` is the token's library, `TUNEGATE_PKCS11_PIN` its PIN (handed on by the environment, never on
a command line). Keys are P-256: what every token has.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tasks.core.errors import ConfigError, MissingToolError
from tasks.proof.keys import PublicKey

MODULE, PIN = "TUNEGATE_PKCS11_MODULE", "TUNEGATE_PKCS11_PIN"
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class TokenSigner:
    """A key on a token.

    Args:
        label: of the key pair.
        public: the public half, read from the token.
    """

    label: str
    public: PublicKey

    @classmethod
    def find(cls, label: str) -> "TokenSigner":
        """Return the signer of the key pair with this label.

        Raises:
            ConfigError: no such key, no PIN, or it is not on P-256.
            MissingToolError: `pkcs11-tool` or the module is not there.
        """
        raw = _tool("--read-object", "--type", "pubkey", "--label", label)
        try:
            public = serialization.load_der_public_key(raw)
        except ValueError as error:
            raise ConfigError(f"the token's key {label} cannot be read", "pkcs11-tool --list-objects") from error
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise ConfigError(f"the token's key {label} is not on P-256", "pkcs11-tool --keypairgen")
        line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
        return cls(label, PublicKey(line))

    def sign(self, message: bytes) -> bytes:
        """Return the token's signature of a message."""
        with tempfile.TemporaryDirectory() as folder:
            # Hashed here: not every token does it itself.
            asked = Path(folder) / "digest"
            asked.write_bytes(hashlib.sha256(message).digest())
            key = ("--label", self.label, "--login", "--pin", f"env:{PIN}")
            how = ("--mechanism", "ECDSA", "--signature-format", "openssl")
            return _tool("--sign", *how, *key, "--input-file", str(asked))


def _tool(*words: str) -> bytes:
    """Run `pkcs11-tool` and return what it wrote to its output file."""
    module = os.environ.get(MODULE)
    if not module:
        raise ConfigError(f"{MODULE} is not set", f"export {MODULE}=<the token's library, .so>")
    program = shutil.which("pkcs11-tool")
    if program is None:
        raise MissingToolError("pkcs11-tool is not installed", "apt-get install opensc")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        done = subprocess.run(
            [program, "--module", module, *words, "--output-file", str(output)],
            capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
        if done.returncode != 0 or not output.is_file():
            raise ConfigError(f"the token refused: {done.stderr.strip()[-300:]}",
                              f"pkcs11-tool --module ${MODULE} --list-objects; is ${PIN} set?")  # fmt: skip
        return output.read_bytes()
