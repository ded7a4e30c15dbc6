"""A vLLM server that can sleep: its memory on the card given back, its weights kept in the machine's.

Source: vllm/entrypoints/serve/dev/sleep/api_router.py, vllm/config/model.py (0.32). The routes are for development; on
loopback, behind the gateway's list, nobody but the host reaches them.
"""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, TransientError
from tasks.engine.server import VllmServer, serving_uses_cuda

FLAG, VARIABLES = "--enable-sleep-mode", {"VLLM_SERVER_DEV_MODE": "1"}
#: vLLM's own words; its CPU worker would ignore the call with a warning.
NO_SLEEP_ON_CPU = "serve.swap: sleep needs vLLM's CUDA build; its CPU build says: not supported on current platform"


def require_sleep(python: Path) -> None:
    """Refuse a serving environment whose vLLM cannot sleep.

    Raises:
        ConfigError: it is no CUDA build.
    """
    if not serving_uses_cuda(python):
        raise ConfigError(NO_SLEEP_ON_CPU, "serve.swap: hold in params.yaml")


class SleepingServer(VllmServer):
    """A server that is started with `FLAG` and `VARIABLES`."""

    def sleep(self) -> None:
        """Give the memory on the card back: weights to the machine's memory, the cache forgotten (level 1).

        Raises:
            TransientError: it did not.
        """
        self._told("/sleep?level=1", {"status": "sleeping", "level": 1})

    def wake(self) -> None:
        """Take the memory again and answer.

        Raises:
            TransientError: it did not.
        """
        self._told("/wake_up", {"status": "awake", "tags": None})

    def _told(self, path: str, done: dict[str, Any]) -> None:
        """Tell the server something, and hold it to its answer."""
        request = urllib.request.Request(f"{self.url}{path}", method="POST", data=b"")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                said = json.load(answer)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise TransientError(f"vllm did not answer {path}: {error}", f"read {self.log_path}") from error
        if said != done:
            raise TransientError(f"vllm answered {path} with {str(said)[:200]}", f"read {self.log_path}")
