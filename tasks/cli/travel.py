"""`tunegate bundle | sign-weights | install`."""

from pathlib import Path

import click

from tasks.cli.main import emit, json_option, project_and_settings


@click.command()
@click.argument("version")
@click.option("--to", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file.")
@click.option("--weights", is_flag=True, help="With the weights: what `tunegate install` needs.")
@json_option
def bundle(version: str, target: Path, weights: bool, as_json: bool) -> None:
    """Write VERSION with record, approvals, reports, dossier and bill of materials into one file.

    `tunegate verify FILE` checks it anywhere, without a project and offline.
    """
    from tasks.release.registry import Registry
    from tasks.release.travel import bundle as write

    project, settings = project_and_settings()
    registry = Registry(project, settings.register_.model_name)
    write(registry, registry.version(version), target, weights=weights)
    size = target.stat().st_size
    text = f"{target}: version {version}, {size / (1 << 20):.1f} MiB\n  next: tunegate verify {target} --approvers FILE"
    emit({"version": version, "file": str(target), "bytes": size, "weights": weights}, as_json=as_json, text=text)


@click.command("sign-weights")
@click.argument("version")
@click.option("--to", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The signature.")
@click.option("--key", help="A P-256 key: FILE, agent:COMMENT or pkcs11:LABEL; without it this machine's release key.")
@json_option
def sign_weights(version: str, target: Path, key: str | None, as_json: bool) -> None:
    """Sign the weights of VERSION for people who have OpenSSF's model-signing and not this project.

    The public key is written beside the signature. Give away both, and the files of the folder that is named.
    """
    from tasks.proof.signers import load_signer, machine_signer
    from tasks.release.registry import Registry
    from tasks.release.travel import sign_weights as sign

    project, settings = project_and_settings()
    signer = load_signer(key) if key else machine_signer(project, "release")
    registry = Registry(project, settings.register_.model_name)
    folder, public = sign(registry, registry.version(version), target, signer)
    command = f"model_signing verify key {folder} --signature {target} --public_key {public}"
    facts = {"version": version, "signature": str(target), "public_key": str(public), "folder": str(folder)}
    emit(facts, as_json=as_json, text=f"{target}: the weights of version {version} in {folder}\n  next: {command}")


@click.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def install(path: Path, as_json: bool) -> None:
    """Register the version in the bundle PATH here, with its approvals, by this site's own infra/approvers.yaml."""
    from tasks.release.travel import install as register

    project, settings = project_and_settings()
    version = register(project, settings, path)
    text = f"{path} is version {version.number} here\n  next: tunegate promote {version.number}"
    emit({"version": version.number, "lineage_id": version.lineage_id}, as_json=as_json, text=text)
