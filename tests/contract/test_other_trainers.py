"""The packages themselves read what `tunegate export-training` wrote: token by token the labels of stage train.

Each is installed into an environment of its own over ours, so that torch is not fetched again. Unsloth needs CUDA: its
script's trainer is TRL's, which is run here (tests/unit/training/other_trainers).
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tasks.chat.rows import encode_rows
from tasks.chat.shapes import built_in
from tasks.chat.tokenizer import load_tokenizer
from tasks.core.files import read_jsonl, write_jsonl
from tasks.core.project import TELEMETRY_OFF
from tasks.core.settings import load_settings
from tasks.models.base import BaseModel
from tasks.training.other_trainers.export import export_training
from tests.unit.training.conftest import base as base
from tests.unit.training.conftest import make_rows, tiny  # noqa: F401
from tests.unit.training.conftest import tokenizer as tokenizer

ROOT = Path(__file__).parents[2]
READERS = Path(__file__).with_name("trainers")
ROWS = 200
#: What each asks for beside what our environment has, in the versions it accepts.
PACKAGES = {
    "llamafactory": [
        "llamafactory==0.9.5", "transformers==5.6.0", "tokenizers==0.22.2", "trl==0.24.0", "peft==0.18.1",
        "accelerate==1.11.0", "datasets==4.0.0", "tyro<0.9", "fire", "av<=16.0.0", "einops", "shtab", "termcolor",
        "torchdata==0.11.0", "torchaudio==2.11.1", "omegaconf",
    ],
    "axolotl": [
        "axolotl==0.19.0", "transformers==5.16.1", "trl==1.9.0", "peft==0.20.0", "accelerate==1.13.0",
        "datasets==4.8.4", "addict", "colorama", "art", "kernels==0.16.0", "kernels-data", "mistral-common==1.11.5",
        "axolotl-contribs-mit==0.0.6", "axolotl-contribs-lgpl==0.0.7", "schedulefree==1.4.1", "fire", "einops",
        "posthog==6.7.11", "backoff", "numba", "llvmlite", "typer", "wandb", "tensorboard", "langdetect",
    ],
    "swift": [
        "ms-swift==4.6.0", "trl<1.0", "datasets<4.8.5", "peft<0.21", "transformers<5.17", "addict", "attrdict",
        "binpacking", "cpm-kernels", "dacite", "einops", "json-repair", "rouge", "simplejson", "sortedcontainers",
        "transformers-stream-generator", "oss2",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory):
    """200 rows: one and several turns, turns nobody is to learn, every shape of the fixed set."""
    rows = make_rows(ROWS)
    for place, shape in enumerate(built_in()):
        rows[place] |= {"messages": shape.messages, "tools": json.dumps(shape.tools) if shape.tools else None}
    for row in rows[30:ROWS:9]:
        if len(row["messages"]) > 3:
            row["untaught"] = [next(n for n, turn in enumerate(row["messages"]) if turn["role"] == "assistant")]
    folder = tmp_path_factory.mktemp("prepared")
    write_jsonl(folder / "train.jsonl", rows)
    return folder


def interpreter(name: str, folder: Path) -> Path:
    """The interpreter that has a trainer: one named in the environment, or made here."""
    if given := os.environ.get(f"TUNEGATE_TEST_{name.upper()}"):
        return Path(given)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    library = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], check=True,
                             capture_output=True, text=True).stdout.strip()  # fmt: skip
    (Path(library) / "ours.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", *PACKAGES[name]], check=True)
    for extension in (Path(library) / "torchaudio" / "lib").glob("*.so"):
        extension.unlink()  # linked against CUDA; imported, and used by nothing here
    return python


@pytest.mark.net
@pytest.mark.parametrize("name", PACKAGES)
def test_the_package_itself_reads_the_same_labels(name, tiny, rows_file, tmp_path):  # noqa: F811
    settings = load_settings(ROOT / "params.yaml")
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"mode": "lora"})})
    out, read = tmp_path / "out", tmp_path / "read.jsonl"
    export_training(name, settings, BaseModel(tiny, "sha256:tiny"), rows_file, out)
    python = interpreter(name, tmp_path / "venv")
    environment = os.environ | TELEMETRY_OFF | {"HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
    environment |= {"AXOLOTL_DO_NOT_TRACK": "1"}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([python, READERS / f"read_{name}.py", read], cwd=out, env=environment, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]

    limit = settings.train.max_length_tokens
    expected = encode_rows(rows_file / "train.jsonl", load_tokenizer(tiny), limit, every_thought=True).rows
    assert len(expected) > ROWS * 0.9
    theirs = sorted(map(tuple, ((tuple(ids), tuple(labels)) for ids, labels in read_jsonl(read))))
    assert theirs == sorted((tuple(row.input_ids), tuple(row.labels)) for row in expected)

    train = settings.train
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "steps": train.max_steps, "rows": train.batch_rows, "rank": train.lora.rank, "alpha": train.lora.alpha,
        "targets": sorted(train.lora.target_modules), "seed": train.seed, "learning_rate": train.learning_rate,
        "scheduler": train.scheduler, "warmup": train.warmup_steps,
    }  # fmt: skip
