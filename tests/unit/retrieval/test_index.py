"""The index on disk, searching it, and its place beside the model's own lineage."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from click.testing import CliRunner

from tasks.cli.index import index as command
from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.core.manifest import verify_manifest
from tasks.retrieval.index import build_index, is_stale, read_index
from tasks.stages.lineage import parts_of
from tasks.stages.table import find_stages
from tests.unit.retrieval.corpora import ROOT, written

DOCUMENTS = {
    "iodine.md": "成人一次服碘化钾 130 mg。\n\n## 时间\n\n照射前 24 小时内服用最好。",
    "shelter.md": "关闭门窗和通风，待在内侧房间。",
    "levels.md": "撤离的干预水平是 50 mSv。",
}


@pytest.fixture
def built(tmp_path):
    project, settings = written(tmp_path, DOCUMENTS)
    build_index(project, settings)
    return project, settings


def test_the_same_documents_give_the_same_bytes(built):
    project, settings = built
    first = verify_manifest(project.root / "data/index")
    assert build_index(project, settings) == first
    assert first["lineage_id"].startswith("ix-")
    assert set(first["parts"]) == {"corpus", "settings", "code"}


def test_questions_find_their_passages_in_any_spelling(built):
    index = read_index(*built)
    for question, wanted in (("成年人吃多少毫克？", "iodine"), ("0.05 希沃特", "levels"), ("關閉門窗", "shelter")):
        hits = index.search(question, 3)
        assert hits[0].passage.document == wanted
        assert 0 < hits[0].share <= 1
        assert [one.score for one in hits] == sorted((one.score for one in hits), reverse=True)
    assert index.search("比特币价格", 3) == index.search("？", 3) == []


def test_a_changed_byte_other_settings_and_a_changed_corpus_are_seen(built):
    project, settings = built
    folder = project.root / "data/index"
    assert not is_stale(project, settings, read_index(project, settings))
    (project.root / "data/raw/corpus/shelter.md").write_text("---\ntitle: t\nsource: s\nversion: '2'\n---\n\n开窗。\n")
    assert is_stale(project, settings, read_index(project, settings))
    other = settings.model_copy(update={"index": settings.index.model_copy(update={"passage_characters": 99})})
    with pytest.raises(DataContractError, match="built with other settings"):
        read_index(project, other)
    with (folder / "passages.jsonl").open("a") as stream:
        stream.write("\n")
    with pytest.raises(DataContractError, match=r"differs from its manifest: passages\.jsonl"):
        read_index(project, settings)


def test_a_failed_build_leaves_the_index_that_was_there(built):
    project, settings = built
    before = verify_manifest(project.root / "data/index")
    (project.root / "data/raw/corpus/bad.md").write_bytes(b"\xff")
    with pytest.raises(DataContractError, match=r"bad\.md"):
        build_index(project, settings)
    assert verify_manifest(project.root / "data/index") == before


def test_without_an_index_the_command_that_makes_one_is_named(tmp_path):
    project, settings = written(tmp_path, DOCUMENTS)
    with pytest.raises(DataContractError, match="tunegate index build"):
        read_index(project, settings)


def test_the_commands_give_json(built, monkeypatch):
    monkeypatch.chdir(built[0].root)
    monkeypatch.setenv("TUNEGATE_ROOT", str(built[0].root))
    run = CliRunner()
    manifest = json.loads(run.invoke(command, ["build", "--json"], catch_exceptions=False).stdout)
    assert manifest["files"].keys() >= {"passages.jsonl", "documents.jsonl", "vocab.index.json"}
    (hit, *_) = json.loads(run.invoke(command, ["search", "碘化钾 成人", "--json"], catch_exceptions=False).stdout)
    assert (hit["document"], hit["title"], hit["source"]) == ("iodine", "碘片须知", "自撰")
    assert "share" in run.invoke(command, ["search", "碘化钾"], catch_exceptions=False).stdout


def test_a_changed_document_changes_no_lineage_of_a_model_and_dvc_does_not_see_it(tmp_path):
    project, settings = written(tmp_path, DOCUMENTS)
    (stage,) = find_stages("prepare")
    for path in stage.code:
        (project.root / path).parent.mkdir(parents=True, exist_ok=True)
        (project.root / path).touch()
    (project.root / "data/raw/instructions").mkdir()

    def raw() -> dict[str, str]:
        return parts_of(stage, project.root, settings, {}, None).digests["raw"]

    before = raw()
    (project.root / "data/raw/corpus/shelter.md").write_text("changed")
    assert raw() == before
    (project.root / "data/raw/instructions/a.jsonl").write_text("{}")
    assert raw() != before
    assert {"/data/raw/corpus", "/data/raw/eval/retrieval"} <= set((ROOT / ".dvcignore").read_text().split())


class _Vectors(BaseHTTPRequestHandler):
    """A real endpoint whose vectors know that 吃药 means 服碘."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(asked)
        rows = [{"index": place, "embedding": self._vector(text)} for place, text in enumerate(asked["input"])]
        body = json.dumps({"data": rows[::-1][: self.server.rows]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def _vector(self, text: str) -> list[float]:
        topics = (("碘", "吃药"), ("门窗", "躲"), ("mSv", "走"))
        return [1.0 if any(word in text for word in topic) else 0.01 for topic in topics]

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), _Vectors)
    server.seen, server.rows = [], None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("TUNEGATE_VECTORS_URL", f"http://127.0.0.1:{server.server_port}/v1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


VECTORS = {"model": "e5", "query_prefix": "query: ", "passage_prefix": "passage: ", "least_similarity": 0.8}


def test_meaning_finds_what_words_do_not_and_both_are_fused(tmp_path, endpoint):
    project, settings = written(tmp_path, DOCUMENTS, vectors=VECTORS)
    build_index(project, settings)
    index = read_index(project, settings)
    by_meaning = index.search("该吃药了", 2)
    assert {one.passage.document for one in by_meaning} == {"iodine"}
    assert by_meaning[0].similarity > 0.99
    assert index.search("关闭门窗", 1)[0].passage.document == "shelter"
    assert endpoint.seen[0]["input"][0].startswith("passage: ")
    assert endpoint.seen[-1]["input"] == ["query: 关闭门窗"]
    assert "vectors.npy" in verify_manifest(project.root / "data/index")["files"]


def test_a_lost_embedding_model_is_an_error_and_never_search_by_words_alone(tmp_path, endpoint, monkeypatch):
    project, settings = written(tmp_path, DOCUMENTS, vectors=VECTORS)
    build_index(project, settings)
    index = read_index(project, settings)
    endpoint.rows = 0
    with pytest.raises(TransientError, match="0 vectors for 1 texts"):
        index.search("碘", 1)
    monkeypatch.delenv("TUNEGATE_VECTORS_URL")
    with pytest.raises(ConfigError, match="TUNEGATE_VECTORS_URL is no http"):
        read_index(project, settings)


def test_settings_are_checked():
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    assert params["index"]["vectors"] is None
    assert params["serve"]["grounded"]["mode"] == "asked"
