"""A real Postgres for tests: what is installed, else Debian's packages unpacked; never run as root."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.debian import unpacked

#: Debian 12's, where none is installed.
PACKAGES = ("postgresql-15", "postgresql-client-15", "libpq5", "libxslt1.1", "libllvm14")
#: With what would break an address that is not quoted.
PASSWORD = "word of/the@test"
OWNER = "tunegate"


def programs(folder: Path) -> tuple[Path, dict[str, str]]:
    """Return the folder of Postgres' programs and their environment; skips where there is none to be had."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if installed:
        return installed[-1].parent, dict(os.environ)
    environment = unpacked("Postgres", PACKAGES, folder)
    return folder / "usr/lib/postgresql/15/bin", environment


class Postgres:
    """One server on loopback that asks for a password.

    It refuses to be root: there it runs as `nobody`, so its folder is not below pytest's, which is root's alone.
    """

    def __init__(self, port: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tunegate-postgres-"))
        self.folder.chmod(0o755)
        self.port, self.process = port, None
        self.bin, self.environment = programs(self.folder)
        self.user = "nobody" if os.geteuid() == 0 else None

    def start(self) -> "Postgres":
        data, word = self.folder / "data", self.folder / "word"
        for path in (data, self.folder / "run"):
            path.mkdir()
        word.write_text(PASSWORD, encoding="utf-8")
        if self.user:
            for path in (data, word, self.folder / "run"):
                shutil.chown(path, self.user)
        self._run("initdb", "-D", data, "-U", OWNER, "--pwfile", word, "--auth=scram-sha-256", "--no-sync",
                  "--encoding=UTF8", "--locale=C")  # fmt: skip
        return self.start_again()

    def start_again(self) -> "Postgres":
        """Start it on the data it has."""
        words = ["-D", self.folder / "data", "-p", self.port, "-k", self.folder / "run",
                 "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.bin / "postgres", *map(str, words)], stdout=log, stderr=log,
                                            user=self.user, cwd="/", env=self.environment)  # fmt: skip
        deadline = time.monotonic() + 30
        while self._run("pg_isready", "-h", "127.0.0.1", "-p", self.port, check=False).returncode:
            assert time.monotonic() < deadline, (self.folder / "log").read_text("utf-8")[-2000:]
            time.sleep(0.1)
        return self

    def create(self, name: str, driver: str = "postgresql") -> str:
        """Make a database and return its address."""
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", OWNER, name)
        return f"{driver}://{OWNER}:word%20of%2Fthe%40test@127.0.0.1:{self.port}/{name}"

    def has(self, name: str) -> bool:
        """Return whether there is such a database."""
        return bool(self.rows("postgres", f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))

    def rows(self, name: str, query: str) -> list[tuple]:
        """Return what a query says, asked by psql: not by the driver under test."""
        words = ["-h", "127.0.0.1", "-p", self.port, "-U", OWNER, "-d", name, "-AtF", "\t", "-c", query]
        return [tuple(line.split("\t")) for line in self._run("psql", *words).stdout.splitlines()]

    def copy_tables(self, source: str, target: str) -> None:
        """Have the tables of one database in another one, without rows."""
        login = ["-h", "127.0.0.1", "-p", self.port, "-U", OWNER, "-d"]
        text = self._run("pg_dump", *login, source, "--no-owner", "--schema-only").stdout
        script = self.folder / "run" / f"{target}.sql"
        script.write_text(text, encoding="utf-8")
        self._run("psql", *login, target, "-q", "-v", "ON_ERROR_STOP=1", "-f", script)

    def kill(self) -> None:
        """End it with signal 9, each process of it; its data stay."""
        everyone = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)
        psutil.wait_procs(everyone, 30)

    def stop(self) -> None:
        """End it, and leave nothing of it."""
        if self.process and self.process.poll() is None:
            # At once: nobody starts it again.
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = self.environment | {"PGPASSWORD": PASSWORD}
        done = subprocess.run([self.bin / program, *map(str, words)], capture_output=True, text=True, check=False,
                              user=self.user, cwd="/", env=environment, timeout=120)  # fmt: skip
        assert not (check and done.returncode), done.stderr
        return done
