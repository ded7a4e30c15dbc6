"""`tunegate index build | search | check`: the documents that answers are taken from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.errors import GateFailedError
from tasks.core.layout import INDEX, RETRIEVAL_QUESTIONS
from tasks.core.table import table

if TYPE_CHECKING:
    from tasks.retrieval.index import Hit, Index

SHOWN = 10


@click.group("index")
def index() -> None:
    """Build, search and measure the index of the documents that answers are taken from."""


@index.command()
@json_option
def build(as_json: bool) -> None:
    """Read the corpus (index.corpus) and write data/index; its manifest names every digest.

    Documents that may not be used end it with exit code 3, each named; the index that was there stays.
    """
    from tasks.retrieval.index import build_index

    project, settings = project_and_settings()
    manifest = build_index(project, settings)
    masked = sum(sum(masks.values()) for masks in manifest["masks"].values())
    rows = [f"{manifest['lineage_id']}: {manifest['documents']} documents, {manifest['passages']} passages"]
    rows += [f"personal data replaced: {masked} spans in {len(manifest['masks'])} documents"] if masked else []
    rows += [f"left out of {one['document']}: {one['passage']} ({one['why']})" for one in manifest["left_out"]]
    rows.append(f"written to {project.root / INDEX}; a gateway that runs takes it by itself")
    emit(manifest, as_json=as_json, text="\n".join(rows))


@index.command()
@click.argument("question")
@click.option("--count", default=5, show_default=True, type=click.IntRange(1, 100), help="Most passages.")
@json_option
def search(question: str, count: int, as_json: bool) -> None:
    """Show the passages found for QUESTION, best first, with their scores.

    The share is how much of the question, by the weight of its words, a passage holds: serve.grounded.least_share is
    measured on it.
    """
    from tasks.retrieval.index import read_index

    project, settings = project_and_settings()
    read = read_index(project, settings)
    hits = read.search(question, count)
    rows = [_row(hit, read) for hit in hits]
    shown = [f"{one['score']:.3f}  share {one['share']:.2f}  {one['passage']}  {one['heading']}  [{one['source']}, "
             f"{one['version']}]\n    " + one["text"].replace("\n", "\n    ") for one in rows]  # fmt: skip
    emit(rows, as_json=as_json, text="\n".join(shown) or "nothing found")


@index.command()
@click.option("--questions", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help=f"Labelled questions.  [default: {RETRIEVAL_QUESTIONS}]")  # fmt: skip
@click.option("--least-recall", type=click.FloatRange(0, 1), help="Recall@5 under which it ends with exit code 4.")
@json_option
def check(questions: Path | None, least_recall: float | None, as_json: bool) -> None:
    """Measure recall@1, @5 and @10 and the mean reciprocal rank on labelled questions, with 95 % intervals."""
    from tasks.retrieval.check import check_index, read_questions
    from tasks.retrieval.index import is_stale, read_index

    project, settings = project_and_settings()
    read = read_index(project, settings)
    labelled = read_questions(questions or project.root / RETRIEVAL_QUESTIONS, read.passages)
    report = check_index(read, labelled, settings.serve.grounded.least_share)
    report["stale"] = is_stale(project, settings, read)
    emit(report, as_json=as_json, text=_measures(report))
    recall = report["groups"]["all"]["recall@5"]["value"]
    if least_recall is not None and recall < least_recall:
        raise GateFailedError(f"recall@5 is {recall:.3f}, asked is {least_recall:g}", "tunegate index search QUESTION")


def _row(hit: "Hit", read: "Index") -> dict[str, Any]:
    """Return a passage found as values."""
    about = read.about[hit.passage.document]
    return {"passage": hit.passage.id, "document": hit.passage.document, "heading": hit.passage.heading, **about,
            "text": hit.passage.text, "score": hit.score, "share": hit.share, "similarity": hit.similarity}  # fmt: skip


def _measures(report: dict[str, Any]) -> str:
    """Return a report as a person reads it."""
    names = ("recall@1", "recall@5", "recall@10", "mrr", "found", "told_unanswerable")
    rows = [[name, str(group["questions"]), *(_value(group.get(one)) for one in names)]
            for name, group in report["groups"].items()]  # fmt: skip
    missed = report["missed_at_5"]
    more = " …" if len(missed) > SHOWN else ""
    lines = [table(["", "questions", *names], rows), f"missed at 5: {', '.join(missed[:SHOWN]) or 'none'}{more}"]
    stale = ["the corpus or the code changed since: tunegate index build"] if report["stale"] else []
    return "\n".join([*lines, *stale])


def _value(measure: dict[str, Any] | None) -> str:
    """Return a measure with its interval."""
    if measure is None:
        return "-"
    return f"{measure['value']:.3f} [{measure['interval'][0]:.2f}, {measure['interval'][1]:.2f}]"
