"""What may enter as a model: safetensors and plain text. Checked before anything is loaded from the folder."""

from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json

#: Suffixes that run or unpickle code when a loader touches them.
EXECUTABLE = frozenset(
    {
        ".bin",
        ".pt",
        ".pth",
        ".pkl",
        ".pickle",
        ".ckpt",
        ".joblib",
        ".h5",
        ".keras",
        ".npy",
        ".npz",
        ".msgpack",
        ".py",
        ".pyc",
        ".pyd",
        ".so",
        ".dll",
        ".dylib",
        ".sh",
        ".exe",
    }
)
#: Config keys that make transformers or vLLM import code from the folder or the hub.
CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "trust_remote_code", "custom_generate"})

#: What is fetched from a hub: nothing else of a repository is ever downloaded.
ALLOWED_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.md", "LICENSE*"]


def require_safe(folder: Path) -> None:
    """Refuse a model folder that could execute anything when loaded.

    Raises:
        DataContractError: the folder is absent, holds no safetensors, holds an executable kind of file, a link out of
            the folder, or a config that asks for remote code. All findings are named at once.
    """
    if not folder.is_dir():
        raise DataContractError(f"model folder {folder} does not exist", "check base_model in params.yaml")
    files = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    findings = [f"{path.name}: may execute code when loaded" for path in files if path.suffix.lower() in EXECUTABLE]
    findings += [f"{path.name}: links out of the folder" for path in files if _leaves(path, folder)]
    findings += [
        f"{path.name}: asks for remote code ({key})"
        for path in files
        if path.suffix == ".json"
        for key in sorted(_keys(read_json(path)) & CODE_KEYS)
    ]
    if not any(path.suffix == ".safetensors" for path in files):
        findings.append("no .safetensors file")
    if findings:
        raise DataContractError(
            f"refused model folder {folder}:\n  " + "\n  ".join(findings),
            "use a safetensors copy of the model without custom code",
        )


def _leaves(path: Path, folder: Path) -> bool:
    """Return whether a link points outside the folder (a hub cache links to its own blobs: resolve those first)."""
    return path.is_symlink() and not path.resolve().is_relative_to(folder.resolve())


def _keys(value: Any) -> set[str]:
    """Return the keys of a JSON value at its first two levels."""
    if not isinstance(value, dict):
        return set()
    nested = [set(item) for item in value.values() if isinstance(item, dict)]
    return set(value).union(*nested)
