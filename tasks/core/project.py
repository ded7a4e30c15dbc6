"""Where things are: the project root, local state, and the addresses the environment gives."""

import os
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import ConfigError

#: Third parties' progress bars and advice off: stages log their own progress, one line every few seconds.
QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "LLM_COMPRESSOR_LOG_DISABLED": "true",
}

#: Telemetry off, everywhere, for this process and all its children.
TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "VLLM_NO_USAGE_STATS": "1",
}

PROFILES = "infra/profiles"
#: In the folder of one run (flows/worktree.py): what that run alone may touch, while its state is the checkout's.
OWN = ".tunegate-run"


def find_root(start: Path | None = None) -> Path:
    """Return the project root: $TUNEGATE_ROOT, or the nearest folder upwards that holds dvc.yaml and params.yaml.

    A clone that lost its params.yaml is found by its profiles, so that `tunegate profile use` can write it again.

    Raises:
        ConfigError: there is none.
    """
    if value := os.environ.get("TUNEGATE_ROOT"):
        return Path(value).resolve()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and any((folder / name).exists() for name in ("params.yaml", PROFILES)):
            return folder
    raise ConfigError(f"no Tunegate project (dvc.yaml and params.yaml) in {here} or above", "cd into your clone")


@dataclass(frozen=True)
class Project:
    """One checkout and its local state.

    Local state (`.tunegate/`) holds what is neither source nor DVC output: checkpoints, MLflow's and Prefect's
    laptop databases, logs, gateway keys, audit log.
    """

    root: Path

    @classmethod
    def here(cls) -> "Project":
        """Return the project around the current directory."""
        return cls(find_root())

    @property
    def state(self) -> Path:
        """Folder of the local state."""
        state = self.root / ".tunegate"
        # Of a run's own folder this is a link, and MLflow keeps the paths it is given for longer than that lives.
        return state.resolve() if (self.root / OWN).is_dir() else state

    @property
    def own(self) -> Path:
        """Folder of what a run half did, logged and measured: in a worktree of its own, else the local state."""
        own = self.root / OWN
        return own if own.is_dir() else self.state

    @property
    def gateway_host(self) -> str:
        """Interface the gateway binds to: $TUNEGATE_GATEWAY_HOST, loopback by default."""
        return os.environ.get("TUNEGATE_GATEWAY_HOST", "127.0.0.1")

    @property
    def gateway_port(self) -> int:
        """Port of the gateway: $TUNEGATE_GATEWAY_PORT."""
        return _port("TUNEGATE_GATEWAY_PORT", 8080)

    @property
    def gateway_url(self) -> str:
        """The stable URL callers use."""
        return f"http://{self.gateway_host}:{self.gateway_port}"

    @property
    def slot_ports(self) -> dict[str, int]:
        """Loopback ports of the two vLLM slots, from $TUNEGATE_SLOT_PORT (blue; green is the next)."""
        first = _port("TUNEGATE_SLOT_PORT", 8101)
        return {"blue": first, "green": first + 1}

    @property
    def evaluation_port(self) -> int:
        """Loopback port of the vLLM server that evaluation starts: $TUNEGATE_EVALUATION_PORT."""
        return _port("TUNEGATE_EVALUATION_PORT", 8103)

    @property
    def embedding_port(self) -> int:
        """Loopback port of the embedding model's server: $TUNEGATE_EMBEDDING_PORT."""
        return _port("TUNEGATE_EMBEDDING_PORT", 8104)

    @property
    def mlflow_uri(self) -> str:
        """MLflow store: $MLFLOW_TRACKING_URI, or sqlite under the local state."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.state / 'mlflow.db'}"

    @property
    def serve_python(self) -> Path:
        """Interpreter of the serving environment: $TUNEGATE_SERVE_PYTHON, or .venv-serve."""
        given = os.environ.get("TUNEGATE_SERVE_PYTHON")
        return Path(given) if given else self.root / ".venv-serve" / "bin" / "python"

    @property
    def llamacpp_python(self) -> Path:
        """Interpreter with llama.cpp in it: $TUNEGATE_LLAMACPP_PYTHON, or .venv-llamacpp; need not be there."""
        given = os.environ.get("TUNEGATE_LLAMACPP_PYTHON")
        return Path(given) if given else self.root / ".venv-llamacpp" / "bin" / "python"


def _port(variable: str, default: int) -> int:
    """Return a port number from the environment."""
    value = os.environ.get(variable, str(default))
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise ConfigError(f"{variable}={value!r} is not a port number", f"export {variable}={default}")
    return int(value)
