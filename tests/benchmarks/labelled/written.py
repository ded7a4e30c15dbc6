"""What the makers of labelled sets share: labelled text as it grows, and files that are written or checked."""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass
class Sentence:
    """A text that grows with its spans."""

    text: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)

    def add(self, type_: str, value: str, variant: str, also: tuple[str, ...] = ()) -> None:
        """Append a labelled value."""
        span = {"start": len(self.text), "end": len(self.text) + len(value), "type": type_, "variant": variant}
        self.spans.append(span | ({"also": list(also)} if also else {}))
        self.text += value

    def row(self, group: str, template: str) -> dict[str, Any]:
        """Return the sentence as a line of a set."""
        return {"group": group, "template": template, "text": self.text, "spans": self.spans}


def as_lines(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_or_check(files: dict[str, str], description: str | None) -> int:
    """Write the files of a maker, or with `--check` say which differ; return the exit status.

    Args:
        files: name to content.
        description: of the script, for its help.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    check = parser.parse_args().check
    stale = [name for name, text in files.items() if check and (HERE / name).read_text(encoding="utf-8") != text]
    for name, text in files.items():
        if not check:
            (HERE / name).write_text(text, encoding="utf-8")
    sys.stdout.write(json.dumps({"stale": stale, "rows": {n: t.count("\n") for n, t in files.items()}}) + "\n")
    return 1 if stale else 0
