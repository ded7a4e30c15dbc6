"""The export's folder: what it holds, when it is written, when it is left, what is refused."""

import pytest
from safetensors import safe_open

from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError, DataContractError, MissingToolError
from tasks.core.files import read_json
from tasks.core.manifest import MANIFEST, write_manifest
from tasks.core.params.model import BaseModelParams
from tasks.export.export import Request, export, verify_export
from tasks.export.licence import NOTICE
from tasks.export.source import finished
from tests.unit.families import write_family

BASE = BaseModelParams(source="local", id="models/qwen", revision=None, digest=None)


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """A finished merge: a tiny Qwen 2.5 with its manifest."""
    folder = write_family("qwen2.5", tmp_path_factory.mktemp("run") / "merged", model=True, head_dim=16)
    write_manifest(folder, {"stage": "merge", "lineage_id": "tg-0123456789abcdef", "parts": {}})
    return folder


@pytest.fixture
def base(tmp_path):
    """The base's folder, which has a licence."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "LICENSE").write_text("Apache License 2.0\n版权所有\n", encoding="utf-8")
    (folder / "license.py").write_text("raise SystemExit\n")
    return folder


@pytest.fixture
def request_of(merged, base, tmp_path):
    def make(what="gguf", types=("f16",), **changes):
        facts = {
            "what": what, "source": finished(merged, "merged", "3", "tg-version"), "base": BASE, "types": types,
            "context_tokens": 2048, "base_folder": base, "llamacpp_python": tmp_path / "absent",
        }  # fmt: skip
        return Request(**facts | changes)

    return make


def test_a_manifest_proves_what_was_exported(request_of, merged, tmp_path):
    done = export(request_of(types=("f16", "q8_0")), tmp_path / "out")
    assert done["written"]
    manifest = verify_export(tmp_path / "out")
    assert manifest["source"] == {
        "hop": "merged", "lineage_id": "tg-0123456789abcdef", "manifest_sha256": sha256_file(merged / MANIFEST),
        "version": "3", "version_lineage_id": "tg-version",
    }  # fmt: skip
    assert set(manifest["files"]) == {"model-f16.gguf", "model-q8_0.gguf", "LICENSE", NOTICE}
    assert manifest["files"]["model-f16.gguf"] == sha256_file(tmp_path / "out/model-f16.gguf")
    assert set(manifest["stored"]["q8_0"]) == {"F32", "Q8_0"}
    assert str(tmp_path) not in (tmp_path / "out" / MANIFEST).read_text(encoding="utf-8")


def test_the_same_again_writes_nothing(request_of, tmp_path):
    export(request_of(), tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert not export(request_of(), tmp_path / "out")["written"]
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_a_folder_with_something_else_is_left_alone(request_of, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/报告.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"exists and is no export"):
        export(request_of(), tmp_path / "out")
    assert (tmp_path / "out/报告.txt").read_text() == "mine"


@pytest.mark.parametrize("changes", [{"types": ("q8_0",)}, {"what": "safetensors", "types": ()}])
def test_another_export_is_not_overwritten(request_of, tmp_path, changes):
    export(request_of(), tmp_path / "out")
    digest = sha256_file(tmp_path / "out" / MANIFEST)
    with pytest.raises(ConfigError, match=r"holds another export: gguf of hop merged, lineage tg-0123456789abcdef"):
        export(request_of(**changes), tmp_path / "out")
    assert sha256_file(tmp_path / "out" / MANIFEST) == digest


def test_a_changed_file_is_found(request_of, tmp_path):
    export(request_of(), tmp_path / "out")
    with (tmp_path / "out/model-f16.gguf").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x01")
    for again in (lambda: verify_export(tmp_path / "out"), lambda: export(request_of(), tmp_path / "out")):
        with pytest.raises(DataContractError, match=r"differs from its manifest: model-f16.gguf"):
            again()


def test_nothing_is_left_of_an_export_that_failed(request_of, merged, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.export.export.keep_licence", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(request_of(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_a_changed_source_is_refused(merged, tmp_path):
    folder = tmp_path / "merged"
    folder.mkdir()
    for path in merged.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "generation_config.json").write_text("{}")
    with pytest.raises(DataContractError, match=r"differs from its manifest: generation_config.json"):
        finished(folder, "merged")


def test_q4_k_m_asks_for_llama_cpp(request_of, tmp_path):
    with pytest.raises(MissingToolError, match=r"needs llama.cpp's quantizer"):
        export(request_of(types=("q4_k_m",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_safetensors_are_the_hop_byte_for_byte(request_of, merged, tmp_path):
    export(request_of("safetensors", ()), tmp_path / "out")
    manifest = read_json(merged / MANIFEST)
    found = read_json(tmp_path / "out" / MANIFEST)["files"]
    assert found.items() >= manifest["files"].items()
    assert set(found) - set(manifest["files"]) == {"LICENSE", NOTICE}
    with safe_open(tmp_path / "out/model.safetensors", framework="pt") as opened:
        assert {str(opened.get_tensor(name).dtype) for name in opened.keys()} == {"torch.bfloat16"}  # noqa: SIM118


def test_the_licence_of_the_base_goes_along_and_no_code(request_of, tmp_path):
    export(request_of(), tmp_path / "out")
    assert "版权所有" in (tmp_path / "out/LICENSE").read_text(encoding="utf-8")
    assert not (tmp_path / "out/license.py").exists()
    notice = (tmp_path / "out" / NOTICE).read_text(encoding="utf-8")
    assert "tg-0123456789abcdef" in notice
    assert "models/qwen" in notice


def test_a_base_without_a_licence_file_is_said(request_of, tmp_path):
    export(request_of(base_folder=None), tmp_path / "out")
    assert "came without a licence file" in (tmp_path / "out" / NOTICE).read_text(encoding="utf-8")


def test_ollama_gets_a_modelfile_over_its_file(request_of, tmp_path):
    export(request_of("ollama", ("q8_0",)), tmp_path / "out")
    text = (tmp_path / "out/Modelfile").read_text(encoding="utf-8")
    assert "FROM ./model-q8_0.gguf\n" in text
    # As the family's generation config says, and what is silent there as vLLM has it, not as Ollama has it.
    for line in ("temperature 0.7", "top_k 20", "top_p 0.8", "min_p 0", "repeat_penalty 1.05", "num_ctx 2048"):
        assert f"PARAMETER {line}\n" in text
    assert 'PARAMETER stop "<|im_end|>"\n' in text
    assert 'PARAMETER stop "<|endoftext|>"\n' in text
    with pytest.raises(ConfigError, match=r"over one file"):
        export(request_of("ollama", ("f16", "q8_0")), tmp_path / "two")
