"""The project's secret for the audit log: it makes the digests of unmasked text.

Older releases signed the head of the chain with it, too; what they signed is still recognised.
"""

import binascii
import os
import secrets
from pathlib import Path

from tasks.core.errors import ConfigError
from tasks.core.project import Project

VARIABLE = "TUNEGATE_AUDIT_KEY"
FILE = "audit.key"
KEY_BYTES = 32
_MAKE = f"export {VARIABLE}=$(openssl rand -hex {KEY_BYTES}), and keep it where the log is not"


def audit_secret(project: Project) -> bytes:
    """Return the secret of the environment, or that of the project's own file, made on first use.

    Raises:
        ConfigError: what is there is no key.
    """
    if text := os.environ.get(VARIABLE):
        return _parsed(text, VARIABLE)
    path = project.state / FILE
    try:
        return _parsed(path.read_text(encoding="ascii"), str(path))
    except FileNotFoundError:
        return _made(path)


def _made(path: Path) -> bytes:
    """Make the file; where another process is faster, its key counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(file, secrets.token_hex(KEY_BYTES).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    return _parsed(path.read_text(encoding="ascii"), str(path))


def _parsed(text: str, where: str) -> bytes:
    """Return the key that hexadecimal digits write."""
    try:
        key = binascii.unhexlify(text.strip())
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        # Nothing of the key in the message: messages end up in logs.
        raise ConfigError(f"{where} must hold {2 * KEY_BYTES} hexadecimal digits or more", _MAKE)
    return key
