"""What DVC is asked once for all stages, and the page that says where the time went."""

import subprocess

import pytest

from flows.clock import REST, START, RunClock, bars, since_start
from flows.unchanged import changed_stages


@pytest.mark.slow
def test_a_stage_is_unchanged_only_as_dvc_recorded_it(tiny_project):
    assert {"prepare", "validate", "train"} <= changed_stages(tiny_project)
    subprocess.run(["dvc", "repro", "--quiet", "--single-item", "prepare"], cwd=tiny_project.root, check=True)
    assert "prepare" not in changed_stages(tiny_project)
    (tiny_project.root / "data" / "prepared" / "rows.txt").write_text("改过", encoding="utf-8")
    assert "prepare" in changed_stages(tiny_project)


def test_nothing_is_called_unchanged_where_dvc_does_not_say(tiny_project):
    (tiny_project.root / "dvc.yaml").write_text("stages: [", encoding="utf-8")
    assert changed_stages(tiny_project) is None


def test_bars_show_this_run_beside_the_one_before(tiny_project):
    first = RunClock(tiny_project)
    first.add("prepare", 10.0)
    first.add("train", 40.0)
    first.close()
    second = RunClock(tiny_project)
    second.add("train", 20.0)
    lines = bars(second.close())
    assert [line.split()[0] for line in lines[1:]] == ["train", REST.split()[0]]
    assert "20 s" in lines[1]
    assert "before: 40 s" in lines[1]
    assert lines[1].count("█") > lines[2].count("█")
    assert RunClock(tiny_project).before["prepare"] == 10.0


def test_what_came_before_the_first_stage_is_part_of_the_wait():
    ran = {"version": "1", "seconds": {"train": 60.0, REST: 4.0}, "seconds_before": {}}
    times = since_start(ran, 78.5)
    assert times == ran | {"seconds": {START: 14.5, "train": 60.0, REST: 4.0}}
    page = bars(times)
    assert page[0] == "where the time went: 1 min 18 s"
    assert page[1].split()[:2] == ["starting", "Prefect"]
