"""What tests in several rooms need: real processes in groups of their own, ended on leaving; waiting with a limit."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

#: With -n several processes share the cores, and threads of torch or numpy wait for each other by spinning: two such
#: pools on two cores are ten times slower than one thread each. Set before either is imported; what tests start has it.
BESIDE_OTHERS = "PYTEST_XDIST_WORKER" in os.environ
if BESIDE_OTHERS:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

#: Fixtures that train or quantize: a test that asks for one takes every core, so it is marked `alone`.
TAKE_EVERY_CORE = {"run_train", "start_ranks", "trained", "training", "chain"}


def pytest_configure(config: pytest.Config) -> None:
    """Prefect wants its home on import and warns, an error here, where a clean checkout has no such folder yet."""
    home = tempfile.TemporaryDirectory(prefix="tunegate-prefect-")
    config.add_cleanup(home.cleanup)
    os.environ["PREFECT_HOME"] = home.name
    if BESIDE_OTHERS:
        _wait_longer_for_examples()


def _wait_longer_for_examples() -> None:
    """No deadline for one example of a property test: who shares the cores is now and then slow."""
    from hypothesis import settings

    settings.register_profile("beside", parent=settings(), deadline=None)
    settings.load_profile("beside")


@pytest.hookimpl(tryfirst=True)  # before -m selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if TAKE_EVERY_CORE & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.alone)


@pytest.hookimpl(tryfirst=True)  # before its fixtures
def pytest_runtest_setup(item: pytest.Item) -> None:
    """CI's time is limited: what is left of the slow tests when it is over is skipped, and counted (`.ci/run`)."""
    until = os.environ.get("TUNEGATE_TESTS_UNTIL")
    if until and time.time() > int(until) and item.get_closest_marker("slow"):
        pytest.skip("the time of this run is over")


class Running:
    """A process in its own group, its output in a file, ended on leaving.

    Args:
        command: what to start.
        folder: where it runs and where `<name>.log` is written.
        environment: its environment; this process's where None.
    """

    def __init__(self, command: list[str], folder: Path, name: str, environment: dict[str, str] | None = None) -> None:
        self.command, self.folder, self.environment = command, folder, environment
        self.log = folder / f"{name}.log"

    def __enter__(self) -> Path:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return self.log

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def running() -> type[Running]:
    """A context manager for a process; gives its log file."""
    return Running


@pytest.fixture(scope="session")
def until():
    """Wait for a condition; at the limit the test fails with the end of the log."""

    def wait(condition, log: Path, timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s} s; {log.name} says:\n{log.read_text(encoding='utf-8')[-4000:]}")
            time.sleep(0.5)

    return wait


@pytest.fixture(scope="session")
def vllm_imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers that tests start themselves are forked from processes that have imported vLLM: half of a start is that.

    One for those that have every core and one for those that spare one. Hosts keep their own.
    """
    from tasks.core.project import Project
    from tasks.core.settings import load_settings
    from tasks.engine.preloaded import forked_servers
    from tasks.engine.server import SPARE_CORES

    root = Path(__file__).parents[1]
    vllm, log = load_settings(root / "params.yaml").serve.vllm, tmp_path_factory.mktemp("fork-servers") / "log"
    with forked_servers(Project(root).serve_python, vllm, log, 0, SPARE_CORES):
        yield
