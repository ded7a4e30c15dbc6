"""Which weights an export of a version takes. The registry is a stand-in: where its files lie is tested elsewhere."""

from types import SimpleNamespace

import pytest

from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.layout import AWQ, MERGED
from tasks.core.manifest import MANIFEST, write_manifest
from tasks.core.project import Project
from tasks.release.exports import require_hop, source_of_run, source_of_version


def hop(folder, lineage_id, **facts):
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(lineage_id.encode())
    write_manifest(folder, {"stage": "made", "lineage_id": lineage_id, **facts})
    return folder


@pytest.fixture
def project(tmp_path):
    """A checkout with a finished run."""
    merged = hop(tmp_path / MERGED, "tg-merged")
    inputs = {"merged": {"lineage_id": "tg-merged", "manifest_sha256": sha256_file(merged / MANIFEST)}}
    hop(tmp_path / AWQ, "tg-awq", inputs=inputs)
    return Project(tmp_path)


class OneVersion:
    """A registry with version 3, whose weights are those of the run."""

    def __init__(self, project):
        self.project = project

    def version(self, number):
        return SimpleNamespace(number=number, lineage_id="tg-awq")

    def weights(self, version):
        return self.project.root / AWQ


def test_the_finished_run(project):
    source = source_of_run(project, "merged")
    assert (source.hop, source.lineage_id, source.version) == ("merged", "tg-merged", None)
    assert source_of_run(project, "awq").lineage_id == "tg-awq"


def test_a_version_leads_to_the_merged_weights_it_was_made_from(project):
    source = source_of_version(project, OneVersion(project), "3", "merged")
    assert source.row() == {
        "hop": "merged", "lineage_id": "tg-merged", "version": "3", "version_lineage_id": "tg-awq",
        "manifest_sha256": sha256_file(project.root / MERGED / MANIFEST),
    }  # fmt: skip
    assert source_of_version(project, OneVersion(project), "3", "awq").folder == project.root / AWQ


def test_merged_weights_of_another_run_are_refused(project):
    write_manifest(project.root / MERGED, {"stage": "made", "lineage_id": "tg-another"})
    with pytest.raises(DataContractError, match=r"not what version 3 was made from: it is tg-another"):
        source_of_version(project, OneVersion(project), "3", "merged")
    (project.root / MERGED / MANIFEST).unlink()
    with pytest.raises(DataContractError, match=r"absent or incomplete"):
        source_of_version(project, OneVersion(project), "3", "merged")


def test_changed_merged_weights_are_refused(project):
    (project.root / MERGED / "model.safetensors").write_bytes(b"other")
    with pytest.raises(DataContractError, match=r"differs from its manifest: model.safetensors"):
        source_of_version(project, OneVersion(project), "3", "merged")


def test_4_bit_weights_are_not_rounded_twice():
    require_hop("awq", "safetensors")
    for what in ("gguf", "ollama"):
        with pytest.raises(ConfigError, match="rounded twice"):
            require_hop("awq", what)
