"""A sweep's folder: what was asked for, a copy of the checkout, one line a finished trial, the reports, the result.

.tunegate/sweeps/NAME/
  sweep.json       what was asked for; never changed
  base.yaml        params.yaml as it was then
  snapshot/        the checkout as it was then; every trial starts from it (tasks/sweep/checkout.py)
  snapshot.json    its commit, whether anything was edited since, and an id of the sweep
  asked/N.json     settings of trial N, written before it starts
  trials/N/        its checkout, while it runs
  reports/N/       its evaluation: results.json, samples.jsonl
  trials.jsonl     a line when a trial has ended
  result.json      the comparison, written once; report.md and report.html are made of it
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, replaced_directory, write_json
from tasks.core.outbox import Spool
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings
from tasks.gate.evidence import Report, read_report
from tasks.sweep.checks import value_at
from tasks.sweep.comparison import PRESENT, selection_value
from tasks.sweep.sampling import Sampler, Told, make_sampler
from tasks.sweep.space import Point, Space, space_of

NAME = re.compile(r"\w[\w.-]{0,63}")
PLAN, RESULT, JOURNAL = "sweep.json", "result.json", "trials.jsonl"
BASE, SNAPSHOT, FACTS = "base.yaml", "snapshot", "snapshot.json"
REPORT_FILES = ("results.json", "samples.jsonl")
DONE, FAILED, SAME = "done", "failed", "same"
#: A process that holds the journal is at work.
HELD_S = 1.0


@dataclass(frozen=True)
class Plan:
    """What a sweep was asked for.

    Args:
        settings: key -> values, as tasks.sweep.space has them in JSON.
        sampler: grid, random or tpe.
        trials: how many were asked for; None: all of the grid.
        seed: of the sampler.
        hop: up to whose evaluation each trial runs.
        metric: which decides.
    """

    settings: dict[str, dict[str, Any]]
    sampler: str
    trials: int | None
    seed: int
    hop: str
    metric: str

    @property
    def space(self) -> Space:
        """What is tried."""
        return space_of(self.settings)


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    Args:
        project: the checkout it belongs to.
        name: its name.
        plan: what was asked for.
    """

    project: Project
    name: str
    plan: Plan

    @property
    def folder(self) -> Path:
        """Its folder."""
        return folder_of(self.project, self.name)

    @property
    def snapshot(self) -> Path:
        """The copy of the checkout that every trial starts from."""
        return self.folder / SNAPSHOT

    @property
    def begun(self) -> bool:
        """Whether it was sealed: its snapshot is whole."""
        return (self.folder / PLAN).is_file()

    @property
    def base(self) -> dict[str, Any]:
        """The values of params.yaml as they were."""
        values: dict[str, Any] = yaml.safe_load(self.base_text)
        return values

    @property
    def base_text(self) -> str:
        """The text of params.yaml as it was."""
        return (self.folder / BASE).read_text(encoding="utf-8")

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of the snapshot: commit, edited, id."""
        return dict(read_json(self.folder / FACTS))

    @property
    def settings(self) -> Settings:
        """The settings as they were: gate, limits."""
        return load_settings(self.folder / BASE)

    @property
    def halves_seed(self) -> int:
        """Seed of the halves: not the sampler's, or one sweep would choose on what another held out."""
        return self.settings.gate.seed

    @property
    def result(self) -> dict[str, Any] | None:
        """The comparison, None before it was made."""
        path = self.folder / RESULT
        return dict(read_json(path)) if path.is_file() else None

    def checkout(self, number: int) -> Path:
        """Return where trial `number` runs."""
        return self.folder / "trials" / str(number)

    def report(self, number: int) -> Report:
        """Return the evaluation of a trial that is done."""
        return read_report(self.plan.hop, self.folder / "reports" / str(number))

    def ask(self, number: int, point: Point) -> None:
        """Keep the settings of a trial that is to start: another process may run it."""
        write_json(self.folder / "asked" / f"{number}.json", point)

    def asked(self, number: int) -> Point:
        """Return the settings of a trial.

        Raises:
            DataContractError: it was never asked for.
        """
        return dict(read_json(self.folder / "asked" / f"{number}.json"))

    def asked_before(self, number: int) -> Point | None:
        """Return the settings that a trial was asked for, None where it never was."""
        return self.asked(number) if (self.folder / "asked" / f"{number}.json").is_file() else None

    def sampler(self) -> Sampler:
        """Return where the settings of its trials come from."""
        return sampler_of(self.plan, self.base)

    def journal(self) -> Spool:
        """Return its journal, held: one process runs a sweep.

        Raises:
            TransientError: another one does.
        """
        return Spool(self.folder / JOURNAL, HELD_S)

    def trials(self) -> list[dict[str, Any]]:
        """Return the trials that have ended, by number, while another process may write the next line."""
        path = self.folder / JOURNAL
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return sorted((json.loads(line) for line in text.split("\n")[:-1]), key=lambda line: int(line["trial"]))

    def keep_report(self, number: int) -> Report:
        """Copy the evaluation that a trial's checkout holds, and return it.

        Raises:
            DataContractError: it is not whole.
        """
        source = self.checkout(number) / "data" / "reports" / "eval" / self.plan.hop
        found = read_report(self.plan.hop, source)
        with replaced_directory(self.folder / "reports" / str(number)) as partial:
            for name in REPORT_FILES:
                shutil.copyfile(source / name, partial / name)
        return found

    def told(self, trials: list[dict[str, Any]]) -> list[Told]:
        """Return what a sampler may know of the trials that have ended: the present settings are none of them."""
        return [Told(line["settings"], line.get("value")) for line in trials if line["trial"] != PRESENT]

    def value(self, report: Report) -> float:
        """Return a trial's mean on the selection half."""
        return selection_value(report, self.plan.metric, self.halves_seed)

    def reports(self) -> dict[int, Report]:
        """Return the evaluations of all trials that are done."""
        return {line["trial"]: self.report(line["trial"]) for line in self.trials() if line["status"] == DONE}


def folder_of(project: Project, name: str) -> Path:
    """Return the folder of a sweep of this name."""
    return project.state / "sweeps" / name


def sampler_of(plan: Plan, base: dict[str, Any]) -> Sampler:
    """Return the sampler of a plan, with the present settings left out of what is tried: they are trial 0."""
    present = {key: value_at(base, key) for key in plan.space}
    sampler = make_sampler(plan.sampler, plan.space, plan.trials, plan.seed, present)
    if plan.sampler != "tpe":
        sampler.checked = [point for point in sampler.checked if point != present]
        sampler.total = len(sampler.checked)
    return sampler


def create(project: Project, name: str, plan: Plan) -> Sweep:
    """Have a sweep of this name: make it, or return the one that was asked for the same; its snapshot is the caller's.

    Raises:
        ConfigError: the name cannot be one, or a sweep of this name was asked for something else.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be a sweep's name", "letters, digits, _ . - , at most 64")
    path = folder_of(project, name) / PLAN
    if path.is_file() and (other := open_sweep(project, name)).plan != plan:
        differs = [key for key, value in asdict(plan).items() if asdict(other.plan)[key] != value]
        raise ConfigError(
            f"sweep {name} was asked for something else ({', '.join(differs)})",
            f"tunegate sweep run {name}, without options, goes on with it; or take another name",
        )
    return Sweep(project, name, plan)


def seal(sweep: Sweep) -> None:
    """Write down what was asked for, when everything that it needs is there."""
    write_json(sweep.folder / PLAN, asdict(sweep.plan))


def open_sweep(project: Project, name: str) -> Sweep:
    """Return a sweep that exists.

    Raises:
        ConfigError: there is none of this name.
    """
    path = folder_of(project, name) / PLAN
    if not path.is_file():
        known = ", ".join(sweep_names(project)) or "there is none yet"
        raise ConfigError(f"no sweep is called {name!r}: {known}", "tunegate sweep run --help")
    return Sweep(project, name, Plan(**read_json(path)))


def sweep_names(project: Project) -> list[str]:
    """Return the names of the sweeps, sorted."""
    return sorted(path.parent.name for path in (project.state / "sweeps").glob(f"*/{PLAN}"))


def winner_of(sweep: Sweep) -> Point:
    """Return the settings that won; none where the present ones did.

    Raises:
        DataContractError: the sweep is not done.
    """
    if (result := sweep.result) is None:
        raise DataContractError(f"sweep {sweep.name} is not done", f"tunegate sweep run {sweep.name}")
    return {} if result["winner"] == PRESENT else sweep.asked(result["winner"])


def count_look(sweep: Sweep, digest: str) -> int:
    """Note that a sweep looks at its held-out items; return how many others did before, by the same metric."""
    looks, mine = Spool(sweep.project.state / "sweep-looks.jsonl", HELD_S), _look(sweep, digest)
    try:
        before = list(_others(looks.events, mine))
        if mine not in looks.events:
            looks.append(mine)
    finally:
        looks.close()
    return len(before)


def _look(sweep: Sweep, digest: str) -> dict[str, Any]:
    """Return the line of one look."""
    return {"sweep": sweep.name, "id": sweep.facts["id"], "metric": sweep.plan.metric, "heldout_sha256": digest}


def _others(looks: list[dict[str, Any]], mine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield earlier looks of other sweeps at the same items by the same metric."""
    for look in looks:
        if look == mine:
            return
        if all(look[key] == mine[key] for key in ("metric", "heldout_sha256")):
            yield look
