"""What may become a document: everything else is refused by its file's name, all at once."""

import json

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_jsonl
from tasks.retrieval.documents import read_corpus
from tasks.retrieval.index import build_index
from tests.unit.retrieval.corpora import document, written


def read(root, documents, **index):
    project, settings = written(root, documents, **index)
    return read_corpus(project.root / "data/raw/corpus", settings.index, lambda text: (text, {}, ()))


def test_markdown_text_and_json_lines_with_title_source_and_version(tmp_path):
    row = {"id": "row-1", "title": "隐蔽", "source": "自撰", "version": "2", "text": "关好门窗。"}
    corpus = read(tmp_path, {"b.md": "# 碘\n\n照射前服用。", "sub/a.txt": "正文。", "rows.jsonl": json.dumps(row),
                             "README.md": "about the folder"})  # fmt: skip
    assert [one.id for one in corpus.documents] == ["a", "b", "row-1"]
    assert corpus.documents[0].version == "2026-11-30"


@pytest.mark.parametrize(("name", "content", "words"), [
    ("gb.md", document("碘片").encode("gb18030"), "is not UTF-8"),
    ("nul.md", document("碘\0片").encode(), "holds NUL"),
    ("lost.md", document("碘\ufffd片").encode(), "U\\+FFFD"),
    ("bare.md", "碘片".encode(), "no front matter"),
    ("yaml.md", b"---\ntitle: [\n---\nx\n", "no YAML"),
    ("list.md", b"---\n- title\n---\nx\n", "no list of names"),
    ("field.md", document("x", author="w").encode(), "author: Extra inputs"),
    ("empty.md", document("").encode(), "text: String should have at least 1"),
    ("untitled.md", document("x", title="").encode(), "title: String"),
    ("scan.pdf", b"%PDF", "is no document"),
    ("rows.jsonl", b'{"id": 1}\n{', "rows.jsonl:1: id: Input should be a valid string"),
    ("big.md", document("水" * 500_000).encode(), "index.max_file_mib allows 1"),
])  # fmt: skip
def test_what_is_no_document_is_refused_by_name_beside_a_sound_one(tmp_path, name, content, words):
    written(tmp_path, {"sound.md": "正文。"})
    (tmp_path / "data/raw/corpus" / name).write_bytes(content)
    with pytest.raises(DataContractError, match=words) as caught:
        read(tmp_path, {}, max_file_mib=1)
    assert name in caught.value.message
    assert "sound.md" not in caught.value.message


def test_ids_stand_once_across_files_and_lines(tmp_path):
    row = {"id": "a", "title": "t", "source": "s", "version": "1", "text": "x"}
    with pytest.raises(DataContractError, match=r"id a stands twice \(first in a\.md\)"):
        read(tmp_path, {"a.md": "x", "z.jsonl": json.dumps(row)})


def test_a_link_out_of_the_corpus_is_not_followed(tmp_path):
    written(tmp_path, {"a.md": "x"})
    (tmp_path / "secret.md").write_text(document("secret"), "utf-8")
    (tmp_path / "data/raw/corpus/b.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(DataContractError, match=r"b\.md: is a link that leads out"):
        read(tmp_path, {})


def test_too_many_none_and_no_folder(tmp_path):
    with pytest.raises(DataContractError, match=r"2 documents, index\.max_documents allows 1"):
        read(tmp_path, {"a.md": "x", "b.md": "y"}, max_documents=1)
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="does not exist"):
        read(tmp_path / "other", {})
    (tmp_path / "other/data/raw/corpus").mkdir(parents=True)
    with pytest.raises(DataContractError, match="holds no document"):
        read(tmp_path / "other", {})


def test_personal_data_is_replaced_and_counted_and_a_policy_of_drop_refuses(tmp_path):
    project, settings = written(tmp_path, {"a.md": "值班联系人电话13912345678。碘片在照射前服用。"})
    manifest = build_index(project, settings)
    texts = "".join(row["text"] for row in read_jsonl(tmp_path / "data/index/passages.jsonl"))
    assert manifest["masks"] == {"a": {"mobile": 1}}
    assert "[MOBILE]" in texts
    assert "13912345678" not in (tmp_path / "data/index/vocab.index.json").read_text("utf-8") + texts
    policies = settings.prepare.privacy.policies.model_copy(update={"mobile": "drop"})
    privacy = settings.prepare.privacy.model_copy(update={"policies": policies})
    strict = settings.model_copy(update={"prepare": settings.prepare.model_copy(update={"privacy": privacy})})
    with pytest.raises(DataContractError, match=r"a\.md: holds personal data that refuses it .*mobile"):
        build_index(project, strict)
