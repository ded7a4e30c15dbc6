"""kill -9 of a worker, a stage, the Prefect server and its database, and a cut network, in every stage on two machines.

Real Prefect server on a real Postgres, `make workers` on two machines with nothing in common but a DVC remote, real DVC
and MLflow; the stages are little and wait until what is to end has ended. In each run every stage is hit once, by one
kind after another; the next run begins with the next kind, so that five runs hit every stage by every kind.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.outcome import error_of
from flows.scope import VARIABLE
from flows.transient import may_work_next_time
from tasks.core.errors import GateFailedError
from tasks.core.gpu_leases import leased
from tasks.core.keeper import alive
from tasks.core.project import Project
from tasks.proof.signers import make_key
from tasks.release.registry import Registry
from tasks.stages.dvc_lock import holder_of
from tasks.stages.table import STAGES
from tests.flows.clones import contents
from tests.flows.held import CARD, Held
from tests.flows.machines import Machine, Site, site_environment, undisturbed, until

KINDS = ("worker", "stage", "server", "database", "network")
#: The last of each function's stages.
STRUCK = {stage.key: stage.name for stage in STAGES}
#: In these clones evaluations run on the cpu pool.
ON_GPU = {"train", "quantize"}
RUNS = range(len(KINDS))
#: What CI runs; TUNEGATE_CRASH_MATRIX=all has the others too (docs/operations.md).
PLAIN = (3,)
CHOSEN = RUNS if os.environ.get("TUNEGATE_CRASH_MATRIX") == "all" else PLAIN
#: How long an outage goes on after the stage's end is recorded: what follows is said to nobody.
AFTER_S = 2.0


def kind_in(run: int, stage: str) -> str:
    """Return by what a stage is hit in a run."""
    return KINDS[(list(STRUCK).index(stage) + run) % len(KINDS)]


def test_five_runs_hit_every_stage_by_every_kind():
    assert len(STRUCK) >= 8
    cells = Counter((stage, kind_in(run, stage)) for run in RUNS for stage in STRUCK)
    assert cells == Counter({(stage, kind): 1 for stage in STRUCK for kind in KINDS})


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    make_key(folder / "release.pem")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site_environment().items():
            patch.setenv(name, value)
        for name in ("MLFLOW_TRACKING_URI", "TUNEGATE_ROOT", VARIABLE):
            patch.delenv(name, raising=False)
        patch.setenv("TUNEGATE_RELEASE_KEY", str(folder / "release.pem"))
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        found = Site(folder)
        try:
            with temporary_settings({PREFECT_API_URL: found.server.url}):
                yield found
        finally:
            found.close()


class Night:
    """One run of the pipeline, and the person who starts it again where it has ended.

    Args:
        site: where.
        number: of the run.
        held: its stages that wait.
    """

    def __init__(self, site: Site, number: int, held: Held) -> None:
        self.site, self.number, self.held = site, number, held
        self.name = f"ward-{number}"
        self.params = {"train": {"max_steps": 7 + number}}
        self.cells: list[tuple[str, str]] = []
        self.commands: Counter[tuple[str, str]] = Counter()
        self.looked = 0.0
        self.runs = [self.start()]

    def start(self):
        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(f"pipeline/{self.name}-nightly")
            asked = {"gpu_deployment": "stage/gpu", "release_deployment": None, "rev": "main", "params": self.params}
            return client.create_flow_run_from_deployment(found.id, parameters=asked).id

    def ended(self):
        """Return the last state of the run, None while it has none or nobody answers; one look a second."""
        if time.monotonic() - self.looked < 1.0:
            return None
        self.looked = time.monotonic()
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(self.runs[-1]).state
        except Exception as error:
            if not may_work_next_time(error):
                raise
            return None
        return state if state.is_final() else None

    def command(self) -> None:
        """Give the command of the person who finds the run ended: the same again."""
        self.commands[self.cells[-1]] += 1
        self.runs.append(self.start())

    def begun(self, stage: str) -> int:
        """Return the process of a stage that waits; where the run has ended instead, start it again."""
        deadline = time.monotonic() + 180
        while True:
            for pid in self.held.begun(stage):
                if alive(pid):
                    return pid
            state = self.ended()
            if state:
                assert self.cells, (state, self.site.said())
                assert not self.commands[self.cells[-1]], (self.cells, state, self.site.said())
                self.command()
            assert time.monotonic() < deadline, (stage, self.cells, self.site.said())
            time.sleep(0.1)

    def hit(self, key: str) -> None:
        """Let a stage begin, have end what is to end while it is under way, and let it go."""
        stage, kind = STRUCK[key], kind_in(self.number, key)
        machine = self.site.machines["gpu" if key in ON_GPU else "cpu"]
        pid = self.begun(stage)
        folder = Path(f"/proc/{pid}/cwd").resolve()
        self.cells.append((key, kind))
        with self.outage(kind, machine, pid):
            assert alive(pid) == (kind != "stage"), "what was hit is what was meant"
            self.held.let_go(stage)
            if kind in ("server", "database", "network"):
                until(lambda: recorded(folder, stage), f"{stage} recorded", self.site.said)
                time.sleep(AFTER_S)

    @contextmanager
    def outage(self, kind: str, machine: Machine, stage: int) -> Iterator[None]:
        """Something is killed, and started again on leaving where no product of ours does that."""
        if kind == "worker":
            worker = until(machine.worker, "worker", self.site.said)
            os.kill(worker, signal.SIGKILL)
            yield
            until(lambda: machine.worker() not in (None, worker), "another worker", self.site.said)
        elif kind == "stage":
            os.kill(stage, signal.SIGKILL)
            until(lambda: not alive(stage), "its end", self.site.said)
            yield
        elif kind == "server":
            self.site.kill_server()
            yield
            self.site.start_server()
        elif kind == "database":
            self.site.postgres.kill()
            yield
            self.site.postgres.start_again()
        else:
            machine.cut()
            yield
            machine.mend()


def recorded(folder: Path, stage: str) -> bool:
    """Return whether DVC has recorded a stage."""
    path = folder / "dvc.lock"
    return path.is_file() and f"\n  {stage}:\n" in path.read_text("utf-8")


def under_way(name: str) -> list[str]:
    """Return the runs of a project that hold a place in a queue, or wait for one."""
    holding = {StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.SCHEDULED, StateType.PAUSED}
    with get_client(sync_client=True) as client:
        ours = {client.read_deployment_by_name(f"{one}/{name}-{what}").id
                for one, what in (("pipeline", "nightly"), ("stage", "gpu"))}  # fmt: skip
        runs = client.read_flow_runs(limit=200)
    return [f"{run.name}: {run.state.name}" for run in runs if run.deployment_id in ours and run.state.type in holding]


@pytest.mark.slow
@pytest.mark.parametrize("number", CHOSEN)
def test_a_run_that_is_hit_in_every_stage_ends_as_one_that_is_not(site, number, tmp_path, monkeypatch):
    registry = Registry(site.cpu.project, "tunegate-nuclear-emergency")
    before = len(registry.versions())
    cards, held = tmp_path / "cards", Held(tmp_path / "held")
    cards.mkdir()
    for stage in STRUCK.values():
        held.hold(stage)
    site.begin(f"ward-{number}", held.folder, cards)
    night = Night(site, number, held)
    for stage in STRUCK:
        night.hit(stage)
    while True:
        ended = until(night.ended, "the run's end", site.said, 240)
        if isinstance(error_of(ended), GateFailedError):
            break
        assert not night.commands[night.cells[-1]], (ended, site.said())
        night.command()

    # Every cell was hit, and nobody had to do more than to start a run again whose own process was killed.
    assert night.cells == [(stage, kind_in(number, stage)) for stage in STRUCK]
    assert night.commands == Counter({cell: 1 for cell in night.cells if cell[1] == "stage"})
    # No work was done twice but that of the killed process; `merged` is made on both machines.
    begun = {stage.name: len(held.begun(stage.name)) for stage in STAGES}
    wanted = {stage.name: 1 for stage in STAGES} | {"merge": 2}
    assert begun == wanted | {STRUCK[key]: wanted[STRUCK[key]] + 1 for key, kind in night.cells if kind == "stage"}
    # Nothing is held.
    until(lambda: not under_way(night.name), "no run under way", lambda: str(under_way(night.name)), 30)
    with get_client(sync_client=True) as client:
        limits = client.read_global_concurrency_limits()
    assert [limit.name for limit in limits if limit.active_slots] == []
    folders = {machine.pool: folder_of(machine.project, number) for machine in site.machines.values()}
    for folder in folders.values():
        assert holder_of(Project(folder)) is None
    monkeypatch.setattr("tempfile.tempdir", str(cards))
    with leased(CARD, 0, 1, "who comes after") as free:
        assert free == list(CARD)
    # The same bytes.
    params = (folders["cpu"] / "params.yaml").read_bytes()
    alone = undisturbed(site.origin, tmp_path / "一台" / "项目", params, [stage.name for stage in STAGES])
    wanted_bytes, there = contents(alone.root), contents(folders["gpu"])
    assert contents(folders["cpu"]) == wanted_bytes
    assert there == {name: wanted_bytes[name] for name in there}
    assert {"data/models/adapter", "data/models/awq"} <= {name.partition("/读了")[0] for name in there}
    # One version, with the record of all stages.
    versions = registry.versions()
    assert len(versions) == before + 1
    lock = yaml.safe_load((folders["cpu"] / "dvc.lock").read_text("utf-8"))["stages"]
    assert list(lock) == [stage.name for stage in STAGES]
    for machine in site.machines.values():
        machine.stop()
        # A run whose worker was killed is nobody's to end: it ends by itself, a moment after it has said its state.
        until(lambda one=machine: not one.processes(), "nothing left", lambda one=machine: str(one.processes()), 60)


def folder_of(project: Project, number: int) -> Path:
    """Return the one folder that a machine has of a run."""
    (found,) = [path.parent for path in (project.state / "worktrees").glob("*/params.yaml")
                if yaml.safe_load(path.read_text("utf-8"))["train"]["max_steps"] == 7 + number]  # fmt: skip
    return found
