"""What tests of several rooms share: a fake vLLM and its tokenizer, small exams, packs to plant faults in, GPUs."""

from tests.unit.fake_vllm import fake_vllm, other_tokenizer, tokenizer
from tests.unit.made_exams import exam_params, question, real_data, root, small_exam, write_exam
from tests.unit.made_packs import make_item, write_pack
from tests.unit.stand_in_nvidia_smi import stand_in_gpus

__all__ = [
    "exam_params",
    "fake_vllm",
    "make_item",
    "other_tokenizer",
    "question",
    "real_data",
    "root",
    "small_exam",
    "stand_in_gpus",
    "tokenizer",
    "write_exam",
    "write_pack",
]
