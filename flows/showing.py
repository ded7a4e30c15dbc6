"""What the Prefect UI shows of a run beside its log: a name and tags to find it by, progress, figures, links.

Name, tags and progress are not worth a run: where the server does not answer, they are left out and the log says so.
Figures and links are made in tasks that are tried again.
"""

import platform
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from prefect import get_run_logger, runtime
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.summary import measured_names
from flows.transient import is_silence
from tasks.core.layout import DOSSIER, HOPS, VALIDATION
from tasks.core.project import Project
from tasks.release.description import artifact_route
from tasks.release.register import hop_metrics
from tasks.release.registry import Registry, Version

#: A line of `tasks.core.progress.Progress`: what, done of total, unit, and what is left.
PROGRESS = re.compile(r"^(?P<what>.+?): (?P<done>\d+)/(?P<total>\d+) \S+, .*")
SHOWN_EVERY_S = 10.0
#: Of a cell. The UI reads cells as Markdown, and "-" alone is a list there.
NOT_MEASURED = "–"
LOWER_IS_BETTER = "_bits_per_byte"
#: Where `make mlflow-ui` shows a store without a server.
MLFLOW_UI = "http://127.0.0.1:5000"
#: Key of the artifact -> page.
PAGES = {
    "dossier": f"{DOSSIER}/index.html".removeprefix("data/"),
    "data-docs": f"{VALIDATION}/data_docs/index.html".removeprefix("data/"),
}


@contextmanager
def left_out_in_silence() -> Iterator[None]:
    """Ask the server once, and go on without where it does not answer."""
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            yield
    except Exception as error:
        if not is_silence(error):
            raise
        get_run_logger().warning("not shown in the UI, the server does not answer: %s", error)


def show_run(name: str, tags: Iterable[str]) -> None:
    """Give the present run a name before the one that Prefect drew, and tags `key:value`; earlier ones of a key go.

    Args:
        name: what it is, or what it has come to.
        tags: profile, commit, version, verdict and the like.
    """
    run_id = runtime.flow_run.id
    if run_id is None:
        return
    new = list(tags)
    keys = {tag.partition(":")[0] for tag in new}
    with left_out_in_silence(), get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(str(run_id)))
        drawn = run.name.rpartition(", ")[2]
        kept = [tag for tag in run.tags if tag.partition(":")[0] not in keys]
        # A stage's run was drawn no other name than the stage's.
        client.update_flow_run(run.id, name=name if drawn == name else f"{name}, {drawn}", tags=[*kept, *new])


class StageProgress:
    """The progress of a stage as one artifact that is kept up to date, made from the lines of its log.

    Args:
        stage: its name.
    """

    def __init__(self, stage: str) -> None:
        self.key = f"progress-{re.sub('[^a-z0-9]+', '-', stage.lower())}"
        self.artifact: UUID | None = None
        self.shown = float("-inf")

    def see(self, line: str) -> None:
        """Show what a line says of the progress, every few seconds."""
        found = PROGRESS.match(line)
        if not found or not int(found["total"]):
            return
        percent = 100.0 * min(int(found["done"]) / int(found["total"]), 1.0)
        if percent < 100.0 and time.monotonic() - self.shown < SHOWN_EVERY_S:
            return
        self.shown = time.monotonic()
        with left_out_in_silence():
            self._show(percent, line)

    def _show(self, percent: float, line: str) -> None:
        """Make the artifact, or write the one that there is anew."""
        if self.artifact is None:
            made: Any = create_progress_artifact(percent, key=self.key, description=line)
            self.artifact = made
        else:
            update_progress_artifact(self.artifact, progress=percent, description=line)


def metrics_rows(reports: dict[str, dict[str, float]], champion: dict[str, float]) -> list[dict[str, Any]]:
    """Return a row a metric: its value at every hop and, where there is a champion, that one's and the change.

    Args:
        reports: metrics by hop.
        champion: `hop.metric` -> value of the version that is live; empty where there is none.
    """
    rows = []
    for name in measured_names(reports):
        lower = name.endswith(LOWER_IS_BETTER)
        row: dict[str, Any] = {"metric": f"{name} ↓" if lower else name}
        row |= {hop: _rounded(reports[hop].get(name)) for hop in HOPS}
        if champion:
            now, before = reports[HOPS[-1]].get(name), champion.get(f"{HOPS[-1]}.{name}")
            row |= {"champion": _rounded(before), "change": _change(now, before, lower=lower)}
        rows.append(row)
    return rows


def _rounded(value: float | None) -> str:
    """Return a figure for a table, a dash where it was not measured."""
    return NOT_MEASURED if value is None else f"{value:.3f}"


def _change(now: float | None, before: float | None, *, lower: bool) -> str:
    """Return how far a figure has moved, and whether that is for the better."""
    if now is None or before is None:
        return NOT_MEASURED
    change = f"{now - before:+.3f}"
    if float(change) == 0:
        return "0.000"
    return f"{change} {'better' if (now < before) == lower else 'worse'}"


def show_metrics(project: Project, champion: Version | None) -> None:
    """Show the metrics of every hop beside the champion's."""
    said = f"change: against champion {champion.number}" if champion else "there is no champion to compare with"
    rows = metrics_rows(hop_metrics(project), champion.metrics if champion else {})
    create_table_artifact(rows, key="metrics", description=f"↓: lower is better, else higher; {said}")


def show_pages(project: Project, registry: Registry, version: Version) -> None:
    """Link the pages of a version where MLflow shows them: a browser follows no link from a server's page to a disk."""
    for key, page in PAGES.items():
        create_link_artifact(page_address(project, registry, version, page), key=key, link_text=page,
                             description=page_words(project, page))  # fmt: skip


def page_words(project: Project, page: str) -> str:
    """Return what a person must know to open a page of a version."""
    needs = "" if _is_server(project.mlflow_uri) else f"opens while `make mlflow-ui` runs ({MLFLOW_UI}); "
    place = f"`{project.root / 'data' / page}` on {platform.node()}"
    return f"{needs}from disk: {place}, where its links to further pages work"


def page_address(project: Project, registry: Registry, version: Version, page: str) -> str:
    """Return where a page of a version opens: on MLflow's server, which without one is what `make mlflow-ui` starts.

    Args:
        page: below `data/`, and below the version's artifacts.
    """
    if version.run_id is None:
        return (project.root / "data" / page).as_uri()
    server = urlsplit(project.mlflow_uri if _is_server(project.mlflow_uri) else MLFLOW_UI)
    run = registry.client.get_run(version.run_id).info
    place = artifact_route(run.experiment_id, run.run_id, page)
    # Without a name and password that may stand in the address.
    return urlunsplit((server.scheme, server.netloc.rpartition("@")[2], f"{server.path.rstrip('/')}/", "", place))


def _is_server(uri: str) -> bool:
    """Return whether an MLflow address is a server's."""
    return urlsplit(uri).scheme in ("http", "https")
