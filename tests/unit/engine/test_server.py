"""The child process: what it is started with, what is refused before, and that nothing of it stays behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.core import keeper
from tasks.core.errors import DataContractError, MissingToolError, TransientError
from tasks.core.settings import load_settings
from tasks.engine.server import (
    VllmServer,
    adapter_flags,
    require_free_port,
    server_arguments,
    server_environment,
    serving_uses_cuda,
)

ROOT = Path(__file__).parents[3]
STAND_IN = ROOT / "tests" / "contract" / "stand_in_vllm.py"
PARAMS = load_settings(ROOT / "params.yaml").serve.vllm


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"\0" * 8)
    (folder / "behaviour.json").write_text("{}")
    return folder


@pytest.fixture
def stand_in_python(tmp_path):
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_group(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        fields = keeper._stat(entry.name) if entry.name.isdigit() else None
        if fields and int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


def until_gone(session: int, timeout_s: float = 15) -> None:
    deadline = time.monotonic() + timeout_s
    while in_group(session):
        assert time.monotonic() < deadline, f"still alive: {in_group(session)}"
        time.sleep(0.05)


def test_flags_of_the_cpu_build(monkeypatch):
    monkeypatch.setenv("TUNEGATE_CPU_DTYPE", "16-bit")
    command = server_arguments(Path("/m"), 8101, PARAMS, "tg-1", cuda=False)
    assert {"--model=/m", "--served-model-name=tg-1", "--host=127.0.0.1", "--port=8101", "--dtype=bfloat16",
            "--max-model-len=1024", "--max-num-seqs=32", "--enforce-eager"} <= set(command)  # fmt: skip
    assert not any("gpu" in flag or "tensor" in flag or "trust" in flag for flag in command)


@pytest.mark.parametrize(("setting", "dtype"), [("float32", "float32"), ("16-bit", "bfloat16")])
def test_a_cpu_without_bf16_computes_in_fp32(monkeypatch, setting, dtype):
    monkeypatch.setenv("TUNEGATE_CPU_DTYPE", setting)
    assert f"--dtype={dtype}" in server_arguments(Path("/m"), 8101, PARAMS, "tg-1", cuda=False)
    assert "--dtype=bfloat16" in server_arguments(Path("/m"), 8101, PARAMS, "tg-1", cuda=True)


def test_flags_of_the_cuda_build():
    params = PARAMS.model_copy(update={"enforce_eager": False, "tensor_parallel": 4})
    command = server_arguments(Path("/m"), 8101, params, "tg-1", cuda=True)
    assert {"--gpu-memory-utilization=0.9", "--tensor-parallel-size=4"} <= set(command)
    assert "--enforce-eager" not in command
    assert "VLLM_CPU_KVCACHE_SPACE" not in server_environment(Path("/p"), params, cuda=True)


def test_the_evaluation_s_server_sees_the_cards_of_its_stage_as_nvidia_smi_counts_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    environment = server_environment(Path("/p"), PARAMS, cuda=True)
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"\0" * 8)
    write_adapter_config(folder)
    return folder


def write_adapter_config(folder, **changes):
    config = {"peft_type": "LORA", "r": 16, "rank_pattern": {}, "bias": "none", "modules_to_save": None,
              "target_modules": ["v_proj", "q_proj"]}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(("changes", "room"), [({}, 16), ({"r": 24}, 32), ({"rank_pattern": {"q_proj": 40}}, 64)])
def test_an_adapter_is_served_under_the_name_of_the_requests(adapter, changes, room):
    write_adapter_config(adapter, **changes)
    assert adapter_flags(adapter, "tg-1") == ["--enable-lora", f"--max-lora-rank={room}", "--lora-target-modules",
                                              "q_proj", "v_proj", "--lora-modules", f"tg-1={adapter}"]  # fmt: skip


@pytest.mark.parametrize("changes", [{"modules_to_save": ["lm_head"]}, {"use_dora": True}, {"bias": "all"},
                                     {"peft_type": "IA3"}, {"r": 1024}, {"target_modules": "all-linear"},
                                     {"target_modules": ["q_proj", "lm_head"]}])  # fmt: skip
def test_an_adapter_that_vllm_would_apply_in_part_is_refused(adapter, changes):
    write_adapter_config(adapter, **changes)
    with pytest.raises(DataContractError, match=r"vllm"):
        adapter_flags(adapter, "tg-1")


def test_an_unsafe_adapter_is_refused_before_anything_starts(model, adapter, stand_in_python, port, tmp_path):
    (adapter / "adapter_model.bin").touch()
    with VllmServer(stand_in_python) as server:
        with pytest.raises(DataContractError, match=r"adapter_model\.bin"):
            server.start(model, port, PARAMS, "tg-1", tmp_path / "log", adapter=adapter)
        assert server.pid is None


def test_nothing_of_the_caller_leaks_into_the_server(monkeypatch):
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD",
                 "VLLM_ALLOW_INSECURE_SERIALIZATION", "VLLM_PLUGINS", "HF_TOKEN", "LD_PRELOAD"):  # fmt: skip
        monkeypatch.setenv(name, "leak")
    environment = server_environment(Path("/serve/bin/python"), PARAMS, cuda=False)
    assert "leak" not in environment.values()
    assert environment["HF_HUB_OFFLINE"] == environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["PATH"].startswith("/serve/bin:")
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1"


def test_a_free_port_is_checked_before_the_start(port):
    require_free_port(port, "TUNEGATE_EVALUATION_PORT")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(MissingToolError, match=f"port {port}.*\n.*TUNEGATE_EVALUATION_PORT"):
            require_free_port(port, "TUNEGATE_EVALUATION_PORT")


def test_no_compiler(model, stand_in_python, port, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    stand_in_python.write_text(f"#!{sys.executable}\nprint('{json.dumps({'vllm': True, 'cuda': None})}')\n")
    with VllmServer(stand_in_python) as server, pytest.raises(MissingToolError, match=r"g\+\+"):
        server.start(model, port, PARAMS, "tg-1", tmp_path / "log")


def test_no_serving_environment(tmp_path):
    with pytest.raises(MissingToolError, match="TUNEGATE_SERVE_PYTHON"):
        serving_uses_cuda(tmp_path / "absent")
    with pytest.raises(MissingToolError, match="has no vllm"):
        serving_uses_cuda(Path(sys.executable))


def test_an_unsafe_model_is_refused_before_anything_starts(model, stand_in_python, port, tmp_path):
    (model / "modeling.py").touch()
    with VllmServer(stand_in_python) as server:
        with pytest.raises(DataContractError, match=r"modeling\.py"):
            server.start(model, port, PARAMS, "tg-1", tmp_path / "log")
        assert server.pid is None


def test_start_wait_stop_with_a_stand_in(model, stand_in_python, port, tmp_path):
    lines: list[str] = []
    with VllmServer(stand_in_python, on_progress=lines.append) as server:
        server.start(model, port, PARAMS, "tg-1", tmp_path / "log")
        assert server.wait_ready() > 0
        assert server.url == f"http://127.0.0.1:{port}"
        assert server.alive
        session = server.pid
        assert in_group(session)
    assert lines[-1].startswith("vllm: ready after")
    assert not server.alive
    assert not in_group(session)
    server.stop()


@pytest.mark.slow
def test_waiting_tells_how_long_it_has_waited_with_a_stand_in(model, stand_in_python, port, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.engine.server.PROGRESS_EVERY_S", 0.5)
    (model / "behaviour.json").write_text('{"start_s": 1.5}')
    lines: list[str] = []
    with VllmServer(stand_in_python, on_progress=lines.append) as server:
        server.start(model, port, PARAMS, "tg-1", tmp_path / "log")
        server.wait_ready()
    assert lines[0] in ("vllm: starting, 0 s", "vllm: starting, 1 s")


def test_a_server_that_ends_while_starting_is_quoted_with_a_stand_in(model, stand_in_python, port, tmp_path):
    (model / "behaviour.json").write_text('{"crash": true}')
    with VllmServer(stand_in_python) as server:
        server.start(model, port, PARAMS, "tg-1", tmp_path / "log")
        with pytest.raises(TransientError) as caught:
            server.wait_ready()
    assert caught.value.message == "vllm ended while starting: ValueError: Available memory is less than asked"
    assert str(tmp_path / "log") in caught.value.hint


@pytest.mark.slow
def test_a_server_that_never_answers_with_a_stand_in(model, stand_in_python, port, tmp_path):
    (model / "behaviour.json").write_text('{"start_s": 60}')
    params = PARAMS.model_copy(update={"startup_timeout_s": 1.0})
    with VllmServer(stand_in_python) as server:
        server.start(model, port, params, "tg-1", tmp_path / "log")
        session = server.pid
        with pytest.raises(TransientError, match=r"not ready after 1 s.*\n.*startup_timeout_s"):
            server.wait_ready()
    assert not in_group(session)


#: A command that ignores SIGTERM and has a child that does too: the worst vLLM could be.
STUBBORN = "trap '' TERM; sh -c \"trap '' TERM; sleep 600\" & sleep 600"
OWNER = """
import subprocess, sys, time
command = [sys.executable, "-I", "-S", sys.argv[1], "0.5", "sh", "-c", sys.argv[2]]
kept = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
print(kept.pid, flush=True)
time.sleep(600)
"""


def start_owner() -> tuple["subprocess.Popen[str]", int]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, keeper.__file__, STUBBORN], stdout=subprocess.PIPE, text=True
    )
    session = int(owner.stdout.readline())
    deadline = time.monotonic() + 10
    while len(in_group(session)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return owner, session


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_children_and_grandchildren_die_with_their_owner(number):
    owner, session = start_owner()
    with owner:
        owner.send_signal(number)
        owner.wait()
        until_gone(session)


def test_a_killed_keeper_ends_a_well_behaved_command():
    command = [sys.executable, "-I", "-S", keeper.__file__, "1", "sleep", "600"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as kept:
        deadline = time.monotonic() + 10
        while len(in_group(kept.pid)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(kept.pid, signal.SIGKILL)
        until_gone(kept.pid)


def test_the_keeper_ends_what_a_dead_command_left_and_returns_its_code():
    command = [sys.executable, "-I", "-S", keeper.__file__, "1", "sh", "-c", "sleep 600 & exit 7"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as kept:
        assert kept.wait(10) == 7
        assert not in_group(kept.pid)


@pytest.mark.slow
@pytest.mark.alone
def test_real_vllm_starts_answers_and_leaves_no_process(tmp_path, monkeypatch):
    import urllib.request

    from tasks.engine.forking import FOLDER

    monkeypatch.delenv(FOLDER, raising=False)  # the processes that are counted are its own, not a fork server's
    from tasks.core.project import Project
    from tasks.models.base import materialize

    project = Project(ROOT)
    base = materialize(load_settings(ROOT / "params.yaml").base_model, project)
    with VllmServer(project.serve_python) as server:
        server.start(base.path, project.evaluation_port, PARAMS, "tg-base", tmp_path / "log")
        session = server.pid
        server.wait_ready()
        with urllib.request.urlopen(f"{server.url}/v1/models") as answer:
            assert json.load(answer)["data"][0]["id"] == "tg-base"
        assert len(in_group(session)) >= 3
        # The owner's end of the pipe closes, as when the owner is killed.
        server.stop()
        assert not in_group(session)


def test_evaluation_spares_no_core_and_serving_one(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    for spare, threads in ((1, "5"), (0, "6"), (9, "1")):
        environment = server_environment(Path("/p"), PARAMS, cuda=False, spare_cores=spare)
        assert environment["OMP_NUM_THREADS"] == threads
