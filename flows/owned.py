"""A command that belongs to this process: its output in a file, its whole group ended when this process goes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from tasks.core.keeper import held, signal_in

POLL_S = 0.2
#: How long a stage may take after SIGTERM: training ends the step under way and writes a checkpoint.
GRACE_S = 120.0


class OwnedCommand:
    """Run a command under a keeper, in a session of its own.

    Its output goes to a file and not to a pipe: a reader that stops reading, for whatever reason, costs the command
    nothing. When this process ends, however, or leaves the `with` by an exception, every process of the command gets
    SIGTERM, and after the grace time SIGKILL.

    Args:
        command: what to run.
        folder: where it runs.
        log: where its output goes; replaced.
        environment: its environment.
    """

    def __init__(self, command: list[str], folder: Path, log: Path, environment: dict[str, str]) -> None:
        self.command, self.folder, self.log, self.environment = command, folder, log, environment

    def __enter__(self) -> "OwnedCommand":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._keeper = subprocess.Popen(
                held(self.command, GRACE_S), cwd=self.folder, env=self.environment, stdin=subprocess.PIPE,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._keeper.wait()

    def end(self) -> None:
        """Ask for the end of the command; `lines` goes on until it has ended."""
        # The keeper learns from the closed pipe that nobody wants the command any more.
        if self._keeper.stdin:
            self._keeper.stdin.close()

    @property
    def pid(self) -> int:
        """Process id of the keeper: the command and all it starts are below it."""
        return self._keeper.pid

    @property
    def signal(self) -> int | None:
        """The signal that ended the command, or None where it ended by itself or still runs."""
        code = self._keeper.returncode
        # 255 is what DVC itself ends with, and not a signal.
        return signal_in(code) if code not in (None, 255) else None

    @property
    def code(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._keeper.returncode

    def lines(self) -> Iterator[str | None]:
        """Yield its lines as they come, and None every time there is nothing new, until it has ended."""
        with self.log.open("rb") as stream:
            rest = b""
            while True:
                ended = self._keeper.poll() is not None
                *whole, rest = (rest + stream.read()).split(b"\n")
                for line in whole:
                    yield line.decode("utf-8", "replace").strip()
                if ended:
                    break
                yield None
                self._pause()
            if rest:
                yield rest.decode("utf-8", "replace").strip()

    def _pause(self) -> None:
        """Wait a moment, or until the command has ended."""
        try:
            self._keeper.wait(POLL_S)
        except subprocess.TimeoutExpired:
            return
