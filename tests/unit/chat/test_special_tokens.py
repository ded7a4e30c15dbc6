"""Special tokens with planted faults: swapped eos, pad = eos, another stop token, another template."""

import hashlib
import json

import pytest

from tasks.chat.special_tokens import check_special_tokens, template_sha256


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


def test_equal_folders_have_no_fault(tokenizer, folders):
    assert check_special_tokens(*folders(GOOD, GOOD), tokenizer, tokenizer) == []


def test_another_template_is_found(tokenizer, other_tokenizer, folders):
    changed = other_tokenizer(tokenizer.chat_template.replace("assistant\n", "Assistant:"))
    assert "chat_template" in words(check_special_tokens(*folders(GOOD, GOOD), changed, tokenizer))


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


def test_template_digest_is_that_of_the_saved_file(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    saved = (tmp_path / "chat_template.jinja").read_bytes()
    assert template_sha256(tokenizer) == hashlib.sha256(saved).hexdigest()
