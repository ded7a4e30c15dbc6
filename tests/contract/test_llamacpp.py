"""Exported files in the real llama.cpp: the same tokens, templates and answers as the model's own folder gives.

Tiny models of the families for tokenizers and graphs, the laptop base for Chinese and English answers.
"""

import asyncio

import numpy as np
import pytest

from tasks.chat.template import render
from tasks.chat.tokenizer import load_tokenizer
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.access import OWN
from tasks.engine.conformance.probes import CHATS, TEXTS
from tasks.engine.drivers.llamacpp import LlamaCpp
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS
from tasks.export.gguf_file import write_gguf
from tasks.export.kernels import Kernels
from tasks.models.base import materialize
from tests.llamacpp import ROOT, llamacpp_python, served
from tests.unit.families import write_family

#: Its bars were set before they were measured on a quiet machine: run by hand (-m net) until they have been.
UNMEASURED = pytest.mark.net

FAMILIES = ("qwen2.5", "qwen3", "llama-3.2", "llama-3", "deepseek-distill-llama")
#: Qwen 2's heads share the width of the model; the others' need not.
CONFIG = {"qwen2.5": {"head_dim": 16}}
TOKENS = 24


def ask(url, model, questions):
    """Return what the driver answers, asked in one session."""

    async def asked():
        async with OWN.session() as session:
            return await questions(LlamaCpp(session, url, model))

    return asyncio.run(asked())


def greedy_by_transformers(folder, prompts, tokens):
    """Return greedy continuations in fp32, [prompts, tokens], and how far the second choice was behind at each."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    found, margins = [], []
    for prompt in prompts:
        asked, kept, ids, far = torch.tensor([prompt]), None, [], []
        for _ in range(tokens):
            with torch.inference_mode():
                said = model(asked, past_key_values=kept, use_cache=True, logits_to_keep=1)
            kept, best = said.past_key_values, said.logits[0, -1].log_softmax(-1).topk(2)
            ids.append(int(best.indices[0]))
            far.append(float(best.values[0] - best.values[1]))
            asked = torch.tensor([ids[-1:]])
        found.append(ids)
        margins.append(far)
    return found, margins


def same_until_a_near_tie(found, expected, margins, nats):
    """Tell whether two greedy texts are the same up to a place where the first two choices were about equal."""
    for one, other, far in zip(found, expected, margins, strict=True):
        differ = [place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
        if differ and far[differ[0]] > nats:
            return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_becomes_the_same_tokens_and_answers(tmp_path, free_ports, family):
    folder = write_family(family, tmp_path / "model", model=True, **CONFIG.get(family, {}))
    tokenizer = load_tokenizer(folder)
    write_gguf(folder, tmp_path / "model.gguf", "f16", {}, Kernels(llamacpp_python()))
    texts = [*TEXTS, *(f"{token}碘片{token} end" for token in tokenizer.all_special_tokens)]
    prompts = [render(tokenizer, list(messages), True) for messages in CHATS]

    async def questions(driver):
        return ([await driver.text_ids(text) for text in texts], [await driver.chat_ids(chat) for chat in CHATS],
                [await driver.greedy(prompt, TOKENS) for prompt in prompts])  # fmt: skip

    with served(tmp_path / "model.gguf", free_ports(1)[0], "tg-family") as server:
        ids, chats, answers = ask(server.url, "tg-family", questions)
    assert ids == [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    assert chats == prompts
    expected, margins = greedy_by_transformers(folder, prompts, TOKENS)
    assert same_until_a_near_tie(answers, expected, margins, nats=0.02)


@pytest.fixture(scope="module")
def base():
    return materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path


@pytest.fixture(scope="module")
def expected(base):
    """Prompts, and what transformers answers to them."""
    tokenizer = load_tokenizer(base)
    prompts = [render(tokenizer, [{"role": "user", "content": text}], True) for text in FINGERPRINT_PROMPTS[::2]]
    return prompts, *greedy_by_transformers(base, prompts, TOKENS)


@UNMEASURED
@pytest.mark.parametrize(("kind", "least"), [("f16", 0.95), ("q8_0", 0.5), ("q4_k_m", 0.25)])
def test_the_laptop_model_answers_as_its_folder_does(base, expected, tmp_path, free_ports, kind, least):
    tokenizer = load_tokenizer(base)
    with Kernels(llamacpp_python()) as kernels:
        stored = write_gguf(base, tmp_path / "model.gguf", kind, {}, kernels)
    prompts, wanted, _ = expected

    async def questions(driver):
        return ([await driver.text_ids(text) for text in TEXTS],
                [await driver.greedy(prompt, TOKENS) for prompt in prompts])  # fmt: skip

    with served(tmp_path / "model.gguf", free_ports(1)[0], "tg-base") as server:
        ids, answers = ask(server.url, "tg-base", questions)
    assert ids == [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    same = [next((place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), TOKENS)
            for one, other in zip(answers, wanted, strict=True)]  # fmt: skip
    assert sum(same) / (TOKENS * len(prompts)) >= least, (kind, same)
    assert {"f16": "F16", "q8_0": "Q8_0", "q4_k_m": "Q5_0"}[kind] in stored


@UNMEASURED
def test_rows_that_are_not_moved_are_noticed(base, expected, tmp_path, free_ports, monkeypatch):
    """The planted fault: queries and keys in transformers' order."""
    monkeypatch.setattr("tasks.export.tensors.INTERLEAVED", frozenset())
    write_gguf(base, tmp_path / "model.gguf", "f16", {}, Kernels(llamacpp_python()))
    prompts, wanted, margins = expected

    async def questions(driver):
        return [await driver.greedy(prompt, TOKENS) for prompt in prompts]

    with served(tmp_path / "model.gguf", free_ports(1)[0], "tg-base") as server:
        answers = ask(server.url, "tg-base", questions)
    assert not same_until_a_near_tie(answers, wanted, margins, nats=0.02)


@pytest.mark.slow
def test_ggmls_kernel_and_the_package_write_the_same_q8_0():
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    values = np.random.default_rng(0).normal(0, 0.05, (33, 256)).astype(np.float32)
    with Kernels(llamacpp_python()) as kernels:
        found = kernels.quantize(values, GGMLQuantizationType.Q8_0)
        narrow = kernels.quantize(values, GGMLQuantizationType.Q4_K)
    np.testing.assert_array_equal(found, quantize(values, GGMLQuantizationType.Q8_0))
    assert narrow.shape == (33, 144)
