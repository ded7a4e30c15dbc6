"""A process that has imported vLLM once and forks a server at each request: half of a server's start is imports.

Run by the serving interpreter as a file, with vLLM the only import beside the standard library:
`python fork_server.py SOCKET`. A request (`forked.py`) is one connection over a Unix socket: a JSON line with command
line, environment and folder, and the descriptor that gets the output. The answer is one line with the exit code. Who
hangs up ends his server: SIGTERM to its process group, SIGKILL where that does not help. CPU build alone: a process
that has touched CUDA must not fork.
"""

import array
import contextlib
import ctypes
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

#: What `python -m vllm.entrypoints.openai.api_server` imports, and what a small model on CPU imports after that.
PRELOADED = (
    "vllm.entrypoints.openai.api_server",
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.models.qwen2",
    "vllm.model_executor.models.qwen3",
)
MODULE = "vllm.entrypoints.openai.api_server"
PR_SET_PDEATHSIG = 1
#: How long an abandoned server may take to end by itself.
GRACE_S = 10.0
POLL_S = 0.1
LONGEST_REQUEST_BYTES = 1 << 20


class Child:
    """A forked server and the connection that asked for it."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid, self.connection = pid, connection
        self.kill_at = float("inf")

    @property
    def wanted(self) -> bool:
        """Whether who asked for it has not hung up."""
        return self.kill_at == float("inf")

    def end(self) -> None:
        """Ask the server to end; `hurry` kills it later."""
        self.kill_at = time.monotonic() + GRACE_S
        _signal(self.pid, signal.SIGTERM)

    def hurry(self) -> None:
        """Kill a server whose grace time is over."""
        if time.monotonic() > self.kill_at:
            _signal(self.pid, signal.SIGKILL)

    def ended(self) -> int | None:
        """Return the exit code (128 + signal where one ended it), None while the server runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        _signal(self.pid, signal.SIGKILL)  # what is left of its group
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def main(path: str, module: str = MODULE, preloaded: Sequence[str] = PRELOADED) -> None:
    """Listen, import, then fork at each request, until this process is ended.

    Args:
        path: of the Unix socket; there before the imports, so that who comes early waits for them.
        module: what a forked process runs.
        preloaded: what is imported before.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        for name in preloaded:
            importlib.import_module(name)
        _serve(listener, module)


def _serve(listener: socket.socket, module: str) -> None:
    """Answer requests, look after the children; after SIGTERM, until they have ended."""
    children: list[Child] = []
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    while children or not ended:
        for child in children if ended else ():
            if child.wanted:
                child.end()
        watched = [listener, *(child.connection for child in children if child.wanted)]
        for ready in select.select(watched, [], [], POLL_S)[0]:
            if ready is listener:
                connection = listener.accept()[0]
                if (pid := _forked(connection, watched, module)) is not None:
                    children.append(Child(pid, connection))
            else:
                next(child for child in children if child.connection is ready).end()
        children = [child for child in children if not _looked_after(child)]


def _looked_after(child: Child) -> bool:
    """Return whether a child is gone, its exit code told."""
    child.hurry()
    code = child.ended()
    if code is None:
        return False
    with contextlib.suppress(OSError):  # who asked is gone as well
        child.connection.sendall(f"{code}\n".encode())
    child.connection.close()
    return True


def _forked(connection: socket.socket, inherited: list[socket.socket], module: str) -> int | None:
    """Fork a server for one request and return its pid, None where nothing was asked; never returns in the child."""
    asked = _request(connection)
    if asked is None:
        connection.close()
        return None
    request, output = asked
    pid = os.fork()
    if pid:
        os.close(output)
        return pid
    code = 1
    try:
        for held in {connection, *inherited}:
            held.close()
        _become(request, output, module)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 (a forked process must not go on as its parent; what happened is printed)
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _request(connection: socket.socket) -> tuple[dict[str, Any], int] | None:
    """Return a request and the descriptor that came with it; None where who connected only wanted to see us."""
    data, descriptors = b"", array.array("i")
    while not data.endswith(b"\n"):
        piece, found, _, _ = socket.recv_fds(connection, LONGEST_REQUEST_BYTES, 1)
        if not piece:
            return None
        data += piece
        descriptors.extend(found)
    request: dict[str, Any] = json.loads(data)
    return request, descriptors[0]


def _become(request: dict[str, Any], output: int, module: str) -> None:
    """Turn this forked process into the server that a request asks for."""
    os.setsid()  # the kernel may share the processor by session
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Killed, the fork server takes its servers with it, and these what they fork: vLLM's engine would live on alone.
    _die_with_parent()
    os.register_at_fork(after_in_child=_die_with_parent)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [module, *request["arguments"]]
    if module == MODULE:
        _fork_the_engine_too()
    sys.modules.pop(module, None)  # it is run, not imported: runpy warns where it is both
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _fork_the_engine_too() -> None:
    """Let vLLM fork its engine process, which its CPU build (0.32) starts anew: that would import everything again.

    It does so to preload OpenMP and an allocator, which this process has or the build does not carry.
    """
    from vllm.v1.engine import utils

    if not hasattr(utils, "get_mp_context"):
        raise RuntimeError("this vLLM starts its engine in another way than 0.32; update fork_server.py")
    utils.get_mp_context = lambda: multiprocessing.get_context("fork")


def _signal(pid: int, number: int) -> None:
    """Send a signal to a server's process group, or to a server that has not made one yet; both may be gone."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            send(pid, number)
            return


if __name__ == "__main__":
    main(sys.argv[1])
