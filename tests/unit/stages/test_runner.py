"""Running a stage and what its output is called: inputs bound, manifest last, lineage over all that decides it."""

import os
import shutil
from pathlib import Path
from types import MappingProxyType

import pytest

from tasks.core.errors import ConfigError, DataContractError, GateFailedError, MissingToolError
from tasks.core.files import read_json, write_json
from tasks.core.layout import PREPARED, RAW, VALIDATION
from tasks.core.manifest import MANIFEST, read_manifest, verify_manifest
from tasks.core.project import Project, find_root
from tasks.core.settings import ParallelParams, load_settings
from tasks.stages.failures import clear_failure, record_failure, recorded_failure
from tasks.stages.lineage import Parts, parts_of
from tasks.stages.runner import run_stage, work_gpus
from tasks.stages.table import STAGES, Stage, find_stages, producer_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("TUNEGATE_ROOT", raising=False)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / RAW).mkdir(parents=True)
    (tmp_path / RAW / "行.jsonl").write_text('{"a": 1}\n', "utf-8")
    (tmp_path / "code.py").write_text("x = 1\n")
    return Project(tmp_path)


@pytest.fixture
def settings(project):
    return load_settings(project.root / "params.yaml")


def write_rows(params, *, output, raw, scratch):
    """Stage function: copy the rows, note a setting; what it left in scratch outlives a failure."""
    (scratch / "checkpoint").touch()
    (output / "rows.jsonl").write_bytes((raw / "行.jsonl").read_bytes())
    (output / "mode.txt").write_text(str(params.calibration_rows))
    return {"rows": 1}


def write_to_a_full_disk(params, *, output, raw):
    """Stage function: /dev/full is a device on which no space is ever left."""
    (output / "half.txt").write_text("half")
    Path("/dev/full").write_text("more")


def judge(params, *, output, prepared, lineage_id):
    """Stage function: evidence about another stage's output."""
    (output / "lineage.txt").write_text(lineage_id)
    return {}


def refuse(params, *, output, raw):
    """Stage function: leave something half done."""
    (output / "half.txt").touch()
    raise DataContractError("第 3 行 is broken", "mend it")


def stage(function, **changes) -> Stage:
    values = {"name": "prepare", "inputs": MappingProxyType({"raw": RAW}), "output": PREPARED, "code": ("code.py",),
              "extras": ()}  # fmt: skip
    found = Stage(**(values | changes), function="unused:unused")
    object.__setattr__(found, "load", lambda: function)
    return found


@pytest.fixture
def prepared(project, settings):
    return run_stage(stage(write_rows, extras=("scratch",)), project, settings)


def test_a_stage_writes_its_output_and_a_manifest(project, prepared):
    manifest = verify_manifest(project.root / PREPARED)
    assert prepared == {"stage": "prepare", "output": PREPARED, "rows": 1, "lineage_id": manifest["lineage_id"]}
    assert set(manifest["files"]) == {"rows.jsonl", "mode.txt"}
    assert set(manifest["parts"]) == {"raw", "params", "code"}
    assert not (project.state / "scratch").exists() or not any((project.state / "scratch").iterdir())


def test_the_manifest_holds_no_clock_and_is_the_same_again(project, settings, prepared):
    before = (project.root / PREPARED / MANIFEST).read_bytes()
    run_stage(stage(write_rows, extras=("scratch",)), project, settings)
    assert (project.root / PREPARED / MANIFEST).read_bytes() == before
    assert read_json(project.state / "runs" / "prepare.json")["seconds"] >= 0


@pytest.mark.parametrize("change", ["data", "params", "code"])
def test_whatever_decides_the_output_changes_its_name(project, settings, prepared, change):
    if change == "data":
        (project.root / RAW / "行.jsonl").write_text('{"a": 2}\n', "utf-8")
    elif change == "code":
        (project.root / "code.py").write_text("x = 2\n")
    else:
        settings = settings.model_copy(update={"prepare": settings.prepare.model_copy(update={"calibration_rows": 7})})
    again = run_stage(stage(write_rows, extras=("scratch",)), project, settings)
    assert again["lineage_id"] != prepared["lineage_id"]


def test_a_setting_of_another_stage_does_not_change_the_name(project, settings, prepared):
    other = settings.model_copy(update={"merge": settings.merge.model_copy(update={"dtype": "float16"})})
    assert run_stage(stage(write_rows, extras=("scratch",)), project, other)["lineage_id"] == prepared["lineage_id"]


def test_a_refusal_leaves_the_old_output(project, settings, prepared):
    before = (project.root / PREPARED / MANIFEST).read_bytes()
    with pytest.raises(DataContractError, match="第 3 行"):
        run_stage(stage(refuse), project, settings)
    assert (project.root / PREPARED / MANIFEST).read_bytes() == before
    assert not list((project.root / "data").glob(".*partial"))


def test_a_full_disk_is_one_clear_message_and_the_old_output_stays(project, settings, prepared):
    with pytest.raises(MissingToolError, match="disk is full") as caught:
        run_stage(stage(write_to_a_full_disk), project, settings)
    assert "free space" in caught.value.hint
    assert caught.value.exit_code == 5
    assert "half.txt" not in verify_manifest(project.root / PREPARED)["files"]


def test_checkpoints_stay_until_a_later_stage_builds_on_the_output(project, settings):
    """DVC hashes and records an output after its stage has ended: ended there, the stage runs again."""
    kept = project.state / "scratch"

    def work(params, *, output, scratch, **_):
        (scratch / "checkpoint").touch()
        (output / "out.txt").touch()
        return {}

    def run(name, output, **changes):
        run_stage(stage(work, name=name, output=output, extras=("scratch",), **changes), project, settings)
        return len(list(kept.glob("train-*/checkpoint")))

    assert run("train", "data/models/adapter", keeps_scratch=True) == 1
    assert run("validate", VALIDATION) == 1
    # Under way beside training where there are two cards.
    assert run("evaluate@base", "data/reports/eval/base") == 1
    assert run("merge", "data/models/merged", inputs=MappingProxyType({"adapter": "data/models/adapter"})) == 0


def test_scratch_outlives_a_failure(project, settings):
    def die(params, *, output, raw, scratch):
        (scratch / "checkpoint").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(stage(die, extras=("scratch",)), project, settings)
    assert len(list((project.state / "scratch").glob("*/checkpoint"))) == 1


def test_evidence_carries_the_lineage_of_what_it_judges(project, settings, prepared):
    judged = stage(judge, name="validate", inputs=MappingProxyType({"prepared": PREPARED}), output=VALIDATION,
                   extras=("lineage_id",), judged="prepared")  # fmt: skip
    found = run_stage(judged, project, settings)
    assert found["lineage_id"] == prepared["lineage_id"]
    assert (project.root / VALIDATION / "lineage.txt").read_text() == prepared["lineage_id"]
    manifest = read_manifest(project.root / VALIDATION)
    assert manifest["inputs"]["prepared"]["path"] == PREPARED


def test_an_input_without_manifest_is_refused(project, settings):
    (project.root / PREPARED).mkdir(parents=True)
    judged = stage(judge, name="validate", inputs=MappingProxyType({"prepared": PREPARED}), output=VALIDATION)
    with pytest.raises(DataContractError, match="incomplete"):
        run_stage(judged, project, settings)


def test_absent_data_is_refused_with_advice(project, settings):
    shutil.rmtree(project.root / RAW)
    with pytest.raises(DataContractError) as caught:
        run_stage(stage(write_rows), project, settings)
    assert RAW in caught.value.hint


def test_the_base_model_is_part_of_the_name(project, settings, monkeypatch):
    from tasks.models import base

    names = []
    for digest in ("sha256:a", "sha256:b"):
        folder = base.BaseModel(project.root, digest)
        monkeypatch.setattr("tasks.models.base.materialize", lambda params, project, folder=folder: folder)

        def train(params, *, output, raw, base):
            return {"base": str(base)}

        names.append(run_stage(stage(train, base_model=True), project, settings)["lineage_id"])
    assert names[0] != names[1]


@pytest.mark.parametrize(
    ("environment", "digest", "refused"),
    [("production", None, True), ("production", "sha256:a", False), ("demo", None, False)],
)
def test_production_starts_nothing_with_a_base_that_is_not_pinned(
    project, settings, monkeypatch, environment, digest, refused
):
    from tasks.models import base

    monkeypatch.setattr(base, "materialize", lambda params, project: base.BaseModel(project.root, "sha256:a"))
    settings = settings.model_copy(update={
        "base_model": settings.base_model.model_copy(update={"digest": digest}),
        "promote": settings.promote.model_copy(update={"environment": environment}),
    })  # fmt: skip
    called = []

    def prepare(params, *, output, raw, base):
        called.append(base)
        return {}

    if not refused:
        run_stage(stage(prepare, base_model=True), project, settings)
        assert called == [project.root]
        return
    with pytest.raises(ConfigError, match="is not pinned") as caught:
        run_stage(stage(prepare, base_model=True), project, settings)
    assert 'digest: "sha256:a"' in caught.value.hint
    assert called == []


def see_cards(params, *, output, raw):
    """Stage function: say which cards this process sees."""
    return {"seen": os.environ.get("CUDA_VISIBLE_DEVICES")}


def with_tensor_parallel(settings, cards):
    vllm = settings.serve.vllm.model_copy(update={"tensor_parallel": cards})
    return settings.model_copy(update={"serve": settings.serve.model_copy(update={"vllm": vllm})})


@pytest.mark.parametrize(
    ("name", "seen"), [("train", "1"), ("quantize", "1,2"), ("evaluate@awq", "1,2"), ("merge", ""), ("gate", "")]
)
def test_a_stage_sees_the_freest_of_the_stand_in_cards_and_no_more(project, settings, stand_in_gpus, name, seen):
    stand_in_gpus(8, 79, 40)
    found = run_stage(stage(see_cards, name=name), project, with_tensor_parallel(settings, 2))
    assert found["seen"] == seen
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_the_cards_are_chosen_before_the_stage_function_is_imported(project, settings, stand_in_gpus):
    stand_in_gpus(8, 79)
    found, seen = stage(see_cards, name="train"), []

    def load():
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        return see_cards

    object.__setattr__(found, "load", load)
    run_stage(found, project, settings)
    assert seen == ["1"]


def test_a_stage_without_a_card_that_serves_nothing_is_refused_and_writes_nothing(
    project, settings, stand_in_gpus, monkeypatch
):
    stand_in_gpus(8, 8)
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0|1")
    with pytest.raises(MissingToolError, match="serve nothing"):
        run_stage(stage(see_cards, name="train"), project, settings)
    assert not (project.root / PREPARED).exists()


@pytest.mark.parametrize("found", STAGES, ids=lambda found: found.name)
def test_every_stage_of_the_gpu_pool_gets_a_card_and_no_other_does(settings, found):
    least, most = work_gpus(found, settings)
    assert (least > 0, most > 0) == (found.gpu, found.gpu)


def die_after_a_checkpoint(params, *, output, raw, scratch):
    (scratch / f"{params.parallel.processes}-{params.seed}").touch()
    raise DataContractError("dead")


def changed_train(settings, **changes):
    return settings.model_copy(update={"train": settings.train.model_copy(update=changes)})


def test_training_finds_its_checkpoints_under_another_number_of_processes_and_nothing_else(project, settings):
    two = ParallelParams(strategy="ddp", processes=2)
    found = stage(die_after_a_checkpoint, name="train", extras=("scratch",))
    for now in (settings, changed_train(settings, parallel=two), changed_train(settings, seed=7)):
        with pytest.raises(DataContractError, match="dead"):
            run_stage(found, project, now)
    left = sorted(sorted(path.name for path in folder.iterdir()) for folder in (project.state / "scratch").iterdir())
    assert left == [["1-42", "2-42"], ["1-7"]]


def test_training_gets_a_card_for_each_process_and_names_the_setting(project, settings, stand_in_gpus):
    stand_in_gpus(8, 79, 40)
    four = changed_train(settings, parallel=ParallelParams(strategy="fsdp", processes=4))
    with pytest.raises(MissingToolError, match=r"needs 4 GPUs \(train.parallel.processes\), there are 3"):
        run_stage(stage(see_cards, name="train"), project, four)
    seen = []
    found = stage(see_cards, name="train")
    object.__setattr__(found, "load", lambda: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]) or see_cards)
    run_stage(found, project, changed_train(settings, parallel=ParallelParams(strategy="fsdp", processes=2)))
    assert seen == ["1,2"]


def test_results_of_two_different_runs_are_not_mixed(project, settings):
    manifests = {"a": {"parts": {"raw": {RAW: "1"}}}, "b": {"parts": {"raw": {RAW: "2"}}}}
    both = stage(judge, inputs=MappingProxyType({"a": "data/models/adapter", "b": "data/models/merged"}))
    with pytest.raises(DataContractError, match="another raw"):
        parts_of(both, project.root, settings, manifests, None)


def test_lineage_does_not_know_the_order_of_parts():
    one, other = Parts(), Parts()
    one.add("raw", "a", "1", "")
    one.add("code", "b", "2", "")
    other.add("code", "b", "2", "")
    other.add("raw", "a", "1", "")
    assert one.lineage_id == other.lineage_id
    assert one.lineage_id.startswith("tg-")
    assert len(one.lineage_id) == 3 + 16


def test_a_failure_is_kept_as_the_error_it_was(project):
    record_failure(project, "gate", GateFailedError("版本未通过", "读报告"))
    found = recorded_failure(project, "gate")
    assert type(found) is GateFailedError
    assert (found.message, found.hint, found.exit_code) == ("版本未通过", "读报告", 4)
    clear_failure(project, "gate")
    clear_failure(project, "gate")
    assert recorded_failure(project, "gate") is None


def test_an_error_of_another_version_is_still_an_error(project):
    write_json(project.state / "failures" / "gate.json", {"kind": "FormerError", "message": "x", "hint": ""})
    found = recorded_failure(project, "gate")
    assert found is not None
    assert found.exit_code == 1


def test_the_project_is_found_from_below(project):
    below = project.root / "data" / "raw"
    assert find_root(below) == project.root


def test_outside_of_a_project(tmp_path, monkeypatch):
    monkeypatch.delenv("TUNEGATE_ROOT", raising=False)
    with pytest.raises(ConfigError, match="no Tunegate project"):
        find_root(tmp_path)


@pytest.mark.parametrize("value", ["0", "65536", "http", "", "-1"])
def test_a_port_that_is_none(project, monkeypatch, value):
    monkeypatch.setenv("TUNEGATE_SLOT_PORT", value)
    with pytest.raises(ConfigError, match="TUNEGATE_SLOT_PORT"):
        _ = project.slot_ports


def test_stages_are_found_by_name_and_by_item():
    evaluations = ["evaluate@base", "evaluate@adapter", "evaluate@merged", "evaluate@awq"]
    assert [item.name for item in find_stages("evaluate")] == evaluations
    assert [item.item for item in find_stages("evaluate@awq")] == ["awq"]
    with pytest.raises(ConfigError, match="no stage"):
        find_stages("评估")
    producer = producer_of("data/prepared/train.jsonl")
    assert producer is not None
    assert producer.name == "prepare"
    assert producer_of("data/raw") is None
