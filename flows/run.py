"""Which code, which settings, which folder: what a run of the pipeline is, on this machine and on any other."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from flows.trigger import COMMIT_TAG
from flows.worktree import (
    PARAMS,
    SHORT,
    clean_commit,
    code_words,
    commit_of,
    entered,
    make_worktree,
    settings_text,
)
from tasks.core.errors import ConfigError, TransientError
from tasks.core.exclusive import exclusively
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings

log = logging.getLogger(__name__)

#: Held by the run that works in a folder.
LOCK = "run.lock"


@dataclass(frozen=True)
class Run:
    """A run of the pipeline.

    Args:
        project: its folder: a worktree of its own, or the checkout.
        settings: as they stood when it began.
        commit: full hash, where the run is of a commit; None for a checkout as it stands.
        urgent: whether it is to be released: its stages go before those of an experiment.
    """

    project: Project
    settings: Settings
    commit: str | None = None
    urgent: bool = True

    @property
    def remote(self) -> str | None:
        """The DVC remote that goes between this folder and workers elsewhere; None where they share it."""
        return self.settings.hand_over.remote

    def parameters(self) -> dict[str, Any]:
        """Return what the flow `stage` needs on another machine to work on the same run."""
        if self.commit is None:
            return {}
        text = (self.project.root / PARAMS).read_text(encoding="utf-8")
        return {"rev": self.commit, "params_yaml": text, "remote": self.remote}

    def require_same_settings(self) -> None:
        """Refuse to go on with other settings than the run began with.

        A worktree's are nobody's to change; in a checkout somebody may be at work on the next run.

        Raises:
            ConfigError: params.yaml says something else now.
        """
        if load_settings(self.project.root / PARAMS) != self.settings:
            raise ConfigError(
                f"{self.project.root / PARAMS} was changed while the run was under way; nothing was made with it",
                "put it back, or start a run with the new settings; a run with rev=HEAD has settings of its own",
            )

    def tags(self) -> list[str]:
        """Return what the run is found by in Prefect's UI."""
        return [f"profile:{self.settings.profile}", *tags_of(self.project)]


@contextmanager
def run_of(
    checkout: Project,
    rev: str | None = None,
    params: dict[str, Any] | None = None,
    profile: str | None = None,
    *,
    urgent: bool = True,
    say: Callable[[str], None] = log.warning,
) -> Iterator[Run]:
    """Give the run that was asked for; within, this process works in its folder, and no other run does.

    Args:
        checkout: this machine's.
        rev: a commit, branch or tag: the run has a worktree of its own at it. None: with other settings the checkout's
            commit, which it must have without changes; with the checkout's own settings the checkout as it stands.
        params: values in place of those in params.yaml.
        profile: a profile's file in place of params.yaml.
        urgent: whether it is to be released.
        say: is told where another run of the same folder is waited for.

    Raises:
        ConfigError: the commit is not to be had, something lies beside it, or a setting is wrong.
        TransientError: another run of the folder takes longer than a run may.
    """
    if rev is None and params is None and profile is None:
        settings = load_settings(checkout.root / PARAMS)
        # Another machine can have a commit and nothing else.
        commit = clean_commit(checkout) if settings.hand_over.remote else None
        with _alone(checkout, settings, say):
            yield Run(checkout, settings, commit, urgent)
        return
    commit = commit_of(checkout, rev) if rev else clean_commit(checkout)
    text = settings_text(checkout, commit, rev, profile, params)
    with entered(make_worktree(checkout, commit, text)) as project:
        settings = load_settings(project.root / PARAMS)
        with _alone(project, settings, say):
            yield Run(project, settings, commit, urgent)


@contextmanager
def folder_of(checkout: Project, rev: str | None, text: str | None) -> Iterator[Project]:
    """Give the folder of a run that another machine began; within, this process works in it.

    Args:
        checkout: this machine's.
        rev: the run's commit; None for the checkout as it stands.
        text: the run's params.yaml; None for the commit's.

    Raises:
        ConfigError: this machine has not the commit.
    """
    if rev is None:
        yield checkout
        return
    commit = commit_of(checkout, rev)
    text = text if text is not None else settings_text(checkout, commit, rev, None, None)
    with entered(make_worktree(checkout, commit, text)) as project:
        yield project


@contextmanager
def _alone(project: Project, settings: Settings, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other runs out of a folder: what one made must not be registered by another.

    Raises:
        TransientError: another one is in it for longer than a run may take.
    """
    busy = (f"another run of {project.root} is under way", "end it, or wait for it; then run the same command again")
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusively(project.own / LOCK, wait_s=0.0, busy=busy))
        except TransientError as error:
            say(f"{error.message}; this one waits for it")
            wait_s = settings.limits.run_timeout_s
            stack.enter_context(exclusively(project.own / LOCK, wait_s=wait_s, busy=busy))
        yield


def tags_of(project: Project) -> list[str]:
    """Return the tag that says of which commit a folder is; none outside git."""
    words = code_words(project.root)
    return [f"{COMMIT_TAG}{words}"] if words else []


def short(commit: str | None) -> str:
    """Return a commit as people read it."""
    return commit[:SHORT] if commit else "the checkout as it stands"
