"""`tunegate keys create | rotate | limit | list | revoke`."""

import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click

from tasks.cli.main import emit, json_option
from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.serving.keys import PRIORITIES, ROLES, ApiKey, KeyStore, Priority, Role, Terms
from tasks.serving.paths import keys_path

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Lifetime(click.ParamType):
    """How long, as people write it: 30m, 24h, 90d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration."""
        if isinstance(value, timedelta):
            return value
        if (found := re.fullmatch(r"(\d{1,5})([mhd])", value)) is None:
            self.fail(f"{value!r} is no duration: a number and m, h or d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _store() -> KeyStore:
    """Return the keys of the project around the current directory."""
    return KeyStore(keys_path(Project.here()))


@click.group()
def keys() -> None:
    """Create, rotate, limit, list and revoke the gateway's API keys."""


def _limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a key's own limits."""
    for name in ("tokens-per-month", "tokens-per-day", "tokens-per-minute", "requests-per-minute"):
        given = click.option(f"--{name}", type=click.IntRange(min=1), help="Lower than params.yaml allows everybody.")
        command = given(command)
    return command


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="caller", show_default=True,
              help="caller asks the model; evaluator also for log-probabilities of prompts; admin also reads /metrics "
                   "from elsewhere.")  # fmt: skip
@click.option("--priority", type=click.Choice(PRIORITIES), default="interactive", show_default=True,
              help="Who goes first when all places are taken.")  # fmt: skip
@click.option("--expires", type=Lifetime(), help="How long it works: 90d, 24h, 30m. Without it until it is revoked.")
@_limits
@json_option
def create(
    name: str, role: Role, priority: Priority, expires: timedelta | None, as_json: bool, **limits: int | None
) -> None:  # fmt: skip
    """Make a key called NAME and show it: the only time, only its hash is kept."""
    terms = cast(Terms, {**limits, "priority": priority, "author": _author()})
    secret = _store().create(name, role, lives=expires, **terms)
    _show(name, secret, as_json=as_json)


@keys.command()
@click.argument("name")
@click.option("--overlap", type=Lifetime(), default="24h", show_default=True,
              help="How long the old secret works on: 24h, 30m, 0m.")  # fmt: skip
@json_option
def rotate(name: str, overlap: timedelta, as_json: bool) -> None:
    """Make a new secret for the key called NAME and show it; the old one works on for a while."""
    _show(name, _store().rotate(name, overlap, author=_author()), as_json=as_json)


@keys.command()
@click.argument("name")
@click.option("--priority", type=click.Choice(PRIORITIES), help="Who goes first when all places are taken.")
@_limits
@json_option
def limit(name: str, as_json: bool, **changes: Any) -> None:
    """Change limits or priority of the key called NAME, from the next request on."""
    given = {field: value for field, value in changes.items() if value is not None}
    if not given:
        raise ConfigError("nothing to change is given", "tunegate keys limit --help")
    key = _store().limit(name, given, author=_author())
    emit(_facts(key), as_json=as_json, text=_line(key))


def _show(name: str, secret: str, *, as_json: bool) -> None:
    """Print a new secret; it alone goes to standard output."""
    store = _store()
    key = store.find(secret)
    assert key is not None
    emit({**_facts(key), "name": name, "key": secret}, as_json=as_json, text=secret)
    if not as_json:
        ends = f"; it works until {key.expires_at}" if key.expires_at else ""
        click.echo(f"keep it now: it is not shown again{ends}", err=True)


def _author() -> str:
    """Return who asks."""
    from tasks.release.history import requester

    return requester()


@keys.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """List all keys, revoked ones included; never their secrets."""
    found = _store().all()
    lines = [_line(key) for key in found] or ["no keys: tunegate keys create NAME"]
    emit([_facts(key) for key in found], as_json=as_json, text="\n".join(lines))


@keys.command()
@click.argument("name")
@json_option
def revoke(name: str, as_json: bool) -> None:
    """Stop the key called NAME from working, from the next request on."""
    key = _store().revoke(name, author=_author())
    emit(_facts(key), as_json=as_json, text=f"{key.name} was revoked at {key.revoked_at}")


def _facts(key: ApiKey) -> dict[str, Any]:
    """Return what may be shown about a key."""
    facts = {name: value for name, value in asdict(key).items() if name != "sha256"}
    return {**facts, "key_id": key.key_id, "works": key.works(datetime.now(UTC))}


def _line(key: ApiKey) -> str:
    """Return a key as one line."""
    limits = f"{key.requests_per_minute or 'default'} requests/min, {key.tokens_per_minute or 'default'} tokens/min"
    for name, tokens in (("day", key.tokens_per_day), ("month", key.tokens_per_month)):
        limits += f", {tokens} tokens/{name}" if tokens else ""
    by = f" by {key.author}" if key.author else ""
    return (f"{key.name:<24} {key.key_id} {key.role:<9} {key.priority:<11} {_state(key):<34} "
            f"made {key.created_at}{by}  {limits}")  # fmt: skip


def _state(key: ApiKey) -> str:
    """Return whether a key works, and until when."""
    if key.revoked_at:
        return f"revoked {key.revoked_at}"
    if key.expired(datetime.now(UTC)):
        return f"expired {key.expires_at}"
    return f"until {key.expires_at}" if key.expires_at else "live"
