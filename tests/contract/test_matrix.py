"""docs/matrix.md: every row says where it works, what it names is there, every size is computed."""

import re
from pathlib import Path

import click
import pytest

from tasks.cli.main import cli
from tasks.core.settings import load_settings
from tasks.models.catalogue import load_catalogue, memory

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "matrix.md"
USES = ("serve_16bit", "serve_8bit", "serve_4bit", "qlora", "lora", "full")
STATES = ("**here**", "**GPU**", "**no**", "by URL")


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of the page's tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.match(r"^\|[-| ]+\|$", line)]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[0] not in ("row", "model")]


def faults(text: str) -> list[str]:
    """Return what the page says that is not so."""
    found = []
    for row in table_rows(text):
        if len(row) == 3 and not any(state in row[1] for state in STATES):
            found.append(f"no state: {row[0]}")
        if len(row) == 3 and "**here**" in row[1] and not re.search(r"`[^`]+`", row[2]):
            found.append(f"no test or command: {row[0]}")
        if len(row) == 8:
            found += wrong_size(row)
    found += [f"no such file: {path}" for path in named_paths(text) if not (ROOT / path).exists()]
    return found + [f"no such command: {words}" for words in named_commands(text) if not is_command(words)]


def named_paths(text: str) -> list[str]:
    return re.findall(r"`((?:tests|docs|infra|tasks)/[\w/.-]+)`", text)


def named_commands(text: str) -> list[str]:
    return re.findall(r"`tunegate ([a-z -]+)`", text)


def is_command(words: str) -> bool:
    """Return whether the words lead to a command or a group; the last may be an argument of a command."""
    here: click.Command = cli
    for word in words.split():
        if not isinstance(here, click.Group):
            return True
        found = here.get_command(click.Context(here), word)
        if found is None:
            return False
        here = found
    return True


def wrong_size(row: list[str]) -> list[str]:
    """Return what a row of the table of sizes has wrong, by the formulas and the shipped settings of LoRA."""
    model = next(model for model in load_catalogue().models if model.id == row[0])
    estimates = memory(model, load_settings(ROOT / "infra/profiles/laptop.yaml").train)
    billion = model.parameters_billion
    right = [f"{2 * billion:.0f}, {billion:.0f}, {billion / 2:.0f}", *(f"{estimates[use].gib:.1f}" for use in USES)]
    return [f"{row[0]}: {cell}, not {value}" for cell, value in zip(row[1:], right, strict=True) if cell != value]


def test_the_page_says_what_is_so():
    text = PAGE.read_text("utf-8")
    assert len(table_rows(text)) > 35
    assert len(named_paths(text)) > 25
    assert len(named_commands(text)) > 8
    assert faults(text) == []


@pytest.mark.parametrize(
    ("right", "planted", "said"),
    [
        ("tests/contract/test_families.py", "tests/contract/test_family.py", "no such file"),
        ("tunegate export gguf", "tunegate export gguff", "no such command"),
        ("| **here** | `tests/flows/test_two_machines.py` |", "| **here** | |", "no test or command"),
        ("| **here** | `tests/flows/test_two", "| works | `tests/flows/test_two", "no state"),
        ("| 23.8 |", "| 20.0 |", "Qwen/Qwen3-32B: 20.0, not 23.8"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_seen(right, planted, said):
    text = PAGE.read_text("utf-8")
    assert right in text
    assert any(fault.startswith(said) for fault in faults(text.replace(right, planted)))
