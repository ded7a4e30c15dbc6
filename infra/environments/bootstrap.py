"""Make the locked environments. Needs nothing but Python >= 3.11: standard library only.

    python3 infra/environments/bootstrap.py pipeline serve     # what every machine needs
    python3 infra/environments/bootstrap.py llamacpp           # for `tunegate export --type q4_k_m`, `engines check`

A second call compares one hash and installs nothing. The only step a lock cannot carry is torch, which comes as a CPU
or as a CUDA build: see `install_torch`. What the serving interpreter then holds is written to `serve.installed`: it
decides what models answer, so every evaluation depends on it.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TORCH = "2.13.0"
STAMP = "tunegate-stamp.json"
FOLDERS = {"pipeline": ".venv", "serve": ".venv-serve", "llamacpp": ".venv-llamacpp"}
#: Environments that compute without torch.
WITHOUT_TORCH = frozenset({"llamacpp"})
#: What the serving interpreter holds, a `name==version` a line.
INSTALLED = HERE / "serve.installed"
#: Installers come with Python or with us and answer nothing: the same lock is the same file on every machine.
_LIST_PACKAGES = """
from importlib.metadata import distributions
found = {f"{one.name.lower().replace('_', '-')}=={one.version}" for one in distributions()}
print("\\n".join(sorted(line for line in found if line.split("==")[0] not in {"pip", "setuptools", "wheel", "uv"})))
"""


class SetupError(Exception):
    """Something is missing; the message says what and what to do."""


def say(line: str) -> None:
    """Print one progress line at once."""
    sys.stdout.write(f"setup: {line}\n")
    sys.stdout.flush()


def has_gpu() -> bool:
    """Return whether this machine has an NVIDIA GPU (TUNEGATE_ACCELERATOR=cpu|cuda overrides)."""
    wanted = os.environ.get("TUNEGATE_ACCELERATOR")
    return wanted == "cuda" if wanted else shutil.which("nvidia-smi") is not None


def lock_of(name: str, gpu: bool) -> Path:
    """Return the lock file of an environment on this kind of machine."""
    return HERE / ("serve-cuda.lock" if name == "serve" and gpu else f"{name}.lock")


def stamp_of(name: str, gpu: bool) -> dict[str, str]:
    """Return what identifies a finished environment."""
    digest = hashlib.sha256(lock_of(name, gpu).read_bytes()).hexdigest()
    return {"lock": digest, "torch": TORCH, "accelerator": "cuda" if gpu else "cpu", "folder": str(ROOT)}


def require_tools() -> None:
    """Refuse an old Python, a Python without venv, and a machine without a C++ compiler (vLLM compiles kernels)."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is run by whatever python3 is
        raise SetupError(f"Python {sys.version.split()[0]} is too old; make PYTHON=python3.11 setup")
    missing = [tool for tool in ("git", "g++") if shutil.which(tool) is None]
    if missing:
        raise SetupError(f"not installed: {', '.join(missing)}; on Debian or Ubuntu: apt-get install git g++")


def run(command: list[str], environment: dict[str, str] | None = None, *, quiet: bool = False) -> bool:
    """Run a command and return whether it succeeded; its output is shown only when it failed and is not quiet."""
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode and not quiet:
        sys.stderr.write(done.stdout[-4000:])
    return done.returncode == 0


def uv_environment(python: Path) -> dict[str, str]:
    """Return the environment for uv: it does not read pip's configuration, so index and find-links are passed on."""
    environment = dict(os.environ)
    for setting, variable in (("index-url", "UV_DEFAULT_INDEX"), ("find-links", "UV_FIND_LINKS")):
        value = os.environ.get(f"PIP_{setting.upper().replace('-', '_')}")
        if not value:
            asked = [str(python), "-m", "pip", "config", "get", f"global.{setting}"]
            value = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
        if value and variable not in environment:
            environment[variable] = ",".join(value.split())
    return environment


def cuda_backend() -> str:
    """Return the CUDA build to take: the driver's, or $UV_TORCH_BACKEND where a container is built without one."""
    return os.environ.get("UV_TORCH_BACKEND", "auto")


def install_torch(uv: list[str], environment: dict[str, str], gpu: bool) -> None:
    """Install torch without touching the rest.

    With a GPU: uv picks the CUDA build for the driver. Without: the CPU build from pip's configured find-links where
    there is one, else from PyTorch's own CPU index, which uv knows.
    """
    if gpu:
        ok = run([*uv, "--torch-backend", cuda_backend(), f"torch=={TORCH}"], environment)
    else:
        local = [*uv, "--no-deps", f"torch=={TORCH}+cpu"]
        ok = run(local, environment, quiet=True) or run(
            [*uv, "--no-deps", "--torch-backend", "cpu", f"torch=={TORCH}"], environment
        )
    if not ok:
        raise SetupError(
            f"torch {TORCH} could not be installed; check the network or pip's find-links, then make setup"
        )


def is_made(name: str, gpu: bool) -> bool:
    """Return whether an environment is what its lock says."""
    stamp = ROOT / FOLDERS[name] / STAMP
    return stamp.is_file() and json.loads(stamp.read_text()) == stamp_of(name, gpu)


def interpreter_of(name: str) -> Path:
    """Return the interpreter of an environment."""
    return ROOT / FOLDERS[name] / "bin" / "python"


def uv_with(name: str) -> Path:
    """Return uv: that of the pipeline's environment, or one put into the environment `name`, which is then begun."""
    found = ROOT / FOLDERS["pipeline"] / "bin" / "uv"
    if found.is_file():
        return found
    python = interpreter_of(name)
    if not python.exists() and not run([sys.executable, "-m", "venv", str(python.parents[1])]):
        raise SetupError("python -m venv failed; on Debian or Ubuntu: apt-get install python3-venv")
    version = next(
        line.split()[0] for line in (HERE / "pipeline.lock").read_text().splitlines() if line.startswith("uv==")
    )
    if not run([str(python), "-m", "pip", "install", "--quiet", version]):
        raise SetupError("pip could not install uv; check the network and pip's index, then make setup")
    return python.with_name("uv")


def make(name: str, gpu: bool, uv: Path, environment: dict[str, str]) -> None:
    """Make one environment."""
    started, lock, python = time.monotonic(), lock_of(name, gpu), interpreter_of(name)
    packages = sum(1 for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    with_torch = name not in WITHOUT_TORCH
    say(f"{FOLDERS[name]}: {packages} locked packages" + (f" and torch {TORCH} (1 to 5 minutes)" if with_torch else ""))
    if not python.exists() and not run(
        [str(uv), "venv", "--quiet", "--python", sys.executable, str(python.parents[1])]
    ):
        raise SetupError(f"uv could not make {FOLDERS[name]}; read the lines above")
    install = [str(uv), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
    if with_torch:
        install_torch(install, environment, gpu)
        say(f"{FOLDERS[name]}: torch is in, now the lock")
    extra = ["--torch-backend", cuda_backend()] if gpu and with_torch else []
    if not run([*install, *extra, "--no-deps", "-r", str(lock)], environment):
        raise SetupError(f"{lock.name} could not be installed; check the network, then make setup")
    if name == "pipeline" and not run([*install, "--no-deps", "--editable", str(ROOT)], environment):
        raise SetupError("tunegate itself could not be installed; read the lines above")
    (ROOT / FOLDERS[name] / STAMP).write_text(json.dumps(stamp_of(name, gpu), indent=2) + "\n")
    say(f"{FOLDERS[name]}: ready after {time.monotonic() - started:.0f} s")


def make_missing(names: list[str], gpu: bool) -> None:
    """Make the environments that are not made, beside each other: one unpacks while the other waits for the network."""
    missing = [name for name in sorted(names) if not is_made(name, gpu)]
    if not missing:
        return
    uv = uv_with(missing[0])
    environment = uv_environment(uv.with_name("python"))
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(make, name, gpu, uv, environment) for name in missing]:
            done.result()


def serving_python() -> Path:
    """Return the interpreter that serves: $TUNEGATE_SERVE_PYTHON, or that of .venv-serve."""
    return Path(os.environ.get("TUNEGATE_SERVE_PYTHON") or ROOT / FOLDERS["serve"] / "bin" / "python")


def installed_packages(python: Path) -> str:
    """Return what an interpreter holds, a `name==version` a line, sorted.

    Raises:
        SetupError: there is no such interpreter, or it does not run.
    """
    try:
        done = subprocess.run([python, "-I", "-c", _LIST_PACKAGES], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(f"the serving interpreter {python} does not work: {error}") from error
    return done.stdout


def record_installed() -> None:
    """Write what the serving interpreter holds, where that is not what the record says."""
    found = installed_packages(serving_python())
    if not INSTALLED.is_file() or INSTALLED.read_text(encoding="utf-8") != found:
        INSTALLED.write_text(found, encoding="utf-8")


def main() -> int:
    """Make the environments named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(FOLDERS), help="which environments")
    names = parser.parse_args().names
    try:
        require_tools()
        make_missing(names, has_gpu())
        if "serve" in names:
            record_installed()
    except SetupError as error:
        sys.stderr.write(f"error: {error}\n")
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main())
