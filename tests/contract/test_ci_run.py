"""`.ci/run`: every part runs though one before it failed, the exit code tells, and no slow test is left out."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / ".ci" / "run"
SAID = 'echo "$(basename "$0") $*" >> said; case "$*" in {fails}) exit 1;; esac\n'


@pytest.fixture
def ci_run(tmp_path):
    """Run a copy with stand-ins for make and Python, which fail where their words match; return exit code and lines."""

    def run(fails: str) -> tuple[int, list[str], list[str]]:
        (tmp_path / ".ci").mkdir()
        shutil.copy(RUN, tmp_path / ".ci" / "run")
        for path in (tmp_path / "bin" / "make", tmp_path / ".venv" / "bin" / "python"):
            path.parent.mkdir(parents=True)
            path.write_text("#!/bin/sh\n" + SAID.format(fails=fails), encoding="utf-8")
            path.chmod(0o755)
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run([tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines(), (tmp_path / "said").read_text("utf-8").splitlines()

    return run


def test_all_parts_run_and_every_slow_test_is_in_one_of_two(ci_run):
    code, lines, said = ci_run("nothing")
    assert (code, lines[-1]) == (0, "== all that was run held")
    assert said[:3] == ["make setup llamacpp", "make test", "make lint"]
    end, alone, beside = said[3:]
    assert "-m slow and not alone -n" in beside
    assert alone.endswith("-m slow and alone")
    assert end.endswith("-m e2e")


@pytest.mark.parametrize(("fails", "named"), [("test", "1/5"), ("*and?alone", "4/5"), ("*e2e*", "3/5")])
def test_a_part_that_fails_is_named_at_the_end_and_the_others_run(ci_run, fails, named):
    code, lines, said = ci_run(fails)
    assert (code, len(said)) == (1, 6)
    assert lines[-1].startswith(f"== failed: {named}")


def test_without_environments_nothing_is_tried(ci_run):
    code, _, said = ci_run("setup?llamacpp")
    assert (code, said) == (1, ["make setup llamacpp"])


def test_slow_tests_that_hang_are_ended_and_the_parts_after_them_run(tmp_path):
    """Planted: a Python that does not end where the slow tests are asked for, and time that is over."""
    text = RUN.read_text("utf-8").replace("MINUTES=82", "MINUTES=-100").replace(": 60)", ": 1)")
    assert text.count("MINUTES=-100") == text.count(": 1)") == 1
    hangs = '#!/bin/sh\ncase "$*" in *"and alone"*) exec sleep 60;; esac\n'
    for path, body in ((".ci/run", text), ("bin/make", "#!/bin/sh\n"), (".venv/bin/python", hangs)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(body, "utf-8")
        (tmp_path / path).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        [tmp_path / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False, timeout=45
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[-1].startswith("== failed: 4/5")
    assert any(line.startswith("== 5/5") and "held" in line for line in lines)


def test_a_slow_test_is_skipped_when_the_time_is_over_and_a_fast_one_never(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.slow\ndef test_slow(): pass\ndef test_fast(): pass\n", encoding="utf-8"
    )
    shutil.copy(RUN.parents[1] / "tests" / "conftest.py", tmp_path / "conftest.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", tmp_path]
    for until, outcome in ((time.time() - 1, "1 passed, 1 skipped"), (time.time() + 600, "2 passed")):
        environment = os.environ | {"TUNEGATE_TESTS_UNTIL": str(int(until))}
        done = subprocess.run([*command, tmp_path], env=environment, capture_output=True, text=True, check=False)
        assert outcome in done.stdout, done.stdout
