"""Which settings a sweep tries next: all of a grid, some drawn at random, or what Optuna suggests after the results."""

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tasks.core.errors import ConfigError, MissingToolError
from tasks.sweep.space import HINT, Choices, Point, Range, Space

SAMPLERS = ("grid", "random", "tpe")
#: More than a person means to pay for: a grid grows by multiplication.
MOST_TRIALS = 500
#: Draws at random before TPE models anything; Optuna's own number is 10.
LEAST_STARTS, MOST_STARTS = 3, 10


@dataclass(frozen=True)
class Told:
    """What became of an earlier trial.

    Args:
        point: its settings.
        value: its mean on the half of the items that selection sees; None where it failed.
    """

    point: Point
    value: float | None


class Sampler(Protocol):
    """Where the settings of the next trial come from; the same history gives the same settings.

    `pending` are the settings of trials under way, whose values nobody knows yet.
    """

    #: Points that are checked against the schema before anything starts.
    checked: list[Point]
    #: How many trials there will be.
    total: int

    def ask(self, told: Sequence[Told], *, pending: Sequence[Point] = (), lower_is_better: bool) -> Point:
        """Return the settings of trial len(told) + len(pending) + 1."""
        ...


class Listed:
    """Trials that are all known before the first runs: a grid, or draws at random."""

    def __init__(self, points: list[Point]) -> None:
        self.checked, self.total = points, len(points)

    def ask(self, told: Sequence[Told], *, pending: Sequence[Point] = (), lower_is_better: bool) -> Point:
        """Return the settings of the next trial."""
        return self.checked[len(told) + len(pending)]


class Tpe:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS 24).

    Args:
        space: what may be tried.
        trials: how many.
        seed: of the sampler; each trial's own follows from it and the trial's number.
        base: the present settings, of the same keys: what a value is tried beside before anything starts.
    """

    def __init__(self, space: Space, trials: int, seed: int, base: Point) -> None:
        self.space, self.total, self.seed = space, trials, seed
        self.checked = [base | {key: value} for key, axis in space.items() for value in axis.ends]
        self.starts = min(MOST_STARTS, max(LEAST_STARTS, trials // 3))
        _optuna()

    def ask(self, told: Sequence[Told], *, pending: Sequence[Point] = (), lower_is_better: bool) -> Point:
        """Return the settings of the next trial, from a study told all that is known: a kill changes nothing.

        A trial under way counts as a bad one (Optuna's constant liar), so that no two try the same place at a time.
        """
        optuna = _optuna()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # constant_liar
            sampler = optuna.samplers.TPESampler(seed=self.seed + len(told) + len(pending),
                                                 n_startup_trials=self.starts, constant_liar=bool(pending))  # fmt: skip
        study = optuna.create_study(sampler=sampler, direction="minimize" if lower_is_better else "maximize")
        axes = {key: _distribution(optuna, axis) for key, axis in self.space.items()}
        for one in told:
            study.add_trial(self._trial(optuna, one, axes))
        for point in pending:
            running = optuna.trial.TrialState.RUNNING
            params = {key: self._coded(key, point[key]) for key in self.space}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=axes, state=running))
        asked = study.ask(axes).params
        return {key: self._value(key, asked[key]) for key in self.space}

    def _trial(self, optuna: Any, told: Told, axes: dict[str, Any]) -> Any:
        """Return an earlier trial as Optuna has it."""
        state = optuna.trial.TrialState
        params = {key: self._coded(key, told.point[key]) for key in self.space}
        given: dict[str, Any] = {"state": state.FAIL} if told.value is None else {"value": told.value}
        return optuna.trial.create_trial(params=params, distributions=axes, **given)

    def _coded(self, key: str, value: Any) -> Any:
        """Return a value as Optuna is told it: a choice by its place, for it may be a list or a mapping."""
        axis = self.space[key]
        return axis.values.index(value) if isinstance(axis, Choices) else value

    def _value(self, key: str, coded: Any) -> Any:
        """Return what Optuna's answer stands for."""
        axis = self.space[key]
        if isinstance(axis, Choices):
            return axis.values[coded]
        return axis.tidy(coded)


def make_sampler(name: str, space: Space, trials: int | None, seed: int, base: Point) -> Sampler:
    """Return the sampler of this name.

    Args:
        name: grid, random or tpe.
        space: what may be tried.
        trials: how many; a grid has as many as it has.
        seed: of what is drawn.
        base: the present settings, of the same keys.

    Raises:
        ConfigError: it does not go with that space or number.
        MissingToolError: tpe without Optuna.
    """
    if trials is not None and trials > MOST_TRIALS:
        raise ConfigError(f"{trials} trials are more than {MOST_TRIALS}", "fewer --trials")
    if name == "grid":
        return Listed(_grid(space, trials))
    if trials is None:
        raise ConfigError(f"--sampler {name} needs --trials", HINT)
    return Listed(_drawn(space, trials, seed)) if name == "random" else Tpe(space, trials, seed, base)


def _grid(space: Space, trials: int | None) -> list[Point]:
    """Return every combination, the last key's values changing first."""
    if trials is not None:
        raise ConfigError("a grid runs all its combinations: --trials goes with random and tpe", HINT)
    if ranges := [key for key, axis in space.items() if isinstance(axis, Range)]:
        raise ConfigError(f"a grid needs lists, {', '.join(ranges)} has a range", "--sampler random --trials N")
    lists = {key: axis.values for key, axis in space.items() if isinstance(axis, Choices)}
    size = math.prod(len(values) for values in lists.values())
    if size > MOST_TRIALS:
        raise ConfigError(f"this grid has {size} combinations, more than {MOST_TRIALS}", "--sampler random --trials N")
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _drawn(space: Space, trials: int, seed: int) -> list[Point]:
    """Return distinct points drawn at random; all there are where they are fewer."""
    generator, points = np.random.default_rng(seed), []
    for _ in range(trials * 50):
        point = {key: _one(axis, float(generator.random())) for key, axis in space.items()}
        if point not in points:
            points.append(point)
        if len(points) == trials:
            break
    return points


def _one(axis: Any, share: float) -> Any:
    """Return one value of an axis."""
    return axis.values[int(share * len(axis.values))] if isinstance(axis, Choices) else axis.at(share)


def _distribution(optuna: Any, axis: Any) -> Any:
    """Return an axis as Optuna has it."""
    kinds = optuna.distributions
    if isinstance(axis, Choices):
        return kinds.CategoricalDistribution(list(range(len(axis.values))))
    kind = kinds.IntDistribution if axis.whole else kinds.FloatDistribution
    return kind(axis.low, axis.high, log=axis.log)


def _optuna() -> Any:
    """Return Optuna, with its chatter off.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise MissingToolError(
            "--sampler tpe needs Optuna, which is not installed", "make setup; or --sampler random"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
