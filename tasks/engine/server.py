"""One vLLM server as a child process: in evaluation one at a time, in serving one a slot."""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tasks.core.errors import DataContractError, MissingToolError, TransientError
from tasks.core.files import read_json
from tasks.core.gpus import BUS_ORDER
from tasks.core.keeper import held, let_go
from tasks.core.processor import cpu_dtype
from tasks.core.progress import duration
from tasks.core.project import TELEMETRY_OFF
from tasks.core.settings import VllmParams
from tasks.engine.forking import forked
from tasks.engine.yielding import take_full_share, yield_to_others
from tasks.models.architecture import require_served_on_cpu
from tasks.models.safety import require_safe

log = logging.getLogger(__name__)

MODULE = "vllm.entrypoints.openai.api_server"
HOST = "127.0.0.1"
POLL_S = 0.25
PROGRESS_EVERY_S = 5.0
#: How long a server may take to end by itself before it is killed.
STOP_GRACE_S = 10.0
LOG_LINES_QUOTED = 4
#: CPU build: what a server that has company leaves to HTTP, tokenizer and gateway.
SPARE_CORES = 1
#: A server that is loaded beside another yields for this part of the time it may take: on a full machine it would never
#: be ready (measured: not in 5 minutes, against 1 to 3).
YIELDS_PART = 0.2
#: The server closes connections idle for this long; the gateway's pool must let go of them earlier.
IDLE_CONNECTION_S = 75

#: What the model without its adapter is called beside the one with it.
BARE_SUFFIX = "-without-adapter"
#: Room for adapters comes in these sizes only. Source: vllm/config/lora.py, MaxLoRARanks (0.32).
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
#: With an adapter here vLLM computes no prompt log-probabilities (vllm/lora/layers/logits_processor.py, 0.32).
UNSCORED = frozenset({"lm_head", "embed_tokens"})

#: Where vLLM finds our plugins, each by an entry point.
PLUGINS = Path(__file__).with_name("plugins")
#: All that the server inherits: no secrets of ours, no Python settings of the pipeline's environment.
INHERITED = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "TZ",
    "USER",
    "LOGNAME",
    "XDG_CACHE_HOME",
    "LD_LIBRARY_PATH",
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
)

_PROBE = """
import importlib.util, json, pathlib
version, cuda = importlib.util.find_spec("torch"), None
if version:
    scope = {}
    exec(pathlib.Path(version.origin).with_name("version.py").read_text(), scope)
    cuda = scope.get("cuda")
print(json.dumps({"vllm": importlib.util.find_spec("vllm") is not None, "cuda": cuda}))
"""
_ERROR_LINE = re.compile(r"\b\w*(Error|Exception)\b(: | \()")
_LOG_PREFIX = re.compile(r"^(\(\S+ pid=\d+\) )?((ERROR|WARNING|INFO|CRITICAL) \d\d-\d\d [\d:]+ \[[^\]]*\] )?")


class VllmServer:
    """A vLLM server that dies with this process.

    Use as a context manager: `with VllmServer(project.serve_python) as server: server.start(...); server.wait_ready()`.

    Args:
        python: interpreter of the serving environment.
        on_progress: gets one line every few seconds of waiting; the log by default.
    """

    def __init__(self, python: Path, *, on_progress: Callable[[str], None] = log.info) -> None:
        self.python, self.on_progress = python, on_progress
        self.port = 0
        self.log_path = Path(os.devnull)
        self._timeout_s = 0.0
        self._started = 0.0
        self._yields = False
        self._keeper: subprocess.Popen[bytes] | None = None
        self.computed_in = ""  # type of the model's arithmetic, once started

    def __enter__(self) -> "VllmServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Base URL of the server, without /v1."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the keeper that holds the server, or None where nothing was started."""
        return self._keeper.pid if self._keeper else None

    @property
    def alive(self) -> bool:
        """Whether the server's process runs (it may not be ready yet)."""
        return self._keeper is not None and self._keeper.poll() is None

    def start(
        self,
        model: Path,
        port: int,
        params: VllmParams,
        served_name: str,
        log_path: Path,
        *,
        adapter: Path | None = None,
        flags: Sequence[str] = (),
        port_variable: str = "TUNEGATE_EVALUATION_PORT",
        gpus: str | None = None,
        spare_cores: int = SPARE_CORES,
        variables: Mapping[str, str] | None = None,
        beside: bool = False,
    ) -> None:
        """Start serving a model folder; returns at once, `wait_ready` waits.

        Args:
            model: folder of safetensors, config and tokenizer.
            port: loopback port.
            params: section `serve.vllm` of params.yaml.
            served_name: the `model` of requests: the lineage id.
            log_path: where the server's output goes; an older log is replaced.
            adapter: folder of a LoRA adapter on top of the model; `served_name` then names the model with the adapter,
                and `served_name` + "-without-adapter" the bare one.
            flags: further ones of vLLM, e.g. its parsers.
            port_variable: environment variable that sets the port, for the error message.
            gpus: which GPUs it may see, e.g. "0,1"; None for all that this process sees.
            spare_cores: CPU build: cores left to the rest.
            variables: further ones of its environment.
            beside: whether another one answers meanwhile: on a CPU build this one then yields to it until it is ready,
                or for a fifth of `startup_timeout_s`.

        Raises:
            DataContractError: the model folder or the adapter could execute something, vLLM would not apply all of
                the adapter, or its CPU build has no kernel for the model.
            MissingToolError: no serving environment, no C++ compiler, or the port is taken.
        """
        require_safe(model)
        lora = adapter_flags(adapter, served_name) if adapter else []
        cuda = serving_uses_cuda(self.python)
        if not cuda:
            require_served_on_cpu(model, adapter)
        require_compiler()
        require_free_port(port, port_variable)
        self.port, self.log_path, self._timeout_s = port, log_path, params.startup_timeout_s
        log_path.parent.mkdir(parents=True, exist_ok=True)
        bare_name = f"{served_name}{BARE_SUFFIX}" if adapter else served_name
        self.computed_in = served_dtype(params, cuda=cuda)
        arguments = [*server_arguments(model.resolve(), port, params, bare_name, cuda=cuda), *lora, *flags]
        environment = server_environment(self.python, params, cuda=cuda, spare_cores=spare_cores) | dict(
            variables or {}
        )
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpus
        shared = None if cuda else forked(self.python, arguments, environment)
        command = shared or [str(self.python), "-m", MODULE, *arguments]
        self._started = time.monotonic()
        with log_path.open("wb") as output:
            self._keeper = subprocess.Popen(
                held(command, STOP_GRACE_S),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=log_path.parent,
                start_new_session=True,
            )
        # What is forked has most of its work behind it, and is no process below the keeper.
        self._yields = beside and not cuda and not shared
        if self._yields:
            yield_to_others(self._keeper.pid)

    def wait_ready(self) -> float:
        """Wait until the server answers and return the seconds since its start.

        Raises:
            TransientError: the server died or did not answer within `startup_timeout_s`; the message quotes its log.
        """
        told = self._started
        while not (self.alive and self.healthy()):
            now = time.monotonic()
            if not self.alive:
                raise TransientError(f"vllm ended while starting: {self.log_excerpt()}", f"read {self.log_path}")
            if now - self._started > self._timeout_s:
                raise TransientError(
                    f"vllm was not ready after {duration(self._timeout_s)}: {self.log_excerpt()}",
                    f"raise serve.vllm.startup_timeout_s, or read {self.log_path}",
                )
            if self._yields and now - self._started > YIELDS_PART * self._timeout_s:
                self._take_full_share()
            if now - told >= PROGRESS_EVERY_S:
                told = now
                self.on_progress(f"vllm: starting, {duration(now - self._started)}")
            time.sleep(POLL_S)
        self._take_full_share()
        seconds = time.monotonic() - self._started
        self.on_progress(f"vllm: ready after {duration(seconds)} on {self.url}")
        return seconds

    def _take_full_share(self) -> None:
        """Yield no longer."""
        if self._yields and self.pid:
            take_full_share(self.pid)
        self._yields = False

    def healthy(self) -> bool:
        """Return whether the server says that its engine works."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def log_excerpt(self) -> str:
        """Return the lines of the log that say what went wrong: the last errors, else the last lines."""
        try:
            lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            return f"no log ({error})"
        plain = [text for line in lines if (text := _LOG_PREFIX.sub("", line).strip())]
        errors = list(dict.fromkeys(line for line in plain if _ERROR_LINE.search(line)))
        return " | ".join((errors or plain)[-LOG_LINES_QUOTED:]) or "its log is empty"

    def stop(self) -> None:
        """End the server and every process it started; safe to call twice."""
        keeper, self._keeper = self._keeper, None
        if keeper:
            let_go(keeper, STOP_GRACE_S + 10)


def served_dtype(params: VllmParams, *, cuda: bool) -> str:
    """Return the type a server computes in: the one asked for, or fp32 on a CPU that has no such."""
    return params.dtype if cuda else cpu_dtype(params.dtype)


def server_arguments(model: Path, port: int, params: VllmParams, served_name: str, *, cuda: bool) -> list[str]:
    """Return the flags of a server; every one comes from `serve.vllm` or is the same everywhere."""
    command = [
        f"--model={model}",
        f"--served-model-name={served_name}",
        f"--host={HOST}",
        f"--port={port}",
        f"--dtype={served_dtype(params, cuda=cuda)}",
        f"--max-model-len={params.max_model_length_tokens}",
        f"--max-num-seqs={params.max_concurrent_sequences}",
        "--disable-uvicorn-access-log",
    ]
    if params.enforce_eager:
        command.append("--enforce-eager")
    if cuda:
        command.append(f"--gpu-memory-utilization={params.gpu_memory_utilization}")
        command.append(f"--tensor-parallel-size={params.tensor_parallel}")
    return command


def adapter_flags(adapter: Path, served_name: str) -> list[str]:
    """Return the flags that serve a LoRA adapter under `served_name`.

    Raises:
        DataContractError: the folder could execute something, is no LoRA adapter, or holds what vLLM leaves out
            (modules saved whole, DoRA, a bias: the hop would be scored without it and nobody would know) or cannot
            score (an adapted lm_head: vllm 0.32 dies at the first prompt log-probability).
    """
    require_safe(adapter)
    config = read_json(adapter / "adapter_config.json")
    left_out = [name for name in ("modules_to_save", "use_dora", "lora_bias", "layer_replication") if config.get(name)]
    left_out += ["bias"] if config.get("bias", "none") != "none" else []
    modules = config.get("target_modules")
    if not isinstance(modules, list) or not modules or set(modules) & UNSCORED:
        left_out.append(f"target_modules {modules}")
    if config.get("peft_type") != "LORA" or left_out:
        raise DataContractError(
            f"vllm cannot serve the adapter {adapter}: {', '.join(left_out) or config.get('peft_type')}",
            "train a plain LoRA, or evaluate the merged model instead",
        )
    rank = max(config["r"], *(config.get("rank_pattern") or {}).values(), 0)
    room = next((size for size in LORA_RANKS if size >= rank), None)
    if room is None:
        raise DataContractError(
            f"the adapter's rank {rank} is above vllm's largest, {LORA_RANKS[-1]}", "lower train.lora.rank"
        )
    # The experts of a mixture are adapted as parameters of one module, which vLLM knows by this name.
    modules = [*modules, "experts"] if config.get("target_parameters") else modules
    # Named one by one: else vLLM wraps lm_head as well, adapter or none, and dies as said above.
    return ["--enable-lora", f"--max-lora-rank={room}", "--lora-target-modules", *sorted(modules), "--lora-modules",
            f"{served_name}={adapter.resolve()}"]  # fmt: skip


def server_environment(
    python: Path, params: VllmParams, *, cuda: bool, spare_cores: int = SPARE_CORES
) -> dict[str, str]:
    """Return the server's whole environment: offline, no telemetry, nothing of the caller's Python."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    search = os.pathsep.join((str(python.parent), os.environ.get("PATH", os.defpath)))
    environment = {
        **kept,
        **TELEMETRY_OFF,
        "PATH": search,
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_LOGGING_COLOR": "0",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(IDLE_CONNECTION_S),
        "TOKENIZERS_PARALLELISM": "false",
    }
    return environment | (BUS_ORDER if cuda else cpu_environment(params, spare_cores))


def cpu_environment(params: VllmParams, spare_cores: int) -> dict[str, str]:
    """Return the variables of vLLM's CPU build.

    Args:
        params: section `serve.vllm`.
        spare_cores: cores left to the rest: HTTP, tokenizer, gateway.
    """
    # With enforce_eager one small function alone is compiled, at the first prompt log-probabilities: 20 s with g++.
    eager = {"TORCH_COMPILE_DISABLE": "1"} if params.enforce_eager else {}
    return eager | {
        "VLLM_CPU_KVCACHE_SPACE": str(params.kv_cache_gib),
        # The engine runs the model itself instead of starting one more process for it: a shorter start, one hop less
        # for every token.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # OpenMP threads wait for each other spinning, and one that has to share its core makes all crawl (measured on
        # two cores beside a busy gateway: 4 tokens/s, not 20). Evaluation has the machine to itself and spares none:
        # 1.6 times the prompts, 1.5 times the generated tokens.
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - spare_cores)),
        # Activations stay 16 bits wide, on CPUs with AMX too: what is served is what W4A16 says.
        "VLLM_CPU_INT4_W4A8": "0",
        # Where vLLM finds our plugins: for CPUs without its 4-bit kernel, and for those with matrix tiles.
        "PYTHONPATH": str(PLUGINS),
    }


def serving_uses_cuda(python: Path) -> bool:
    """Return whether the serving environment's torch is a CUDA build.

    Raises:
        MissingToolError: there is no such interpreter, or it has no vLLM.
    """
    hint = "make setup creates .venv-serve; or export TUNEGATE_SERVE_PYTHON=<python that has vllm>"
    try:
        # Reads torch/version.py without importing torch: milliseconds instead of seconds.
        output = subprocess.run([python, "-I", "-c", _PROBE], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingToolError(f"the serving interpreter {python} does not work: {error}", hint) from error
    found = json.loads(output)
    if not found["vllm"]:
        raise MissingToolError(f"{python} has no vllm", hint)
    return found["cuda"] is not None


def require_compiler() -> None:
    """Refuse to start without a C++ compiler: torch and triton compile kernels at run time.

    Raises:
        MissingToolError: there is no g++ on the PATH.
    """
    if shutil.which("g++") is None:
        raise MissingToolError("vllm needs the C++ compiler g++, which is not on the PATH", "apt-get install g++")


def require_free_port(port: int, variable: str) -> None:
    """Refuse a port another process listens on.

    Raises:
        MissingToolError: the port is taken; the message names the variable that moves it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise MissingToolError(
                f"port {port} is in use by another process ({error.strerror})", f"export {variable}=<a free port>"
            ) from error
