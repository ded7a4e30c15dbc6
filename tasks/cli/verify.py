"""`tunegate verify`: needs click, cryptography and PyYAML alone for a bundle (infra/environments/verify.lock)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.errors import ConfigError, DataContractError

if TYPE_CHECKING:
    from tasks.proof.chain import Link


@click.command()
@click.argument("what", metavar="VERSION|BUNDLE")
@click.option("--approvers", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="For a bundle: whose signatures count, in the form of infra/approvers.yaml.")  # fmt: skip
@click.option("--key", multiple=True, help="For a bundle: public key that may sign records (ssh-ed25519 ...).")
@click.option("--environment", type=click.Choice(["demo", "production"]), default="production", show_default=True,
              help="For a bundle: where it shall go live.")  # fmt: skip
@click.option("--approvals", type=click.IntRange(min=0), default=2, show_default=True,
              help="For a bundle: how many listed people must have approved.")  # fmt: skip
@json_option
def verify(what: str, approvers: Path | None, key: tuple[str, ...], as_json: bool, **policy: Any) -> None:
    """Show the chain of a VERSION or a BUNDLE link by link: record, every file, gate, rules, approvals.

    A bundle is verified offline and without a project, by --approvers or --key. Exit code 3 where a link does not hold.
    """
    if Path(what).is_file():
        _told(what, _bundle_links(Path(what), approvers, key, **policy), as_json=as_json)
        return
    from tasks.release.proofs import chain, policy_of
    from tasks.release.registry import Registry

    project, settings = project_and_settings()
    registry = Registry(project, settings.register_.model_name)
    version = registry.version(what)
    links = chain(registry, version, policy_of(settings.promote), files=True, weights=not version.pruned)
    _told(f"version {what}", links, as_json=as_json)


def _bundle_links(
    path: Path, approvers: Path | None, keys: Sequence[str], environment: str, approvals: int
) -> "list[Link]":
    """Return the chain of a bundle, by what the caller trusts."""
    from tasks.proof.bundle import bundle_links
    from tasks.proof.chain import Policy
    from tasks.proof.keys import PublicKey
    from tasks.proof.trust import Trust, read_trust

    if approvers is None and not keys:
        raise ConfigError("whose signatures count is not said: a bundle cannot vouch for itself",
                          f"tunegate verify {path} --approvers FILE, or --key KEY")  # fmt: skip
    trust = read_trust(approvers) if approvers else Trust()
    given = tuple(PublicKey.of_line(line) for line in keys)
    machines = {**trust.machines, "release": (*trust.machines.get("release", ()), *given)}
    trust = replace(trust, machines=machines)
    return bundle_links(path, trust, Policy(environment, approvals))


def _told(what: str, links: "list[Link]", *, as_json: bool) -> None:
    """Print a chain; refuse a broken one by its first broken link."""
    lines = [f"{'ok    ' if link.holds else 'BROKEN'} {link.name:<11} {link.words}" for link in links]
    link = next((link for link in links if not link.holds), None)
    value = {"what": what, "holds": link is None, "links": [one.row() for one in links]}
    emit(value, as_json=as_json, text="\n".join(lines))
    if link is not None:
        raise DataContractError(f"{what}: {link.name}: {link.words}", "ask where it came from; docs/proof.md")
