"""A real Redis for tests: what is installed, else Debian's packages unpacked."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import redis

from tests.debian import unpacked

#: Debian's, where none is installed.
PACKAGES = ("redis-server", "redis-tools", "liblzf1", "liblua5.1-0", "lua-bitop", "lua-cjson", "libjemalloc2")


def redis_server(folder: Path) -> tuple[Path, dict[str, str]]:
    """Return the program and the environment it needs; skips where there is none to be had."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found), dict(os.environ)
    environment = unpacked("Redis", PACKAGES, folder)
    return folder / "usr" / "bin" / "redis-server", environment


class Store:
    """One Redis; it keeps what it has counted when it is killed and started again, unless it is emptied."""

    def __init__(self, folder: Path, port: int, program: Path, environment: dict[str, str]) -> None:
        self.folder, self.port, self.url = folder, port, f"redis://:word-of-the-test@127.0.0.1:{port}/0"
        self.program, self.environment = program, environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        words = ["--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder, "--appendonly", "yes",
                 "--appendfsync", "always", "--save", "", "--requirepass", "word-of-the-test"]  # fmt: skip
        self.process = subprocess.Popen([self.program, *map(str, words)], env=self.environment,
                                        stdout=subprocess.DEVNULL)  # fmt: skip
        deadline = time.monotonic() + 20
        while not self.answers():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def answers(self) -> bool:
        """Return whether it is there."""
        try:
            return bool(self.client().ping())
        except redis.ConnectionError:
            return False

    def client(self) -> redis.Redis:
        """Return a client of the test's own."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def kill(self) -> None:
        """Kill it where it runs."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def empty(self) -> None:
        """Take away its memory; it must not run."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)
