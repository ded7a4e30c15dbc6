"""API keys of the gateway: shown once, stored as hashes, revoked, rotated and limited without a restart.

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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from tasks.core.errors import ConfigError
from tasks.core.files import read_json, write_json
from tasks.serving.audit.outbox import OUTBOX, leave

Role = Literal["caller", "evaluator", "admin"]
ROLES: tuple[Role, ...] = ("caller", "evaluator", "admin")
Priority = Literal["emergency", "interactive", "batch"]
#: The most urgent first.
PRIORITIES: tuple[Priority, ...] = ("emergency", "interactive", "batch")
PREFIX = "tg_"
KEY_BYTES = 32
SCHEMA = 1
#: Who makes and ends the keys of commands.
AUTHOR = "tunegate"
_NAME = re.compile(r"[\w.@-]{1,64}")


@dataclass(frozen=True)
class ApiKey:
    """What is known about a key; the key itself is not.

    Args:
        name: whose key; stands in the audit log. During a rotation two keys have it, and share its limits.
        role: `caller` may ask the model, `evaluator` also for log-probabilities of prompts, `admin` may also read the
            metrics.
        requests_per_minute, tokens_per_minute, tokens_per_day, tokens_per_month: lower limits than params.yaml gives
            everybody; None for those.
        revoked_at: when it stopped working, or None.
        priority: who waits for whom when all places are taken.
        author: who made it.
        expires_at: when it stops working by itself, or None.
    """

    name: str
    role: Role
    sha256: str
    created_at: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    revoked_at: str | None = None
    priority: Priority = "interactive"
    author: str = ""
    expires_at: str | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None

    @property
    def key_id(self) -> str:
        """What tells this key from others of its name: the beginning of its hash, which gives nothing away."""
        return f"k-{self.sha256[:12]}"

    def expired(self, now: datetime) -> bool:
        """Return whether it has stopped working by itself."""
        return self.expires_at is not None and datetime.fromisoformat(self.expires_at) <= now

    def works(self, now: datetime) -> bool:
        """Return whether it lets anybody in."""
        return self.revoked_at is None and not self.expired(now)


class Terms(TypedDict, total=False):
    """What a new key may have besides its role; see `ApiKey`."""

    priority: Priority
    author: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    tokens_per_day: int | None
    tokens_per_month: int | None


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

    def create(self, name: str, role: Role, *, lives: timedelta | None = None, **terms: Unpack[Terms]) -> str:
        """Make a key and return its secret: the only time it is to be seen.

        Args:
            lives: how long it works; None: until it is revoked.

        Raises:
            ConfigError: the name is no name, or a working key has it.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no key name", "1 to 64 letters, digits, dots, dashes, underscores or @")
        secret, now = _secret(), datetime.now(UTC)
        ends = _stamp(now + lives) if lives else None
        with self._edited() as keys:
            if any(key.name == name and key.works(now) for key in keys):
                raise ConfigError(f"there is a key called {name}", f"tunegate keys revoke {name}, or take another name")
            keys.append(ApiKey(name, role, _digest(secret), _stamp(now), expires_at=ends, **terms))
            self._tell("created", keys[-1], keys[-1].author)
        return secret

    def rotate(self, name: str, overlap: timedelta, *, author: str = "") -> str:
        """Make a key in the place of another and return its secret; the old one works on for `overlap`.

        Raises:
            ConfigError: no working key has the name.
        """
        secret, now = _secret(), datetime.now(UTC)
        ends = _stamp(now + overlap)
        with self._edited() as keys:
            old = self._working(keys, name, now)
            last = keys[old[-1]]
            for place in old:
                ends_before = keys[place].expires_at
                keys[place] = replace(keys[place], expires_at=min(ends_before, ends) if ends_before else ends)
                self._tell("expires", keys[place], author)
            keys.append(replace(last, sha256=_digest(secret), created_at=_stamp(now), author=author))
            self._tell("rotated", keys[-1], author)
        return secret

    def limit(self, name: str, limits: dict[str, Any], *, author: str = "") -> ApiKey:
        """Change limits or priority of a working key and return it; the running gateway follows at once.

        Args:
            limits: values by field: the four limits, `priority`.

        Raises:
            ConfigError: no working key has the name.
        """
        with self._edited() as keys:
            for place in self._working(keys, name, datetime.now(UTC)):
                keys[place] = replace(keys[place], **limits)
                self._tell("limited", keys[place], author)
        return keys[place]

    def revoke(self, name: str, *, author: str = "") -> ApiKey:
        """Stop a key from working, both where it is being rotated, and return it.

        Raises:
            ConfigError: no working key has the name.
        """
        now = datetime.now(UTC)
        with self._edited() as keys:
            for place in self._working(keys, name, now):
                keys[place] = replace(keys[place], revoked_at=_stamp(now))
                self._tell("revoked", keys[place], author)
        return keys[place]

    def _working(self, keys: list[ApiKey], name: str, now: datetime) -> list[int]:
        """Return the places of the working keys of a name, the oldest first."""
        found = [place for place, key in enumerate(keys) if key.name == name and key.works(now)]
        if not found:
            raise ConfigError(f"no live key is called {name}", "tunegate keys list")
        return found

    def _tell(self, action: str, key: ApiKey, author: str) -> None:
        """Leave a record of a change for the audit log, which the host writes."""
        facts = {name: value for name, value in asdict(key).items() if value is not None and name != "sha256"}
        leave(self.path.with_name(OUTBOX), {"kind": "key", "action": action, "key_id": key.key_id, "by": author,
                                            "key": key.name, "facts": facts})  # fmt: skip

    @contextmanager
    def temporary(self, prefix: str, role: Role = "caller") -> Iterator[str]:
        """Give the secret of a key for as long as the block runs.

        A killed process cannot revoke its key: the next one of the same prefix does, by the process id in the name.
        """
        for key in self.all():
            owner = key.name.removeprefix(f"{prefix}-").partition("-")[0]
            dead = key.name.startswith(f"{prefix}-") and key.works(datetime.now(UTC)) and not _runs(owner)
            if dead:
                self.revoke(key.name, author=AUTHOR)
        name = f"{prefix}-{os.getpid()}-{secrets.token_hex(4)}"
        secret = self.create(name, role, author=AUTHOR)
        try:
            yield secret
        finally:
            self.revoke(name, author=AUTHOR)

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


def _secret() -> str:
    """Return a new secret."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def _stamp(time: datetime) -> str:
    """Return a time as it is stored."""
    return time.isoformat(timespec="seconds")


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
    except (KeyError, TypeError, ValueError) as error:
        hint = f"restore {path}, or move it away and make new keys"
        raise ConfigError(f"{path} is no key file: {error}", hint) from error


def _key(item: dict[str, Any]) -> ApiKey:
    """Return one key of the file."""
    key = ApiKey(**item)
    if key.role not in ROLES:
        raise TypeError(f"role {key.role!r}")
    if key.priority not in PRIORITIES:
        raise TypeError(f"priority {key.priority!r}")
    if key.expires_at is not None:
        datetime.fromisoformat(key.expires_at)
    return key


def _write(path: Path, keys: list[ApiKey]) -> None:
    """Write the key file, readable by its owner alone from its first byte."""
    before = os.umask(0o077)
    try:
        write_json(path, {"schema": SCHEMA, "keys": [asdict(key) for key in keys]})
    finally:
        os.umask(before)
