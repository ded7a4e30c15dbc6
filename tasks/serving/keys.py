"""API keys of the gateway: shown once, stored as hashes, revoked without a restart.

A key is 256 random bits, so its plain SHA-256 is enough: there is no dictionary to try, and a slow password hash would
only add milliseconds to every request. The file is readable by its owner alone.
"""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from tasks.core.errors import ConfigError
from tasks.core.files import read_json, write_json

Role = Literal["caller", "admin"]
ROLES: tuple[Role, ...] = ("caller", "admin")
PREFIX = "tg_"
KEY_BYTES = 32
SCHEMA = 1
_NAME = re.compile(r"[\w.@-]{1,64}")


@dataclass(frozen=True)
class ApiKey:
    """What is known about a key; the key itself is not.

    Args:
        name: whose key; stands in the audit log.
        role: `caller` may ask the model, `admin` may also read the metrics.
        requests_per_minute, tokens_per_minute: lower limits than params.yaml gives everybody; None for those.
        revoked_at: when it stopped working, or None.
    """

    name: str
    role: Role
    sha256: str
    created_at: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    revoked_at: str | None = None


class KeyStore:
    """The file of keys; re-read when it changes, so that a revocation counts from the next request on.

    Args:
        path: the file; made on the first `create`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None
        self._by_hash: dict[str, ApiKey] = {}

    def find(self, token: str) -> ApiKey | None:
        """Return the key with this secret, revoked ones included, or None where it is unknown."""
        self._refresh()
        # A dictionary of digests: what its timing could give away is about a hash nobody can steer.
        return self._by_hash.get(_digest(token))

    def all(self) -> list[ApiKey]:
        """Return every key, oldest first, revoked ones included."""
        self._refresh()
        return list(self._by_hash.values())

    def create(
        self, name: str, role: Role, *, requests_per_minute: int | None = None, tokens_per_minute: int | None = None
    ) -> str:
        """Make a key and return its secret: the only time it is to be seen.

        Raises:
            ConfigError: the name is no name, or a live key has it.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no key name", "1 to 64 letters, digits, dots, dashes, underscores or @")
        secret = PREFIX + secrets.token_urlsafe(KEY_BYTES)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._edited() as keys:
            if any(key.name == name and key.revoked_at is None for key in keys):
                raise ConfigError(f"there is a key called {name}", f"tunegate keys revoke {name}, or take another name")
            keys.append(ApiKey(name, role, _digest(secret), now, requests_per_minute, tokens_per_minute))
        return secret

    def revoke(self, name: str) -> ApiKey:
        """Stop a key from working and return it.

        Raises:
            ConfigError: no live key has the name.
        """
        with self._edited() as keys:
            for number, key in enumerate(keys):
                if key.name == name and key.revoked_at is None:
                    keys[number] = replace(key, revoked_at=datetime.now(UTC).isoformat(timespec="seconds"))
                    return keys[number]
        raise ConfigError(f"no live key is called {name}", "tunegate keys list")

    @contextmanager
    def temporary(self, prefix: str) -> Iterator[str]:
        """Give the secret of a caller's key for as long as the block runs.

        A killed process cannot revoke its key: the next one of the same prefix does, by the process id in the name.
        """
        for key in self.all():
            owner = key.name.removeprefix(f"{prefix}-").partition("-")[0]
            if key.name.startswith(f"{prefix}-") and key.revoked_at is None and not _runs(owner):
                self.revoke(key.name)
        name = f"{prefix}-{os.getpid()}-{secrets.token_hex(4)}"
        secret = self.create(name, "caller")
        try:
            yield secret
        finally:
            self.revoke(name)

    def _refresh(self) -> None:
        """Read the file again where it is another than the one read last."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._by_hash = None, {}
            return
        # Every write is a rename of a new file: the inode changes even within one tick of the clock.
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            self._by_hash = {key.sha256: key for key in _read(self.path)}
            self._stamp = stamp

    @contextmanager
    def _edited(self) -> Iterator[list[ApiKey]]:
        """Give the list of keys to change and write it back; two editors wait for each other."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = _read(self.path) if self.path.exists() else []
            yield keys
            _write(self.path, keys)
        finally:
            os.close(lock)


def _runs(pid: str) -> bool:
    """Return whether a process runs; what is no process id is left alone."""
    return not pid.isdigit() or Path(f"/proc/{pid}").exists()


def _digest(token: str) -> str:
    """Return the stored form of a secret."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _read(path: Path) -> list[ApiKey]:
    """Return the keys in a file.

    Raises:
        ConfigError: it is not a key file; nobody is let in on a guess.
    """
    value = read_json(path)
    try:
        return [_key(item) for item in value["keys"]]
    except (KeyError, TypeError) as error:
        hint = f"restore {path}, or move it away and make new keys"
        raise ConfigError(f"{path} is no key file: {error}", hint) from error


def _key(item: dict[str, Any]) -> ApiKey:
    """Return one key of the file."""
    key = ApiKey(**item)
    if key.role not in ROLES:
        raise TypeError(f"role {key.role!r}")
    return key


def _write(path: Path, keys: list[ApiKey]) -> None:
    """Write the key file, readable by its owner alone from its first byte."""
    before = os.umask(0o077)
    try:
        write_json(path, {"schema": SCHEMA, "keys": [asdict(key) for key in keys]})
    finally:
        os.umask(before)


def as_role(value: str) -> Role:
    """Return `value` as a role.

    Raises:
        ConfigError: there is no such role.
    """
    if value not in ROLES:
        raise ConfigError(f"no role is called {value!r}", f"one of: {', '.join(ROLES)}")
    return cast(Role, value)
