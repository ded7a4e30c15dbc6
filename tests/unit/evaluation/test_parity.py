"""Token parity with planted faults: other template, swapped eos, pad = eos, another stop token."""

import hashlib
import json

import pytest

from tasks.core.errors import DataContractError
from tasks.evaluation.client import AnswerCache, ServedClient
from tasks.evaluation.parity import (
    check_parity,
    check_special_tokens,
    choose_conversations,
    first_difference,
    template_sha256,
)

ROWS = [
    {
        "row_id": f"r-{number}",
        "language": language,
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
    }
    for number, (language, question, answer) in enumerate(
        [("zh", "碘片何时服用？", "照射前。"), ("zh", "隐蔽多久？", "约2天。"), ("en", "What is OIL1?", "1000 uSv/h")]
    )
]


def parity(server, own, base):
    client = ServedClient(server.url, "m", model_digest="d", concurrency=2, cache=AnswerCache(None))
    return check_parity(ROWS, own, base, client)


@pytest.fixture
def folders(tmp_path):
    """Return a function that writes a model and a base folder with these generation configs."""

    def write(own, base):
        for name, config in (("model", own), ("base", base)):
            (tmp_path / name).mkdir(exist_ok=True)
            if config is not None:
                (tmp_path / name / "generation_config.json").write_text(json.dumps(config))
        return tmp_path / "model", tmp_path / "base"

    return write


GOOD = {"eos_token_id": 2, "pad_token_id": 0}


def words(found):
    return " | ".join(f"{item['what']}: {item['words']}" for item in found)


def test_equal_tokenizers_have_no_mismatch(fake_vllm, tokenizer, folders):
    assert parity(fake_vllm(), tokenizer, tokenizer) == []
    assert check_special_tokens(*folders(GOOD, GOOD), tokenizer, tokenizer) == []


def test_a_model_that_carries_another_template_is_found(fake_vllm, tokenizer, other_tokenizer, folders):
    changed = other_tokenizer(tokenizer.chat_template.replace("assistant\n", "Assistant:"))
    found = parity(fake_vllm(), changed, tokenizer)
    assert {tuple(item["between"]) for item in found} == {("model", "base"), ("model", "served")}
    assert {item["form"] for item in found} == {"prompt"}
    first = found[0]
    position = len(tokenizer.encode("<|im_start|>user\n碘片何时服用？<|im_end|>\n<|im_start|>"))
    assert first["position"] == position
    assert first["words"] == f"token {position}: 'A' became 'a'"
    assert "chat_template" in words(check_special_tokens(*folders(GOOD, GOOD), changed, tokenizer))


def test_a_server_with_another_template_is_found(fake_vllm, tokenizer, other_tokenizer):
    server = fake_vllm()
    server.tokenizer = other_tokenizer(tokenizer.chat_template.replace("<|im_end|>\n", "<|im_end|>"))
    found = parity(server, tokenizer, tokenizer)
    assert {tuple(item["between"]) for item in found} == {("model", "served")}
    assert {item["row_id"] for item in found} == {"r-0", "r-1", "r-2"}


def test_a_swapped_eos_is_found(tokenizer, other_tokenizer, folders):
    swapped = other_tokenizer(eos="<|im_start|>")
    found = words(check_special_tokens(*folders(GOOD, GOOD), swapped, tokenizer))
    assert "eos is '<|im_start|>', the base model's is '<|im_end|>'" in found
    assert "stop: generation stops at [2], not at the tokenizer's eos 1" in found


def test_pad_equal_to_eos_is_found(other_tokenizer, folders):
    same = other_tokenizer(pad="<|im_end|>")
    # Even where the base has the same fault.
    assert "pad = eos" in words(check_special_tokens(*folders(GOOD, GOOD), same, same))


@pytest.mark.parametrize(
    "own", [{"eos_token_id": 1, "pad_token_id": 0}, {"eos_token_id": [2, 1], "pad_token_id": 0}, None]
)
def test_other_stop_tokens_than_the_base_are_found(tokenizer, folders, own):
    assert "generation_config eos" in words(check_special_tokens(*folders(own, GOOD), tokenizer, tokenizer))


def test_a_list_of_stop_tokens_with_the_eos_is_fine(tokenizer, folders):
    several = {"eos_token_id": [2, 1], "pad_token_id": 0}
    assert check_special_tokens(*folders(several, several), tokenizer, tokenizer) == []


def test_a_longer_sequence_differs_at_its_first_extra_token(tokenizer):
    found = first_difference([5, 6], [5, 6, 7], tokenizer)
    assert (found["position"], found["expected"], found["found"]) == (2, None, 7)
    assert first_difference([5, 6], [5, 6], tokenizer) is None


def test_languages_take_turns(tmp_path):
    path = tmp_path / "validation.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert [row["language"] for row in choose_conversations(path, 2)] == ["zh", "en"]
    assert len(choose_conversations(path, 9)) == 3


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "validation.jsonl").write_text("")
    with pytest.raises(DataContractError, match="has no rows"):
        choose_conversations(tmp_path / "validation.jsonl", 4)


def test_template_digest_is_that_of_the_saved_file(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    saved = (tmp_path / "chat_template.jinja").read_bytes()
    assert template_sha256(tokenizer) == hashlib.sha256(saved).hexdigest()
