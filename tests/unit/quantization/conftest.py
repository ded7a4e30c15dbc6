"""A random two-block Llama with the laptop base's tokenizer, and chat rows to calibrate and judge it by."""

from pathlib import Path

import pytest

from tasks.core.files import write_jsonl
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.models.base import materialize
from tests.small_models import write_small_llama

ROOT = Path(__file__).parents[3]


def chat(number: int, language: str = "zh") -> dict:
    """Return a chat row."""
    question = f"第{number}问：何时隐蔽？" if language == "zh" else f"Question {number}: when to shelter?"
    answer = f"第{number}步，听通知，关好门窗。" if language == "zh" else f"Step {number}: listen, close the windows."
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"row_id": f"r-{number}", "language": language, "messages": messages}


@pytest.fixture(scope="session")
def quantize_params():
    """The shipped settings, with less work."""
    params = load_settings(ROOT / "params.yaml").quantize
    return params.model_copy(update={"grid_points": 3, "calibration_rows": 4, "heldout_rows": 3})


@pytest.fixture(scope="session")
def base():
    """The laptop base model's folder."""
    return materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path


@pytest.fixture
def tokenizer(base):
    """The laptop base model's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


@pytest.fixture
def small_model(tmp_path, base):
    """A folder with `merged` (random weights) and `prepared` (calibration and validation rows)."""
    write_small_llama(tmp_path / "merged", base)
    rows = [chat(number, "zh" if number % 2 else "en") for number in range(10)]
    write_jsonl(tmp_path / "prepared" / "calibration.jsonl", rows[:6])
    write_jsonl(tmp_path / "prepared" / "validation.jsonl", rows[6:])
    return tmp_path
