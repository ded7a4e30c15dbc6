"""What the settings say about raw files is checked before anything runs."""

import json
from pathlib import Path

from tasks.core.project import Project
from tasks.core.settings import FileParams, load_settings
from tasks.machine.columns import check_columns

ROOT = Path(__file__).parents[3]


def test_a_named_column_must_be_in_the_file(tmp_path):
    folder = tmp_path / "data/raw/instructions"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(json.dumps({"来电": "问", "回话": "答"}, ensure_ascii=False) + "\n")
    settings = load_settings(ROOT / "params.yaml")
    project = Project(tmp_path)
    assert check_columns(settings, project) == []

    def checked(name, **columns):
        read = settings.prepare.read.model_copy(update={"files": {name: FileParams(columns=columns)}})
        prepare = settings.prepare.model_copy(update={"read": read})
        (check,) = check_columns(settings.model_copy(update={"prepare": prepare}), project)
        return check

    assert checked("instructions/a.jsonl", instruction="来电", output="回话").outcome == "ok"
    wrong = checked("instructions/a.jsonl", instruction="来电", output="答复")
    assert (wrong.outcome, "答复" in wrong.found, "回话" in wrong.todo) == ("failed", True, True)
    assert checked("instructions/b.jsonl").outcome == "failed"
