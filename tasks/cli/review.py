"""`tunegate review draw | serve | report | rows | facts` and `tunegate feedback`: people's word on answers."""

from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.errors import ConfigError
from tasks.core.layout import HOPS, REVIEWS, report_of
from tasks.core.project import Project

NAME = click.option("--name", default="first", show_default=True, help="Of the review: small letters, digits, -.")


@click.group()
def review() -> None:
    """Let experts read sampled answers, hop by hop and blind; say how far they agree; make rows of their verdicts."""


@review.command("draw")
@NAME
@click.option("--items", default=8, show_default=True, type=click.IntRange(1), help="Of each suite.")
@click.option("--seed", default=42, show_default=True, help="Decides which items, and their order.")
@click.option("--hop", "hops", multiple=True, type=click.Choice(HOPS), help="One of those compared.  [all evaluated]")
@click.option("--suite", "suites", multiple=True, help="A suite whose answers are written.  [all of them]")
@json_option
def draw(name: str, items: int, seed: int, hops: tuple[str, ...], suites: tuple[str, ...], as_json: bool) -> None:
    """Sample answers of the last evaluation into data/reviews/NAME."""
    from tasks.exams.pack.reading import load_pack
    from tasks.review.cards import READ, write_review

    if unknown := sorted(set(suites) - set(READ)):
        raise ConfigError(f"{unknown[0]} is no suite with written answers", f"one of: {', '.join(READ)}")
    project, settings = project_and_settings()
    folders = {hop: project.root / report_of(hop) for hop in hops or HOPS}
    reports = {hop: folder for hop, folder in folders.items() if (folder / "samples.jsonl").is_file()}
    if missing := sorted(set(hops) - set(reports)):
        raise ConfigError(f"hop {missing[0]} is not evaluated", "tunegate run")
    pack = load_pack(project.root / settings.evaluate.domain.path)
    found = write_review(_folder(project, name), reports, pack, items=items, seed=seed, suites=suites or READ)
    text = (
        f"{REVIEWS}/{name}: {found['cards']} answers of {', '.join(found['hops'])}\n"
        f"  next: tunegate review serve --name {name} --reviewer expert-1"
    )
    emit(found, as_json=as_json, text=text)


@review.command("serve")
@NAME
@click.option("--reviewer", required=True, help="Your id: expert-1; a person's name is not needed.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Without it a free one.")
def serve(name: str, reviewer: str, port: int) -> None:
    """Show the answers on a page of this machine, one at a time; go on where you stopped."""
    from tasks.review.page.server import serve as serve_page

    serve_page(_folder(Project.here(), name), reviewer, port, told=click.echo)


@review.command("report")
@NAME
@json_option
def report(name: str, as_json: bool) -> None:
    """Say how far reviewers agree with each other and with the scorer, and what each hop is worth to them."""
    from tasks.review.report import report as make

    found = make(_folder(Project.here(), name))
    emit(found, as_json=as_json, text=_text(found))


@review.command("rows")
@NAME
@click.option("--feedback", "of_callers", is_flag=True, help="Of callers' marks in the audit log, not of a review.")
@click.option("--to", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="JSON Lines file.")
@click.option("--replace", is_flag=True, help="Where the file is there already.")
@json_option
def rows(name: str, of_callers: bool, file: Path, replace: bool, as_json: bool) -> None:
    """Write verdicts as rows that stage prepare reads; what becomes of each stands in its ledger."""
    from tasks.review.rows import write_rows

    made, counts = _rows_of_callers() if of_callers else _rows_of_review(name)
    if made:
        write_rows(file, made, replace=replace)
    lines = [f"{file}: {len(made)} rows" if made else "no row", *(f"  {what}: {n}" for what, n in counts.most_common())]
    if made and not of_callers:
        lines.append("questions of the evaluation pack: prepare drops them as eval_leak while the pack holds them")
    emit({"rows": len(made), "counts": dict(counts)}, as_json=as_json, text="\n".join(lines))


@review.command("facts")
@click.option("--pack", type=click.Path(exists=True, file_okay=False, path_type=Path), help="[evaluate.domain.path]")
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), help="Markdown file.  [stdout]")
def facts(pack: Path | None, file: Path | None) -> None:
    """List what a domain expert should read of a pack first: safety, refusals, numbers and thresholds, orders."""
    from tasks.core.files import write_text
    from tasks.exams.pack.reading import load_pack
    from tasks.review.facts import page

    if pack is None:
        project, settings = project_and_settings()
        pack = project.root / settings.evaluate.domain.path
    text = page(load_pack(pack))
    if file:
        write_text(file, text)
    else:
        click.echo(text, nl=False)


@click.command()
@click.argument("request_id")
@click.argument("mark", type=click.Choice(["good", "bad"]))
@click.option("--note", default="", help="Why; at most 200 characters, personal data in it is masked.")
@click.option("--answer", default="", help="With bad: the answer as it should have been.")
@json_option
def feedback(request_id: str, mark: str, note: str, answer: str, as_json: bool) -> None:
    """Mark an answer of the gateway as good or bad, by its x-request-id; kept in the audit log.

    `tunegate review rows --feedback` makes rows of such marks.
    """
    from tasks.release.history import requester
    from tasks.review.feedback import give

    project, settings = project_and_settings()
    left = give(project, settings, request_id, mark, by=requester(), note=note, answer=answer)
    emit(left, as_json=as_json, text=f"{request_id}: {mark}; in the audit log as soon as the host writes it")


def _folder(project: Project, name: str) -> Path:
    """Return the folder of a review."""
    from tasks.review.cards import require_name

    return project.root / REVIEWS / require_name(name)


def _rows_of_review(name: str) -> Any:
    """Return the rows of a review."""
    from tasks.review.cards import read_cards
    from tasks.review.marks import read_marks
    from tasks.review.rows import review_rows

    folder = _folder(Project.here(), name)
    cards = read_cards(folder)
    return review_rows(cards, read_marks(folder, cards))


def _rows_of_callers() -> Any:
    """Return the rows of callers' marks."""
    from tasks.release.history import requester
    from tasks.review.feedback import feedback_rows

    return feedback_rows(Project.here(), read_by=requester())


def _text(found: dict[str, Any]) -> str:
    """Return a report as a person reads it."""
    who = ", ".join(f"{one['id']} ({one['marked']})" for one in found["reviewers"])
    lines = [f"{found['name']}: {found['cards']} answers, marked by {who}; {len(found['disputed'])} disputed", ""]
    lines.append("between reviewers")
    for measure, one in found["between"].items():
        lines.append(f"  {measure:<15} alpha {_value(one['alpha'])}")
        lines += [f"  {'':<15} kappa {_value(pair)}  {' and '.join(pair['reviewers'])}" for pair in one["kappa"]]
    lines.append("against the automatic score")
    for measure, each in found["against_automatic"].items():
        lines += [f"  {measure:<15} kappa {_value(one)}  {one['reviewer']}" for one in each]
    lines.append("hop by hop: share of yes (the scorer's on the same answers)")
    for hop, one in found["hops"].items():
        shares = [f"{measure} {_share(one[measure])}" for measure in ("points", "right", "factual_error")]
        harm = ", ".join(f"{count} {name}" for name, count in one["severity"].items() if count)
        lines.append(f"  {hop:<9}{one['answers']:>4} answers  {'  '.join(shares)}  harm: {harm or '-'}")
    lines.append("  next: dvc repro --single-item --force dossier   (the dossier shows it)")
    return "\n".join(lines)


def _value(one: dict[str, Any]) -> str:
    """Return a measure of agreement with its interval."""
    if one["value"] is None:
        return f"   -  (of {one['units']}: all one value, or nothing)"
    interval = "[{:.2f}, {:.2f}]".format(*one["interval"]) if one["interval"] else "[too few items]"
    return f"{one['value']:6.2f} {interval}, {one['agree']:.0%} alike of {one['units']}"


def _share(one: dict[str, Any]) -> str:
    """Return a share of yes, and the scorer's."""
    if one["yes"] is None:
        return "-"
    automatic = one.get("automatic")
    return f"{one['yes']:.2f}" + (f" ({automatic:.2f})" if automatic is not None else "")
