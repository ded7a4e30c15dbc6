"""A project of all stages in little, in git, and clones of it that have nothing in common but a DVC remote."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tasks.core.layout import MERGED
from tasks.core.project import Project
from tasks.stages.table import STAGES

ROOT = Path(__file__).parents[2]
REMOTE = "hand"
CODE = ("flows", "tasks", "infra")

ON_GPU = "judged=next(iter(model), None),\n        gpu=True,"

#: What every stage is here: it writes down what it read. The rest is what `register` looks for.
STAGE = '''"""One stage in little."""
import sys
from pathlib import Path

from tasks.core.digest import sha256_file
from tasks.core.files import write_json, write_text
from tasks.core.layout import ADAPTER, DOSSIER, GATE
from tasks.core.manifest import write_manifest
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.proof.rules import fix_rules
from tasks.stages.table import find_stages

(stage,) = find_stages(sys.argv[1])
root = Path.cwd()
out = root / stage.output
read = [path for name in stage.inputs.values() for path in sorted((root / name).rglob("*")) if path.is_file()]
lines = [f"{path.relative_to(root)} {sha256_file(path)}" for path in [*read, root / "params.yaml"]]
write_text(out / "读了" / "什么.txt", "\\n".join([stage.name, *lines, ""]))
header = {"stage": stage.name, "lineage_id": "tg-1", "parts": {}}
if stage.output == ADAPTER:
    settings = load_settings(root / "params.yaml")
    header["rules_sha256"] = fix_rules(Project(root), settings.gate, "tg-1", resumed=False)
if stage.key == "evaluate":
    write_json(out / "results.json", {"metrics": {"ceval_accuracy": 0.25}, "model": {"fingerprint": []}})
if stage.output == GATE:
    verdict = {"verdict": "FAIL", "demo": True, "lineage_id": "tg-1", "checks": [], "rules": []}
    write_json(out / "verdict.json", verdict)
    write_text(out / "verdict.md", "未通过")
if stage.output == DOSSIER:
    write_text(out / "index.html", "<title>档案</title>")
write_manifest(out, header)
'''


def git_environment() -> dict[str, str]:
    """Return what makes git ask nobody and telemetry silent, with our tools on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    names = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
             for what, value in (("NAME", "t"), ("EMAIL", "t@example.org"))}  # fmt: skip
    return {**names, "PATH": path, "GIT_CONFIG_GLOBAL": "/dev/null", "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}


def run(folder: Path, *command: str) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def dvc_yaml() -> str:
    """Return all stages of the table, with what they read of each other, of the raw data and of params.yaml."""
    stages = {}
    for stage in STAGES:
        out = {stage.output: {"cache": False}} if stage.output == MERGED else stage.output
        reads = list(dict.fromkeys((*stage.inputs.values(), "params.yaml", "stage.py")))
        stages[stage.name] = {"cmd": f"{sys.executable} stage.py {stage.name}", "deps": reads, "outs": [out]}
    # `@` is DVC's own: it makes such names of a foreach.
    return yaml.safe_dump({"stages": _with_foreach(stages)}, allow_unicode=True, sort_keys=False)


def _with_foreach(stages: dict) -> dict:
    """Return stages with those of one `name@item` each in a foreach."""
    found: dict = {}
    for name, stage in stages.items():
        key, _, item = name.partition("@")
        if item:
            each = found.setdefault(key, {"foreach": {}, "do": {"cmd": "${item.cmd}", "deps": ["data/prepared"],
                                                               "outs": ["data/reports/eval/${key}"]}})  # fmt: skip
            each["do"]["deps"] = ["${item.model}", "data/raw", "data/prepared", "params.yaml", "stage.py"]
            model = next((path for path in stage["deps"] if path.startswith("data/models/")), "data/raw/eval")
            each["foreach"][item] = {"cmd": stage["cmd"], "model": model}
        else:
            found[name] = stage
    return found


def make_origin(folder: Path, remote: str, stage: str = STAGE) -> Path:
    """Make the project, with one commit.

    Args:
        folder: where.
        remote: what `hand_over.remote` names: clones are to have it.
        stage: the script of every stage.
    """
    folder.mkdir(parents=True)
    for name in CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    # Four runs of a worker less: what is handed over for an evaluation is what is handed over for training.
    table = folder / "tasks/stages/table.py"
    text = table.read_text("utf-8")
    assert ON_GPU in text
    table.write_text(text.replace(ON_GPU, ON_GPU.replace("True", "False")), "utf-8")
    params = (ROOT / "params.yaml").read_text("utf-8")
    assert "  remote: null" in params
    (folder / "params.yaml").write_text(params.replace("  remote: null", f"  remote: {remote}", 1), "utf-8")
    (folder / "dvc.yaml").write_text(dvc_yaml(), "utf-8")
    (folder / "stage.py").write_text(stage, "utf-8")
    for path, text in {
        "data/raw/rows/一.jsonl": '{"instruction": "碘片何时服用？"}\n',
        "data/raw/eval/题.csv": "题\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    for name in (".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copyfile(ROOT / ".dvc/config", folder / ".dvc/config")
    (folder / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n", "utf-8")
    for command in (("init", "--quiet", "--initial-branch", "main"), ("add", "-A"), ("commit", "--quiet", "-m", "一")):
        run(folder, "git", *command)
    return folder


def clone(origin: Path, folder: Path, remote: Path) -> Project:
    """Clone the project; its DVC has the folder `remote` as the remote of the tests."""
    run(origin.parent, "git", "clone", "--quiet", str(origin), str(folder))
    (folder / ".dvc/config.local").write_text(f"['remote \"{REMOTE}\"']\n    url = {remote}\n", "utf-8")
    return Project(folder)


def contents(root: Path) -> dict[str, bytes]:
    """Return every byte of every stage's output."""
    return {path.relative_to(root).as_posix(): path.read_bytes()
            for stage in STAGES for path in sorted((root / stage.output).rglob("*")) if path.is_file()}  # fmt: skip


def environment_of(project: Project) -> dict[str, str]:
    """Return the environment of a machine that has this clone alone."""
    return {**os.environ, **git_environment(), "TUNEGATE_ROOT": str(project.root), "PYTHONPATH": str(project.root)}
