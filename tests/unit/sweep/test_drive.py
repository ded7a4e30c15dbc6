"""Trials one after another or several at a time: a kill loses those under way, a failure only itself.

The trials' stages are stood in for by their evaluation; DVC and Prefect run in tests/flows/test_sweep.py.
"""

import json
import shutil
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, DataContractError, TransientError, TunegateError
from tasks.core.files import write_json
from tasks.core.project import Project
from tasks.sweep.apply import winners_params
from tasks.sweep.drive import run_trials
from tasks.sweep.report import text_of
from tasks.sweep.space import parse_space, plain_space
from tasks.sweep.store import Plan, Sweep, create, open_sweep, seal
from tests.made_reports import samples, write_evaluation

ROOT = Path(__file__).parents[3]
RATES = "train.learning_rate=0.001,0.004,0.008"
METRIC = "domain_bits_per_byte"


@pytest.fixture
def project(tmp_path, monkeypatch):
    # Nothing listens there: a sweep goes on without MLflow.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return Project(tmp_path)


@pytest.fixture
def begun(project):
    def make(name="学习率", *settings, sampler="grid", trials=None) -> Sweep:
        space = plain_space(parse_space(settings or [RATES]))
        sweep = create(project, name, Plan(space, sampler, trials, 0, "awq", METRIC))
        sweep.folder.mkdir(parents=True)
        shutil.copy(ROOT / "params.yaml", sweep.folder / "base.yaml")
        write_json(sweep.folder / "snapshot.json", {"commit": "0" * 40, "edited": True, "id": name})
        seal(sweep)
        return sweep

    return make


class Trials:
    """Writes the evaluation that the stages of a trial would end in.

    Args:
        sweep: whose.
        gains: learning rate -> gain, or what is raised instead.
    """

    def __init__(self, sweep: Sweep, gains: dict[float, float | BaseException]) -> None:
        self.sweep, self.gains, self.run = sweep, gains, []

    def __call__(self, number: int) -> None:
        self.run.append(number)
        gain = self.gains[self.sweep.asked(number).get("train.learning_rate", 0.002)]
        if isinstance(gain, BaseException):
            raise gain
        folder = self.sweep.checkout(number) / "data/reports/eval/awq"
        write_evaluation(folder, "awq", samples(60, lambda item: gain, number))


GAINS = {0.002: 0.0, 0.001: -0.1, 0.004: 0.1, 0.008: 0.05}


def test_all_trials_run_once_and_the_best_wins(begun, caplog):
    sweep = begun()
    trials = Trials(sweep, GAINS)
    result = run_trials(sweep, trials)
    assert trials.run == [0, 1, 2, 3]
    assert result["settings"] == {"train.learning_rate": 0.004}
    assert result["heldout"]["shown"]
    assert not any(sweep.checkout(number).exists() for number in range(4))
    assert "not in MLflow yet" in caplog.text
    assert sweep.result == result
    page = (sweep.folder / "report.html").read_text("utf-8")
    assert page.count("<circle") == 4  # three trials, and the winner held out
    text = text_of(sweep.trials(), result)
    assert "3 trials were compared there, so their p-values are adjusted for 3 (Holm)" in text
    assert "shown to be better" in text
    assert (sweep.folder / "report.md").read_text("utf-8").startswith("# Sweep 学习率\n")


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), TransientError("没有服务器")])
def test_what_stops_the_sweep_is_gone_on_from(begun, stop):
    sweep = begun()
    trials = Trials(sweep, GAINS | {0.004: stop})
    with pytest.raises(type(stop)):
        run_trials(sweep, trials)
    # A kill in the middle of a line.
    with (sweep.folder / "trials.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"trial": 2, "sett')
    assert [line["trial"] for line in sweep.trials()] == [0, 1]
    assert "not done" in text_of(sweep.trials(), sweep.result)
    trials.gains = GAINS
    assert run_trials(open_sweep(sweep.project, sweep.name), trials)["winner"] == 2
    assert trials.run == [0, 1, 2, 2, 3]


def test_a_trial_that_fails_is_told_and_the_others_go_on(begun):
    sweep = begun()
    result = run_trials(sweep, Trials(sweep, GAINS | {0.004: TunegateError("第三步的损失不是数字")}))
    assert (result["winner"], result["failed"], result["compared"]) == (3, 1, 2)
    assert "failed: 第三步的损失不是数字" in text_of(sweep.trials(), result)


class Meeting(Trials):
    """Trials that go on when another one is under way beside them; trial 0 has nobody to wait for."""

    def __init__(self, sweep: Sweep, gains: dict[float, float | BaseException]) -> None:
        super().__init__(sweep, gains)
        self.met, self.wait_s, self.lock = threading.Barrier(2), 10.0, threading.Lock()
        self.together = self.most = 0

    def __call__(self, number: int) -> None:
        with self.lock:
            self.together += 1
            self.most = max(self.most, self.together)
        try:
            # Trials 1 and 2 begin at the same time; 3 follows whoever ends first.
            if number in (1, 2):
                self.met.wait(self.wait_s)
            super().__call__(number)
        finally:
            with self.lock:
                self.together -= 1


def test_where_there_are_two_places_two_trials_run_at_a_time(begun):
    sweep, alone = begun(), begun("一个一个")
    trials = Meeting(sweep, GAINS)
    result = run_trials(sweep, trials, places=2)
    assert sorted(trials.run) == [0, 1, 2, 3]
    assert (trials.run[0], trials.most) == (0, 2)
    one_by_one = run_trials(alone, Trials(alone, GAINS))
    for key in ("winner", "settings", "heldout", "compared"):
        assert result[key] == one_by_one[key]
    assert [line["trial"] for line in sweep.trials()] == [0, 1, 2, 3]


def test_planted_one_place_never_lets_two_meet(begun):
    sweep = begun()
    trials = Meeting(sweep, GAINS)
    trials.wait_s = 0.1
    with pytest.raises(threading.BrokenBarrierError):
        run_trials(sweep, trials)
    assert trials.most == 1


@pytest.mark.parametrize("fault", [TransientError("没有服务器"), TunegateError("损失不是数字")])
def test_of_two_at_a_time_one_that_fails_or_is_lost_leaves_the_other(begun, fault):
    sweep = begun()
    trials = Meeting(sweep, GAINS | {0.001: fault})
    if isinstance(fault, TransientError):
        with pytest.raises(TransientError):
            run_trials(sweep, trials, places=2)
        # What ended is kept, and the other one of the two was let go on to its end.
        assert 2 in [line["trial"] for line in sweep.trials()]
        trials.gains, before = GAINS, list(trials.run)
        trials.met = threading.Barrier(1)
        result = run_trials(open_sweep(sweep.project, sweep.name), trials, places=2)
        assert trials.run[len(before) :] == [number for number in (1, 3) if number == 1 or number not in before]
        assert result["failed"] == 0
    else:
        result = run_trials(sweep, trials, places=2)
        assert result["failed"] == 1
    assert result["winner"] == 2


def test_an_interrupt_ends_the_trials_under_way(begun, monkeypatch):
    sweep, ended = begun(), threading.Event()

    def held(number: int) -> None:
        if number:
            assert ended.wait(10)
            raise TunegateError("ended with its run")
        Trials(sweep, GAINS)(number)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.sweep.drive.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_trials(sweep, held, places=2, stop=ended.set)
    assert [line["trial"] for line in sweep.trials()] == [0]


@pytest.mark.parametrize("places", [1, 2])
def test_a_trial_is_tried_again_with_the_settings_it_was_asked_for(begun, places):
    sweep = begun("随机", "train.learning_rate=0.001..0.01", sampler="random", trials=3)
    sweep.ask(2, {"train.learning_rate": 0.0077})
    asked = []

    def note(number: int) -> None:
        asked.append(sweep.asked(number))
        write_evaluation(sweep.checkout(number) / "data/reports/eval/awq", "awq", samples(60, lambda _: 0.0, number))

    run_trials(sweep, note, places=places)
    assert {"train.learning_rate": 0.0077} in asked


def test_where_the_present_settings_fail_there_is_nothing_to_compare_with(begun):
    sweep = begun()
    with pytest.raises(TunegateError, match="坏了"):
        run_trials(sweep, Trials(sweep, GAINS | {0.002: TunegateError("坏了")}))
    assert sweep.trials() == []


def test_the_present_settings_are_no_trial_of_their_own(begun):
    assert begun("格", "train.learning_rate=0.002,0.004").sampler().total == 1


def test_two_processes_do_not_run_one_sweep(begun, monkeypatch):
    monkeypatch.setattr("tasks.sweep.store.HELD_S", 0.1)
    sweep = begun()
    held = sweep.journal()
    with pytest.raises(TransientError, match="held by another process"):
        run_trials(sweep, Trials(sweep, GAINS))
    held.close()


def test_earlier_looks_at_the_same_items_are_counted(begun):
    first, second = begun(), begun("再来", "train.learning_rate=0.004")
    run_trials(first, Trials(first, GAINS))
    result = run_trials(second, Trials(second, GAINS))
    assert result["earlier_looks"] == 1
    assert "1 earlier sweep(s) looked at the same held-out items" in text_of(second.trials(), result)


def test_a_name_is_not_used_for_something_else(begun, project):
    sweep = begun()
    with pytest.raises(ConfigError, match=r"asked for something else \(seed\)"):
        create(project, sweep.name, Plan(**asdict(sweep.plan) | {"seed": 1}))
    with pytest.raises(ConfigError, match="cannot be a sweep's name"):
        create(project, "../逃", sweep.plan)
    with pytest.raises(ConfigError, match="学习率"):
        open_sweep(project, "没有")


def test_the_winner_is_written_where_the_rest_is_as_it_was(begun, project):
    sweep = begun()
    with pytest.raises(DataContractError, match="not done"):
        winners_params(sweep)
    run_trials(sweep, Trials(sweep, GAINS))
    params = project.root / "params.yaml"
    text = params.read_text("utf-8")
    point, file = winners_params(sweep)
    assert point == {"train.learning_rate": 0.004}
    assert file.read_text("utf-8") == text.replace("learning_rate: 0.002", "learning_rate: 0.004")
    # What no stage up to there reads may change; what one reads may not.
    params.write_text(text.replace("soak_s: 0.0 ", "soak_s: 9.0 ").replace("max_steps: 75", "max_steps: 76"), "utf-8")
    with pytest.raises(ConfigError, match=r"started from: train.max_steps;"):
        winners_params(sweep)
    assert "max_steps: 76" in winners_params(sweep, anyway=True)[1].read_text("utf-8")


def test_the_journal_and_the_result_are_plain_json(begun):
    sweep = begun()
    run_trials(sweep, Trials(sweep, GAINS))
    lines = (sweep.folder / "trials.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["done"] * 4
    json.loads((sweep.folder / "result.json").read_text("utf-8"), parse_constant=pytest.fail)
