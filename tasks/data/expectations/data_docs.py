"""Data Docs without clocks, random ids or other people's servers: the same bytes for the same data, readable offline.

Great Expectations stamps pages with the time, gives page elements random ids, and loads style sheets, scripts and a
counting pixel from eight hosts; its index page is empty without them. All of that goes; a small style sheet and an
index of our own come in.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from tasks.data.expectations.outcome import Outcome

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CLOCK = re.compile(r"\d{8}T\d{6}\.\d+Z")
_SCRIPT = re.compile(r"<script\b.*?</script>|<footer\b.*?</footer>", re.IGNORECASE | re.DOTALL)
_LINKED = re.compile(r"<(?:link|img)\b[^>]*(?:static/|//)[^>]*>", re.IGNORECASE)
_REMOTE_PICTURE = re.compile(r"url\(\s*['\"]?https?:[^)]*\)", re.IGNORECASE)
_STYLE = """<style>
body { font-family: system-ui, sans-serif; margin: 1rem auto; max-width: 72rem; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
td, th { border: 1px solid #c9c9c9; padding: .3rem .5rem; text-align: left; vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
td:first-child { word-break: break-word; } .wide { overflow-x: auto; } .wide td:first-child { word-break: normal; }
li { overflow-wrap: anywhere; }
h2 [lang], h1 [lang] { font-weight: 500; color: #666; }
nav, .modal, .cooltip .top, .btn, #ge-cta-footer { display: none; }
.alert { border-left: 4px solid #888; padding: .3rem .8rem; background: #f4f4f4; }
.text-success, .met { color: #19692c; } .text-danger, .broken { color: #a71d2a; }
.fa-check-circle::before { content: "\\2714"; } .fa-times::before { content: "\\2718"; }
.fa-exclamation-triangle::before { content: "\\26A0"; } .fas { font-style: normal; }
</style>
"""


class _FixedRun(NamedTuple):
    """Name and time every validation run has: the outputs' history is DVC's, not the site's."""

    name: str
    time: datetime


FIXED_RUN = _FixedRun("validation", datetime(2000, 1, 1, tzinfo=UTC))


def site_config(folder: Path) -> dict[str, Any]:
    """Return Great Expectations' configuration of a static site in `folder`."""
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }


@dataclass(frozen=True)
class Table:
    """A table of the index page.

    Args:
        heading: English and Chinese.
        words: a sentence above it.
        columns: headings.
        lines: cells.
    """

    heading: tuple[str, str]
    words: str
    columns: Sequence[str]
    lines: Sequence[Sequence[Any]]


def finish_site(folder: Path, outcomes: Sequence[Outcome], tables: Sequence[Table]) -> None:
    """Rewrite every page so that it depends on the data alone and needs no network; write the index.

    Args:
        folder: the site Great Expectations wrote.
        outcomes: every expectation's outcome, for the index.
        tables: what else a reviewer asks for, for the index.
    """
    shutil.rmtree(folder / "static", ignore_errors=True)
    for page in sorted(folder.rglob("*.html")):
        page.write_text(_stable(page.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "index.html").write_text(_index(folder, outcomes, tables), encoding="utf-8")


def _stable(html: str) -> str:
    """Return a page with numbered ids, a fixed clock, our style sheet and nothing from elsewhere."""
    numbers: dict[str, str] = {}
    html = _UUID.sub(lambda found: numbers.setdefault(found[0], f"element-{len(numbers) + 1}"), html)
    html = _CLOCK.sub(FIXED_RUN.time.strftime("%Y%m%dT%H%M%S.%fZ"), html)
    html = _REMOTE_PICTURE.sub("none", _LINKED.sub("", _SCRIPT.sub("", html)))
    return html.replace("</head>", f"{_STYLE}</head>", 1)


def _index(folder: Path, outcomes: Sequence[Outcome], tables: Sequence[Table]) -> str:
    """Return the start page: every outcome, broken ones first, the tables, links to Great Expectations' pages."""
    pages = [page.relative_to(folder).as_posix() for page in sorted(folder.rglob("*/*.html"))]
    links = "".join(f'<li><a href="{escape(page)}">{escape(page.removesuffix(".html"))}</a></li>\n' for page in pages)
    met = sum(outcome.success for outcome in outcomes)
    ranked = sorted(outcomes, key=lambda outcome: (outcome.success, outcome.severity))
    results = Table(
        ("Expectations", "数据期望"),
        f"{met} of {len(outcomes)} expectations met. A broken critical one stops the run, a warning is reported.",
        ("Expectation", "Severity", "Outcome", "Observed", "Threshold", "What it expects"),
        [_cells(outcome) for outcome in ranked],
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Data Docs</title>\n'
        f'{_STYLE}</head><body>\n<h1>Data Docs <span lang="zh">数据检查报告</span></h1>\n'
        f"{''.join(map(_table, (results, *tables)))}"
        f"<h2>Pages of Great Expectations</h2>\n<ul>\n{links}</ul>\n"
        "<p>Times on these pages are fixed: the same data gives the same bytes. When it ran is in the run record.</p>\n"
        "</body></html>\n"
    )


def _cells(outcome: Outcome) -> tuple[Any, ...]:
    """Return one line of the table of outcomes."""
    state = "met" if outcome.success else "broken"
    return outcome.name, outcome.severity, state, outcome.observed, outcome.limits, outcome.description


def _table(table: Table) -> str:
    """Return one section of the index."""
    english, chinese = table.heading
    head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in table.columns)
    lines = "".join(f"<tr>{''.join(map(_cell, line))}</tr>\n" for line in table.lines)
    body = f'<div class="wide"><table><tr>{head}</tr>\n{lines}</table></div>\n' if table.lines else ""
    return f'<h2>{escape(english)} <span lang="zh">{escape(chinese)}</span></h2>\n<p>{escape(table.words)}</p>\n{body}'


def _cell(value: Any) -> str:
    """Return one cell; met and broken have their colour, numbers stand right."""
    if isinstance(value, int | float):
        return f'<td class="number">{value:,}</td>'
    kind = f' class="{value}"' if value in ("met", "broken") else ""
    return f"<td{kind}>{escape(str(value)) if value is not None else ''}</td>"
