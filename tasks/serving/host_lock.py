"""One host a project: a lock that dies with its process, and who holds it."""

import fcntl
import os

from tasks.core.errors import ConfigError
from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.serving.paths import serving_folder


class HostLock:
    """Hold the project's host lock for as long as the host runs; the kernel frees it when the process dies."""

    def __init__(self, project: Project) -> None:
        folder = serving_folder(project)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.pid_file = folder / "host.json"
        self.url = project.gateway_url
        self._lock = os.open(folder / "host.lock", os.O_CREAT | os.O_RDWR, 0o600)

    def __enter__(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            running = read_json(self.pid_file) if self.pid_file.exists() else {"pid": "unknown", "url": self.url}
            raise ConfigError(
                f"this project is served already: process {running['pid']} at {running['url']}",
                "tunegate status, or tunegate stop",
            ) from error
        write_json(self.pid_file, {"pid": os.getpid(), "url": self.url})

    def __exit__(self, *_: object) -> None:
        self.pid_file.unlink(missing_ok=True)
        os.close(self._lock)
