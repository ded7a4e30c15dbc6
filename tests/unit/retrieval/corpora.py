"""A small project with documents, and its index."""

import json
from pathlib import Path

import yaml

from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings

ROOT = Path(__file__).parents[3]


def written(root: Path, documents: dict[str, str], **index: object) -> tuple[Project, Settings]:
    """Return a project that holds these files in its corpus.

    Args:
        documents: file name -> its text, of a .md or .txt without front matter.
        index: settings of section `index` that differ from the shipped ones.
    """
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    params["index"] |= index
    (root / "dvc.yaml").touch()
    (root / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")
    for name, text in documents.items():
        path = root / "data/raw/corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document(text) if name.endswith((".md", ".txt")) else text, "utf-8")
    return Project(root), load_settings(root / "params.yaml")


def document(text: str, **about: str) -> str:
    """Return a document's file: front matter and text."""
    head = {"title": "碘片须知", "source": "自撰", "version": "2026-11-30"} | about
    return (
        "---\n"
        + "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in head.items())
        + (f"---\n\n{text}\n")
    )
