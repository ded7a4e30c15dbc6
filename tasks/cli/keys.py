"""`tunegate keys create | list | revoke`."""

from dataclasses import asdict
from typing import Any

import click

from tasks.cli.main import emit, json_option
from tasks.core.project import Project
from tasks.serving.keys import ROLES, ApiKey, KeyStore, as_role
from tasks.serving.paths import keys_path


def _store() -> KeyStore:
    """Return the keys of the project around the current directory."""
    return KeyStore(keys_path(Project.here()))


@click.group()
def keys() -> None:
    """Create, list and revoke the gateway's API keys."""


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="caller", show_default=True,
              help="caller asks the model; admin also reads /metrics from elsewhere.")  # fmt: skip
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Lower than params.yaml allows everybody.")
@click.option("--tokens-per-minute", type=click.IntRange(min=1), help="Lower than params.yaml allows everybody.")
@json_option
def create(
    name: str, role: str, requests_per_minute: int | None, tokens_per_minute: int | None, as_json: bool
) -> None:  # fmt: skip
    """Make a key called NAME and show it: the only time, only its hash is kept."""
    secret = _store().create(
        name, as_role(role), requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute
    )
    emit({"name": name, "role": role, "key": secret}, as_json=as_json, text=secret)
    if not as_json:
        click.echo("keep it now: it is not shown again", err=True)


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
    key = _store().revoke(name)
    emit(_facts(key), as_json=as_json, text=f"{key.name} was revoked at {key.revoked_at}")


def _facts(key: ApiKey) -> dict[str, Any]:
    """Return what may be shown about a key."""
    return {name: value for name, value in asdict(key).items() if name != "sha256"}


def _line(key: ApiKey) -> str:
    """Return a key as one line."""
    limits = f"{key.requests_per_minute or 'default'} requests/min, {key.tokens_per_minute or 'default'} tokens/min"
    state = f"revoked {key.revoked_at}" if key.revoked_at else "live"
    return f"{key.name:<24} {key.role:<7} {state:<34} made {key.created_at}  {limits}"
