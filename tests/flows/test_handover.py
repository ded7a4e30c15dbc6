"""Inputs and outputs over a DVC remote: what is sent, what arrives whole, what a lost worker leaves."""

import logging
import shutil
from pathlib import Path

import pytest

from flows.handover import borrow, lend
from flows.limits import Allowance
from flows.objects import fetch, fetch_recorded, inputs_of, outputs_of, push, push_recorded, remote_of
from flows.repo import opened, read_lock, write_lock
from tasks.core.errors import ConfigError, DataContractError, MissingToolError, TransientError
from tasks.core.params.orchestration import LimitsParams
from tasks.stages.table import find_stages
from tests.flows.clones import REMOTE, clone, git_environment, make_origin, run

pytestmark = pytest.mark.slow

log = logging.getLogger("test")
#: It begins when this file is read: long before the first of its tests.
ENOUGH = Allowance.begin(LimitsParams(run_timeout_s=36000.0, stage_timeout_s=600.0))
(QUANTIZE,) = find_stages("quantize")
MADE = ("prepare", "validate", "train", "merge")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A clone that has run up to the merge, its origin, and an empty remote."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in git_environment().items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("两台机器")
        origin = make_origin(folder / "origin", REMOTE)
        first = clone(origin, folder / "甲", folder / "remote")
        run(first.root, "env", f"PYTHONPATH={first.root}", "dvc", "repro", "--quiet", "merge")
        yield origin, first


@pytest.fixture
def machines(made, tmp_path, monkeypatch):
    """(the clone that has run, one that has nothing, their remote, empty), for one test."""
    for name, value in git_environment().items():
        monkeypatch.setenv(name, value)
    origin, first = made
    remote = tmp_path / "remote"
    (first.root / ".dvc/config.local").write_text(f"['remote \"{REMOTE}\"']\n    url = {remote}\n", "utf-8")
    second = clone(origin, tmp_path / "乙", remote)
    monkeypatch.setenv("PYTHONPATH", str(second.root))
    monkeypatch.setenv("TUNEGATE_ROOT", str(second.root))
    return first, second, remote


def _objects(remote: Path) -> dict[str, Path]:
    return {path.parent.name + path.name: path for path in (remote / "files/md5").glob("*/*")}


def test_exactly_the_inputs_go_over_and_what_no_cache_holds_is_made(machines, caplog):
    caplog.set_level(logging.INFO, logger="test")
    first, second, remote = machines
    lock = lend(QUANTIZE, first, REMOTE, log)
    # merged is made from the adapter, so that is what quantize needs; the report of validate it does not.
    assert set(lock) == {"prepare", "train", "merge"}
    sent = len(_objects(remote))
    lend(QUANTIZE, first, REMOTE, log)
    assert "inputs sent to hand: 0 objects" in caplog.messages[-1]
    borrow(QUANTIZE, second, REMOTE, lock, log, ENOUGH)
    assert len(_objects(remote)) == sent
    for path in ("data/prepared", "data/models/adapter", "data/models/merged"):
        here, there = ({one.relative_to(root): one.read_bytes() for one in (root / path).rglob("*") if one.is_file()}
                       for root in (first.root, second.root))  # fmt: skip
        assert here == there != {}
    assert not (second.root / "data/reports").exists()
    assert not (second.root / ".dvc/cache/files/md5").joinpath(*_split(lock["merge"])).exists(), "cached twice"
    assert "quantize: inputs brought from hand: " in caplog.text
    assert read_lock(second) == lock


def _split(entry) -> tuple[str, str]:
    digest = entry["outs"][0]["md5"]
    return digest[:2], digest[2:]


def test_what_is_made_here_and_differs_is_refused(machines):
    first, second, _ = machines
    lock = lend(QUANTIZE, first, REMOTE, log)
    lock["merge"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    with pytest.raises(DataContractError, match="data/models/merged made here is not the pipeline's"):
        borrow(QUANTIZE, second, REMOTE, lock, log, ENOUGH)


def _sent(first, second):
    """Send what quantize needs; give a function that has the other side bring it."""
    with opened(first) as repo:
        push(repo, remote_of(repo, REMOTE), inputs_of(repo, "quantize")[0].values())
    with opened(second):
        write_lock(second, {name: entry for name, entry in read_lock(first).items() if name in MADE})

    def bring():
        with opened(second) as repo:
            return fetch(repo, remote_of(repo, REMOTE), inputs_of(repo, "quantize")[0].values())

    return bring


@pytest.mark.parametrize("fault", ["file missing", "list cut off", "file damaged"])
def test_a_half_pushed_output_is_never_used_and_the_next_push_mends_it(machines, fault):
    first, second, remote = machines
    bring = _sent(first, second)
    kind, what = fault.split(" ", 1)
    victim = next(path for name, path in _objects(remote).items() if name.endswith(".dir") is (kind == "list"))
    victim.chmod(0o644)
    if what == "missing":
        victim.unlink()
    else:
        whole = victim.read_bytes()
        victim.write_bytes(whole[: len(whole) // 2] if what == "cut off" else whole[:-1] + b"?")
        # As DVC leaves them: it takes a file of this mode for checked.
        victim.chmod(0o444)
    with pytest.raises(TransientError, match=f"DVC remote {REMOTE}: .*nothing of it is used"):
        bring()
    assert not any((second.root / path).exists() for path in ("data/prepared", "data/models"))
    assert not victim.exists()
    with opened(first) as repo:
        moved = push(repo, remote_of(repo, REMOTE), inputs_of(repo, "quantize")[0].values())
    assert moved.objects == 1
    assert bring().objects >= 1
    assert (second.root / "data/prepared/读了/什么.txt").read_bytes() == (
        first.root / "data/prepared/读了/什么.txt"
    ).read_bytes()


def test_what_a_lost_worker_had_pushed_is_not_made_again(machines):
    first, second, _ = machines
    bring = _sent(first, second)
    with opened(first) as repo:
        place = remote_of(repo, REMOTE)
        push(repo, place, outputs_of(repo, "train"))
        push_recorded(repo, place, "train")
    bring()
    with opened(second):
        write_lock(second, {"train": None})
    shutil.rmtree(second.root / "data/models")
    shutil.copytree(first.root / "data/reports", second.root / "data/reports")
    with opened(second) as repo:
        assert fetch_recorded(repo, remote_of(repo, REMOTE), "train")
    assert "is cached - skipping run" in run(second.root, "dvc", "repro", "--single-item", "train")
    assert read_lock(second)["train"] == read_lock(first)["train"]


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [("", ConfigError, "no DVC remote called 'hand'"),
     ("['remote \"hand\"']\n    url = gs://bucket/x\n", MissingToolError, "dvc-gs is not installed")],
)  # fmt: skip
def test_a_remote_that_cannot_be_used_is_refused_by_name(machines, settings, error, said):
    _, second, _ = machines
    (second.root / ".dvc/config.local").write_text(settings, "utf-8")
    with pytest.raises(error, match=said):
        borrow(QUANTIZE, second, REMOTE, {}, log, ENOUGH)


def test_an_input_that_is_in_no_lock_or_no_cache_is_not_sent(machines):
    first, second, _ = machines
    with pytest.raises(DataContractError, match=r"dvc\.lock has no entry"):
        lend(QUANTIZE, second, REMOTE, log)
    with opened(second):
        write_lock(second, {name: entry for name, entry in read_lock(first).items() if name in MADE})
    with pytest.raises(DataContractError, match="not in the cache"):
        lend(QUANTIZE, second, REMOTE, log)
