"""Exit codes, errors as a person reads them, progress, and a --help that imports nothing heavy."""

import logging
import subprocess
import sys

import click
import pytest

from tasks.cli.main import COMMANDS, cli
from tasks.core import errors
from tasks.core.guard import guarded
from tasks.core.progress import Progress, duration

CODES = {"ConfigError": 2, "DataContractError": 3, "GateFailedError": 4, "MissingToolError": 5, "TransientError": 75}
HEAVY = ("torch", "transformers", "mlflow", "prefect", "dvc", "great_expectations", "pandas", "vllm", "aiohttp")


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_every_error_has_its_exit_code_and_shows_the_next_command(kind, code, capsys):
    def fail():
        raise getattr(errors, kind)("第三行不是 JSON", "mend line 3")

    assert guarded(fail) == code
    assert capsys.readouterr().err == "error: 第三行不是 JSON\n  next: mend line 3\n"


def test_an_error_without_hint_is_one_line():
    assert str(errors.ConfigError("x")) == "x"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


def test_ctrl_c_says_that_nothing_is_lost(capsys):
    def stop():
        raise click.Abort

    assert guarded(stop) == 130
    assert "kept" in capsys.readouterr().err


def test_wrong_usage_is_2(capsys):
    assert guarded(lambda: cli(["doctor", "--jsom"], standalone_mode=False)) == 2
    assert guarded(lambda: cli(["docter"], standalone_mode=False)) == 2
    assert "docter" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from tasks.cli.main import cli; from tasks.core.guard import guarded;"
        "guarded(lambda: cli(['--help'], standalone_mode=False));"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_documents_itself(name):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_as_a_person_says_them(seconds, words):
    assert duration(seconds) == words


def test_progress_says_how_far_and_counts_resumed_work_apart(caplog):
    caplog.set_level(logging.INFO)
    progress = Progress(logging.getLogger("t"), "train", 10, "steps", done=8, every_s=3600)
    progress.advance(note="loss 1.2")
    assert caplog.messages == []
    progress.advance(note="loss 1.1")
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("train: 10/10 steps, ")
    assert caplog.messages[0].endswith("loss 1.1")
