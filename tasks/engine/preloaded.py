"""Whoever starts several vLLM servers in a row keeps one process that has imported vLLM for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.settings import VllmParams
from tasks.engine.forking import ForkServers
from tasks.engine.server import server_environment, serving_uses_cuda


@contextmanager
def forked_servers(python: Path, params: VllmParams, log_path: Path, *spare_cores: int) -> Iterator[None]:
    """Let this process, and those below it, fork their servers; a CUDA build starts its own, as a fork could not.

    Args:
        python: interpreter of the serving environment.
        params: section `serve.vllm`.
        log_path: gets what the imports say.
        spare_cores: as the servers are started with; of servers with several, one process for each number.

    Raises:
        MissingToolError: the interpreter does not work, or has no vLLM.
    """
    if serving_uses_cuda(python):
        yield
        return
    asked = [server_environment(python, params, cuda=False, spare_cores=cores) for cores in spare_cores]
    environments = [one for place, one in enumerate(asked) if one not in asked[:place]]  # alike on a single core
    with ForkServers(python, environments, log_path):
        yield
