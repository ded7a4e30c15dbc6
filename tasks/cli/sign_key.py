"""`tunegate sign-key new | show`."""

from pathlib import Path

import click

from tasks.cli.main import emit, json_option
from tasks.core.errors import ConfigError
from tasks.core.project import Project


@click.group("sign-key")
def sign_key() -> None:
    """Make and show keys that sign releases, approvals and logs (not the gateway's API keys: `tunegate keys`)."""


@sign_key.command("new")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--algorithm", type=click.Choice(["ed25519", "p256"]), default="ed25519", show_default=True)
@json_option
def new(path: Path, algorithm: str, as_json: bool) -> None:
    """Make a private key at PATH, for its owner alone; encrypted where TUNEGATE_KEY_PASSPHRASE is set."""
    from tasks.proof.signers import make_key

    if path.exists():
        raise ConfigError(f"{path} exists already", "name another file; tunegate sign-key show PATH shows this one")
    public = make_key(path, algorithm="p256" if algorithm == "p256" else "ed25519")
    emit({"key_id": public.key_id, "public": public.line, "path": str(path)}, as_json=as_json, text=public.line)


@sign_key.command("show")
@click.argument("source", required=False)
@json_option
def show(source: str | None, as_json: bool) -> None:
    """Show the public half of a key, as a line for infra/approvers.yaml.

    SOURCE is a file, agent:COMMENT or pkcs11:LABEL; without it both keys of this machine are shown.
    """
    from tasks.proof.signers import load_signer, machine_signer

    if source:
        found = {source: load_signer(source).public}
    else:
        project = Project.here()
        found = {use: machine_signer(project, use).public for use in ("release", "host")}
    facts = [{"name": name, "key_id": key.key_id, "public": key.line} for name, key in found.items()]
    text = "\n".join(f"{key.line} {name}" for name, key in found.items())
    emit(facts, as_json=as_json, text=text)
