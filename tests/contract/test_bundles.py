"""A version in one file: verified with one small dependency set, installed elsewhere, refused where it was forged."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.cli.main import cli
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.project import Project
from tasks.proof.bundle import bundle_links
from tasks.proof.chain import Policy, broken
from tasks.proof.signers import machine_signer
from tasks.proof.trust import APPROVERS, project_trust
from tasks.release.proofs import chain
from tasks.release.registry import Registry
from tasks.release.travel import bundle, install
from tests.unit.release.conftest import PEOPLE, ROOT, list_approvers

pytestmark = pytest.mark.slow
TWO = Policy("demo", 2)
#: What a bundle may be verified with: the standard library, our own code, and infra/environments/verify.lock.
ALONE = """
import sys
allowed = set(sys.stdlib_module_names) | {"tasks", "click", "cryptography", "_cffi_backend", "cffi", "yaml", "_yaml"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from tasks.cli.main import main
main()
"""


@pytest.fixture
def packed(world, tmp_path):
    """Version 1 with its weights in a file."""
    bundle(world.registry, world.version(), tmp_path / "v1.tar", weights=True)
    return tmp_path / "v1.tar"


def test_it_is_verified_with_one_small_set_of_packages_and_without_a_project(world, packed, tmp_path):
    key = machine_signer(world.project, "release").public.line
    words = ["verify", str(packed), "--approvers", str(world.project.root / APPROVERS), "--environment", "demo"]

    def run(*more: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-B", "-c", ALONE, *words, *more]
        # An empty folder, and nothing of this project in the environment.
        return subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
                              check=False)  # fmt: skip

    done = run("--key", key, "--json")
    assert done.returncode == 0, done.stderr
    links = [link["link"] for link in json.loads(done.stdout)["links"]]
    assert links[0] == "record"
    assert {"weights", "evaluation", "verdict", "dossier", "sbom", "locks", "code", "approvals"} <= set(links)
    other = run()
    assert other.returncode == 3
    assert "record: it is signed by a key that is not listed" in other.stderr
    assert run("--key", key, "--approvals", "3").returncode == 3


def test_a_bundle_does_not_vouch_for_itself(packed):
    refused = CliRunner().invoke(cli, ["verify", str(packed)], standalone_mode=False).exception
    assert isinstance(refused, ConfigError)
    assert "cannot vouch for itself" in refused.message


def test_without_weights_it_is_small_and_says_so(world, tmp_path):
    bundle(world.registry, world.version(), tmp_path / "small.tar", weights=False)
    links = bundle_links(tmp_path / "small.tar", project_trust(world.project), TWO)
    assert broken(links) is None
    assert "not in the bundle" in next(link for link in links if link.name == "weights").words
    with pytest.raises(ConfigError, match="has no weights"):
        install(world.project, world.settings, tmp_path / "small.tar")
    with pytest.raises(ConfigError, match="exists already"):
        bundle(world.registry, world.version(), tmp_path / "small.tar", weights=False)


def rewritten(path: Path, *, drop: str = "", replace: dict[str, bytes] | None = None, add: list | None = None) -> Path:
    """The archive without some entries, with others changed or added."""
    target = path.with_name("forged.tar")
    with tarfile.open(path) as source, tarfile.open(target, "w") as archive:
        for entry in source:
            if drop and entry.name.startswith(drop):
                continue
            data = (replace or {}).get(entry.name) or source.extractfile(entry).read()
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry, data in add or ():
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return target


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


FORGERIES = {
    "a file missing": ({"drop": "reports/dossier/card.json"}, "dossier: reports/dossier/card.json is missing"),
    "the weights missing": ({"drop": "model/"}, "weights: their manifest is missing"),
    "one weight file missing": ({"drop": "model/config.json"}, "not in the bundle"),
    "an extra file": ({"add": [(named("reports/gate/note.txt"), b"x")]}, "verdict: reports/gate/note.txt is not in"),
    "an extra folder": ({"add": [(named("other/note.txt"), b"x")]}, "bundle: it holds 'other/note.txt'"),
    "a file out of its folder": ({"add": [(named("model/../../x"), b"x")]}, "bundle: it holds 'model/../../x'"),
    "an absolute name": ({"add": [(named("/tmp/x"), b"x")]}, "bundle: it holds '/tmp/x'"),
    "a link": ({"add": [(named("model/x", tarfile.SYMTYPE, "/etc/passwd"), b"")]}, "bundle: it holds 'model/x'"),
    "a name twice": ({"add": [(named("release/record.dsse.json"), b"{}")]}, "bundle: it holds 'release/record"),
    "the record missing": ({"drop": "release/record"}, "record: it has no release record"),
    "the approvals missing": ({"drop": "signed/"}, "approvals: 0 of 2"),
    "the dossier of another": ({"replace": {"reports/dossier/card.json": b"{}"}}, "dossier: reports/dossier/card.json"),
}


@pytest.mark.parametrize(("forge", "link"), FORGERIES.values(), ids=FORGERIES)
def test_a_forged_bundle_is_refused(world, packed, forge, link):
    links = bundle_links(rewritten(packed, **forge), project_trust(world.project), TWO)
    if "not in the bundle" in link:
        # Of weights none or all travel; these are all but one, and there was one.
        assert next(one for one in links if one.name == "weights").words.startswith(link)
        return
    found = broken(links)
    assert found is not None
    assert link in f"{found.name}: {found.words}"


def test_what_is_no_bundle_is_told(world, tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no archive" * 200)
    assert "is no bundle" in broken(bundle_links(tmp_path / "x.tar", project_trust(world.project), TWO)).words


def test_it_is_installed_elsewhere_by_that_sites_own_list(world, packed, tmp_path_factory):
    site = Project(tmp_path_factory.mktemp("site"))
    shutil.copyfile(ROOT / "params.yaml", site.root / "params.yaml")
    with pytest.raises(DataContractError, match="record: it is signed by a key that is not listed"):
        install(site, world.settings, packed)
    list_approvers(site, machines=[machine_signer(world.project, "release")])
    version = install(site, world.settings, packed)
    assert install(site, world.settings, packed).number == version.number == "1"
    registry = Registry(site, world.settings.register_.model_name)
    links = chain(registry, version, TWO, files=True, weights=True)
    assert broken(links) is None
    assert version.lineage_id == "tg-1"
    assert "2 of 2 approvals" in links[-1].words
    list_approvers(site, people={"李审": PEOPLE["李审"]}, machines=[machine_signer(world.project, "release")])
    assert broken(chain(registry, version, TWO)).name == "approvals"


def test_the_small_set_is_that_of_the_pipeline():
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / "infra/environments" / name).read_text().splitlines()
        found = [line.partition(";")[0].strip().partition("==") for line in lines if "==" in line]
        return {package.lower(): version for package, _, version in found}

    small, whole = pins("verify.lock"), pins("pipeline.lock")
    assert set(small) == {"click", "cryptography", "cffi", "pycparser", "pyyaml"}
    assert small == {name: whole[name] for name in small}
