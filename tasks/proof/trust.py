"""Whose signature counts: people and machines of infra/approvers.yaml, which is reviewed in git like code."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.proof.issuers import Identity, identity_problems, kept_keys, listed_keys
from tasks.proof.keys import PublicKey, Use
from tasks.proof.signers import machine_signer

APPROVERS = "infra/approvers.yaml"
PERSON = frozenset({"name", "logins", "roles", "keys"})
MACHINE = frozenset({"name", "uses", "keys"})
USES: tuple[Use, ...] = ("release", "host")


@dataclass(frozen=True)
class Person:
    """Somebody who may approve.

    Args:
        logins: names under which this person asks for a promotion.
        roles: in which of them the person may approve.
    """

    name: str
    logins: tuple[str, ...]
    roles: tuple[str, ...]
    keys: tuple[PublicKey, ...]

    def is_called(self, name: str) -> bool:
        """Return whether a name is this person's, however it is spelled."""
        return folded(name) in {folded(own) for own in (self.name, *self.logins)}


@dataclass(frozen=True)
class Trust:
    """Whose signature counts for what.

    Args:
        people: who may approve.
        machines: listed public keys by use.
        own: this machine's keys by use; accepted for a demo where none is listed.
        github: jobs whose token counts as an approval of who started them.
        issuer_keys: keys that tokens are signed with, by issuer and key id.
    """

    people: tuple[Person, ...] = ()
    machines: Mapping[str, tuple[PublicKey, ...]] = field(default_factory=dict)
    own: Mapping[str, tuple[PublicKey, ...]] = field(default_factory=dict)
    github: tuple[Identity, ...] = ()
    issuer_keys: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)

    def person_called(self, name: str) -> Person | None:
        """Return who has this name or login."""
        return next((one for one in self.people if one.is_called(name)), None)

    def person_of(self, key_id: str) -> Person | None:
        """Return whose key this is."""
        return next((one for one in self.people if any(key.key_id == key_id for key in one.keys)), None)

    @property
    def people_keys(self) -> dict[str, PublicKey]:
        """Keys of all listed people, by id."""
        return {key.key_id: key for one in self.people for key in one.keys}

    def keys_for(self, use: Use, environment: str) -> dict[str, PublicKey]:
        """Return the keys that may sign for a use, by id: the listed ones; in a demo also this machine's own."""
        listed = self.machines.get(use, ())
        own = () if environment == "production" else self.own.get(use, ())
        return {key.key_id: key for key in (*listed, *own)}


def project_trust(project: Project) -> Trust:
    """Return whose signature counts in a project.

    Raises:
        ConfigError: infra/approvers.yaml has a mistake, or a key of this machine cannot be read.
    """
    own: dict[str, tuple[PublicKey, ...]] = {use: (machine_signer(project, use).public,) for use in USES}
    trust = read_trust(project.root / APPROVERS, own=own)
    fetched = {one.issuer: kept_keys(project, one.issuer) for one in trust.github if one.jwks is None}
    return replace(trust, issuer_keys={**fetched, **trust.issuer_keys})


def known_hosts(project: Project, lines: Iterable[str] = ()) -> dict[str, PublicKey]:
    """Return the keys that hosts sign what they kept with, by id: the listed ones, this machine's, and those given."""
    given = [PublicKey.of_line(line) for line in lines]
    return project_trust(project).keys_for("host", "demo") | {key.key_id: key for key in given}


def read_trust(path: Path, *, own: Mapping[str, tuple[PublicKey, ...]] | None = None) -> Trust:
    """Return who is listed in a file; nobody where there is none.

    Raises:
        ConfigError: a key is none, a name or a key stands twice, or a field is unknown; all of them at once.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", f"git diff {APPROVERS}") from error
    value = value or {}
    problems = list(_problems(value))
    if problems:
        lines = [f"{path}: these lists cannot be relied on", *(f"  {line}" for line in problems)]
        raise ConfigError("\n".join(lines), f"mend {APPROVERS}; its head says what stands in it")
    people = tuple(
        Person(one["name"], tuple(one.get("logins") or ()), tuple(one.get("roles") or ()), _keys(one))
        for one in value.get("people") or ()
    )
    machines: dict[str, tuple[PublicKey, ...]] = {
        use: tuple(key for one in value.get("machines") or () if use in one["uses"] for key in _keys(one))
        for use in USES
    }
    github = tuple(Identity(**one) for one in value.get("github") or ())
    return Trust(people, machines, own or {}, github, listed_keys(path.parent, github))


def folded(name: str) -> str:
    """Return a name in one spelling: "Li Wei", "li  wei" and full-width letters are the same."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _keys(entry: Mapping[str, Any]) -> tuple[PublicKey, ...]:
    """Return the keys of a person or machine."""
    return tuple(PublicKey.of_line(line) for line in entry.get("keys") or ())


def _problems(value: Any) -> Iterator[str]:
    """Yield what is wrong with the lists."""
    if not isinstance(value, dict) or not set(value) <= {"people", "machines", "github"}:
        yield "it has other parts than people, machines and github"
        return
    yield from identity_problems(value.get("github"))
    seen: dict[str, str] = {}
    owner: dict[str, str] = {}
    for kind, fields in (("people", PERSON), ("machines", MACHINE)):
        for entry in value.get(kind) or ():
            if not isinstance(entry, dict) or not set(entry) <= fields or not str(entry.get("name", "")).strip():
                yield f"{kind}: an entry needs a name, and has no other fields than {', '.join(sorted(fields))}"
                continue
            name = str(entry["name"])
            for spelling in {folded(str(one)) for one in (name, *(entry.get("logins") or ()))}:
                if spelling in seen:
                    yield f"{name} and {seen[spelling]} are the same name: one person is listed once"
                seen[spelling] = name
            if kind == "machines" and not set(entry.get("uses") or ()) & set(USES):
                yield f"{name}: uses are {' and '.join(USES)}"
            yield from _key_problems(entry, name, owner)


def _key_problems(entry: Mapping[str, Any], name: str, owner: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with the keys of one entry; notes whose they are."""
    for line in entry.get("keys") or ():
        try:
            key = PublicKey.of_line(line, name)
        except ConfigError as error:
            yield error.message
            continue
        if owner.setdefault(key.key_id, name) != name:
            yield f"key {key.key_id} is listed for {owner[key.key_id]} and for {name}"
