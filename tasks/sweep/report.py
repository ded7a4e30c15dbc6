"""A sweep as a table, as Markdown and as a page with a picture; all made of trials.jsonl and result.json alone."""

from pathlib import Path
from typing import Any

import jinja2

from tasks.core.files import write_text
from tasks.core.table import table
from tasks.sweep.checks import words
from tasks.sweep.comparison import PRESENT
from tasks.sweep.picture import picture
from tasks.sweep.store import DONE, FAILED, Sweep

TEMPLATE = Path(__file__).with_name("report.html.j2")
HEAD = ["", "trial", "settings", "value", "difference", "interval", "p", "p (Holm)", "note"]
OTHERS = ["metric", "as is", "winner", "difference", "interval", "items"]


def rows_of(lines: list[dict[str, Any]], result: dict[str, Any] | None) -> list[list[str]]:
    """Return the table's rows: the present settings first, then every trial that has ended."""
    found = {row["trial"]: row for row in result["trials"]} if result else {}
    winner = result["winner"] if result else None
    return [_row(line, found.get(line["trial"]), won=line["trial"] == winner) for line in lines]


def sentences(result: dict[str, Any]) -> list[str]:
    """Return what a reader must know of a result, in order."""
    items, percent = result["items"], f"{result['confidence']:.0%}"
    said = [
        f"{result['metric']} at hop {result['hop']}, {'lower' if result['lower_is_better'] else 'higher'} is better; "
        f"the difference is from the settings as they are, {percent} intervals",
        f"chosen on {items['selection']} items; {result['compared']} trials were compared there, so their p-values are "
        f"adjusted for {result['compared']} (Holm); {result['failed']} failed, {result['repeated']} repeated another",
    ]
    if result["winner"] == PRESENT:
        return [*said, "no trial is better there than the settings as they are: the held-out items were not looked at"]
    return [*said, _heldout_words(result), *_looks_words(result)]


def text_of(lines: list[dict[str, Any]], result: dict[str, Any] | None) -> str:
    """Return a sweep for a terminal."""
    shown = table(HEAD, rows_of(lines, result))
    if result is None:
        return f"{shown}\nnot done: the same command goes on"
    return "\n".join([shown, *sentences(result), *_others_lines(result)])


def write_report(sweep: Sweep, result: dict[str, Any]) -> None:
    """Write report.md and report.html into the sweep's folder."""
    lines = sweep.trials()
    rows, said = rows_of(lines, result), sentences(result)
    marked = [_marked(HEAD), _marked(["---"] * len(HEAD)), *(_marked(row) for row in rows)]
    others = [f"- {line.strip()}" for line in _others_lines(result)]
    text = "\n\n".join([f"# Sweep {sweep.name}", *said, "\n".join(marked), "\n".join(others)]).rstrip()
    write_text(sweep.folder / "report.md", f"{text}\n")
    engine = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = engine.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=sweep.name, head=HEAD, cells=[row[1:] for row in rows],
        won=[at for at, row in enumerate(rows) if row[0]], sentences=said, facts=sweep.facts, picture=picture(result),
        others=(OTHERS, _others_rows(result)) if result["others"] else None,
    )  # fmt: skip
    write_text(sweep.folder / "report.html", page)


def _row(line: dict[str, Any], found: dict[str, Any] | None, *, won: bool) -> list[str]:
    """Return one trial's row."""
    settings = words(line["settings"])
    start = ["*" if won else "", str(line["trial"]), settings, _number(line.get("value"))]
    if line["status"] == FAILED:
        return [*start, "", "", "", "", f"failed: {line['why'].splitlines()[0]}"]
    if line["status"] != DONE:
        return [*start, "", "", "", "", f"the same as trial {line['of']}"]
    if found is None:
        return [*start, "", "", "", "", ""]
    low, high = found["interval"]
    return [*start, _number(found["difference"], sign=True), _between(low, high), _p(found["p_value"]),
            _p(found["p_adjusted"]), ""]  # fmt: skip


def _heldout_words(result: dict[str, Any]) -> str:
    """Return what the held-out half says of the winner."""
    found, settings = result["heldout"], words(result["settings"])
    verdict = "shown to be better" if found["shown"] else "shown to be worse" if found["worse"] else "not shown"
    if not found["shown"] and found["minimum_detectable"] is not None:
        verdict += f"; these items show a difference of {found['minimum_detectable']:.4g} four times in five"
    return (
        f"held out: trial {result['winner']} ({settings}) on {found['n']} items that it was not chosen on: "
        f"{_number(found['base_value'])} -> {_number(found['value'])}, "
        f"difference {_number(found['difference'], sign=True)} ({_between(*found['interval'])}), "
        f"p {_p(found['p_value'])} of one test: {verdict}"
    )


def _looks_words(result: dict[str, Any]) -> list[str]:
    """Return what weakens the held-out number."""
    said = ["the gate asks all of these items again: of the half that was chosen on, its number is too good"]
    if count := result["earlier_looks"]:
        looked = f"{count} earlier sweep(s) looked at the same held-out items by this metric"
        said.insert(0, f"{looked}: with every look they are less held out; new items mend that")
    return said


def _others_lines(result: dict[str, Any]) -> list[str]:
    """Return the other metrics of the winner, a line each."""
    if not result["others"]:
        return []
    head = ["other metrics, held out", *OTHERS[1:]]
    return [f"  {line}" for line in table(head, _others_rows(result)).split("\n")]


def _others_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return the other metrics of the winner as rows under OTHERS."""
    return [[row["metric"], _number(row["base_value"]), _number(row["value"]), _number(row["difference"], sign=True),
             _between(*row["interval"]), str(row["n"])] for row in result["others"]]  # fmt: skip


def _number(value: float | None, *, sign: bool = False) -> str:
    """Return a number with four decimals."""
    return "" if value is None else f"{value:+.4f}" if sign else f"{value:.4f}"


def _between(low: float | None, high: float | None) -> str:
    """Return an interval; an end that the items cannot tell is left open."""
    return f"{_number(low, sign=True) or '?'} to {_number(high, sign=True) or '?'}"


def _p(value: float | None) -> str:
    """Return a p-value."""
    return "" if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _marked(cells: list[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
