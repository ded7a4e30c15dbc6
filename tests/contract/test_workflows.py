"""The GitHub workflows: valid by GitHub's own schema, pinned, with least rights, and safe from what strangers type."""

import copy
import json
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml

from tasks.proof.github import audience

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40}$")
#: What a stranger or a form can fill in: never part of a script, only of its environment.
UNTRUSTED = re.compile(r"\$\{\{\s*(github\.(event|head_ref|ref_name|actor)|inputs|steps|needs|env|secrets|vars)\b")


def load(path: Path) -> dict:
    # YAML 1.1 reads the key `on` as true; GitHub does not.
    return {("on" if key is True else key): value for key, value in yaml.safe_load(path.read_text("utf-8")).items()}


def problems(workflow: dict) -> list[str]:
    """Return what our own rules refuse."""
    found = []
    if workflow.get("permissions") != {"contents": "read"}:
        found.append("permissions")
    if "concurrency" not in workflow:
        found.append("concurrency")
    for name, job in workflow["jobs"].items():
        if "timeout-minutes" not in job:
            found.append(f"{name}: timeout")
        allowed = {("contents", "read"), ("pull-requests", "write")}
        # A token of its own only for a job that a protected environment lets begin.
        allowed |= {("id-token", "write")} if "environment" in job else set()
        if not set(job.get("permissions", {}).items()) <= allowed:
            found.append(f"{name}: permissions")
        for step in job["steps"]:
            if "uses" in step and not PINNED.match(step["uses"]):
                found.append(f"{name}: {step['uses']} is not pinned")
            if UNTRUSTED.search(step.get("run", "")) or UNTRUSTED.search(step.get("with", {}).get("script", "")):
                found.append(f"{name}: an expression inside a script")
            if (
                step.get("uses", "").startswith("actions/checkout@")
                and step["with"].get("persist-credentials") is not False
            ):
                found.append(f"{name}: checkout keeps its token")
    return found


@pytest.fixture(scope="module")
def schema():
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "github-workflows.json"
    return json.loads(vendored.read_text("utf-8"))


def test_the_three_workflows_are_there():
    assert [path.name for path in FILES] == ["ci.yml", "pipeline.yml", "promote.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_workflow_is_valid_and_keeps_our_rules(path, schema):
    workflow = load(path)
    jsonschema.validate(workflow, schema)
    assert problems(workflow) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_pin_says_its_version(path):
    uses = [line for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert uses
    assert all(re.search(r"@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line) for line in uses)


def test_a_push_runs_the_pushed_commit():
    (step,) = [
        step for step in load(FOLDER / "pipeline.yml")["jobs"]["run"]["steps"] if "flows.trigger" in step.get("run", "")
    ]
    assert step["env"]["COMMIT"] == "${{ github.sha }}"
    assert '--commit "$COMMIT"' in step["run"]


def test_one_action_has_one_pin_everywhere():
    pins: dict[str, set[str]] = {}
    for path in FILES:
        for name, commit in re.findall(r"uses: (\S+)@(\S+)", path.read_text("utf-8")):
            pins.setdefault(name, set()).add(commit)
    assert all(len(commits) == 1 for commits in pins.values())


def _with(change) -> dict:
    workflow = copy.deepcopy(load(FOLDER / "promote.yml"))
    change(workflow)
    return workflow


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w["jobs"]["promote"]["steps"][0].update(uses="actions/checkout@v7"), "not pinned"),
        (lambda w: w["jobs"]["promote"]["steps"][0]["with"].clear(), "keeps its token"),
        (lambda w: w["jobs"]["promote"]["steps"][-1].update(run="echo ${{ inputs.reason }}"), "inside a script"),
        (lambda w: w["jobs"]["promote"]["steps"][-1].update(run="echo ${{ github.event.issue.title }}"), "inside"),
        (lambda w: w["jobs"]["promote"].update(permissions={"contents": "write"}), "promote: permissions"),
        (lambda w: w["jobs"]["promote"].pop("environment"), "promote: permissions"),
        (lambda w: w["jobs"]["promote"].pop("timeout-minutes"), "timeout"),
        (lambda w: w.pop("permissions"), "permissions"),
        (lambda w: w.pop("concurrency"), "concurrency"),
    ],
)
def test_a_planted_fault_is_seen(change, said):
    assert any(said in problem for problem in problems(_with(change)))


def test_an_invalid_workflow_is_seen(schema):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_with(lambda w: w["jobs"]["promote"].pop("runs-on")), schema)


def test_ci_runs_the_commands_of_the_readme():
    scripts = [step.get("run", "") for step in load(FOLDER / "ci.yml")["jobs"]["test"]["steps"]]
    assert "make test" in scripts
    assert "make lint" in scripts


def test_pipeline_starts_on_what_changes_the_model_and_only_comments_on_pull_requests():
    workflow = load(FOLDER / "pipeline.yml")
    assert {"params.yaml", "dvc.yaml", "data/**", "tasks/**", "flows/**"} <= set(workflow["on"]["push"]["paths"])
    assert "workflow_dispatch" in workflow["on"]
    assert workflow["jobs"]["run"]["if"] == "github.event_name != 'pull_request'"
    assert workflow["jobs"]["compare"]["if"] == "github.event_name == 'pull_request'"
    # A pull request's code runs in this job: only the key that reads metrics may be near it, and in one step alone.
    steps = workflow["jobs"]["compare"]["steps"]
    near = [set(re.findall(r"secrets\.(\w+)", json.dumps(step))) for step in steps]
    assert [names for names in near if names] == [{"DVC_READ_KEY_ID", "DVC_READ_KEY"}]


def script(job: str, step: str) -> str:
    """Return what a step of pipeline.yml runs."""
    steps = load(FOLDER / "pipeline.yml")["jobs"][job]["steps"]
    return next(item["run"] for item in steps if item.get("name") == step)


def run_script(text: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a step's script as a runner does: bash that ends at the first error."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    done = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize(("reports", "waits"), [("", True), ("false", True), ("true", False)])
def test_a_job_waits_unless_the_worker_reports(tmp_path, reports, waits):
    python = tmp_path / ".venv-client" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    said = run_script(script("run", "Run pipeline/nightly"), tmp_path, COMMIT="6d" * 20, REPORTS=reports).stdout
    assert said.startswith(f"-m flows.trigger pipeline/nightly --commit {'6d' * 20}")
    assert ("--wait" in said) is waits


@pytest.mark.slow
def test_the_comment_says_what_parameters_and_metrics_change(tmp_path):
    """The script of the job, with the real DVC in a small project of two commits."""
    (tmp_path / ".venv-dvc" / "bin").mkdir(parents=True)
    (tmp_path / ".venv-dvc" / "bin" / "dvc").symlink_to(Path(sys.executable).with_name("dvc"))

    def git(*words: str) -> str:
        identity = ("-c", "user.name=值班", "-c", "user.email=duty@example.org")
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init", "--quiet")
    subprocess.run([tmp_path / ".venv-dvc/bin/dvc", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text("params: [params.yaml]\nmetrics: [得分.json]\n", "utf-8")
    for steps, score in ((75, 0.25), (90, 0.5)):
        (tmp_path / "params.yaml").write_text(f"train:\n  max_steps: {steps}\n", "utf-8")
        (tmp_path / "得分.json").write_text(json.dumps({"ceval_accuracy": score}), "utf-8")
        git("add", "dvc.yaml", "params.yaml", "得分.json", ".dvc")
        git("commit", "--quiet", "-m", f"{steps} 步")
    variables = {"BASE": git("rev-parse", "HEAD~1").strip(), "REMOTE": str(tmp_path / "remote"), "ENDPOINT": "",
                 "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "DVC_NO_ANALYTICS": "1"}  # fmt: skip
    run_script(script("compare", "What changes"), tmp_path, **variables)
    said = (tmp_path / "summary.md").read_text("utf-8")
    assert re.search(r"train.max_steps \| +75 +\| +90", said)
    assert re.search(r"ceval_accuracy \| +0.25 +\| +0.5", said)


def test_promotion_goes_through_the_protected_environment():
    workflow = load(FOLDER / "promote.yml")
    assert set(workflow["on"]) == {"workflow_dispatch"}
    assert workflow["jobs"]["promote"]["environment"] == "production"
    inputs = workflow["on"]["workflow_dispatch"]["inputs"]
    assert all(inputs[name]["required"] for name in ("version", "reason"))


def test_one_job_alone_has_a_token_of_its_own_and_asks_it_for_one_record():
    asking = [(path.name, name) for path in FILES for name, job in load(path)["jobs"].items()
              if "id-token" in {**load(path)["permissions"], **job.get("permissions", {})}]  # fmt: skip
    assert asking == [("promote.yml", "promote")]
    script = load(FOLDER / "promote.yml")["jobs"]["promote"]["steps"][-1]["run"]
    assert f'"audience={audience("production", "$RECORD")}"' in script
    assert script.index("::add-mask::$token") < script.index("flows.trigger")


def test_workflows_ask_for_deployments_that_exist():
    deployed = yaml.safe_load((ROOT / "infra" / "prefect.yaml").read_text("utf-8"))["deployments"]
    names = {f"{item['entrypoint'].rpartition(':')[2]}/{item['name']}" for item in deployed}
    asked = {found for path in FILES for found in re.findall(r"flows\.trigger (\S+)", path.read_text("utf-8"))}
    assert asked == {"pipeline/nightly", "promote/promote"}
    assert asked <= names
