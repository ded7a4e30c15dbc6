"""Where scoring starts, with the chat templates of real families: behind the thought training puts there."""

from pathlib import Path

import pytest

from tasks.chat.labels import taught
from tasks.chat.rows import RowRefused, encode_row
from tasks.chat.template import thought_opened
from tasks.engine.spans import answer_span, opening_ids

#: Template -> what stands between the rendered prompt and an answer without a thought.
TEMPLATES = {
    "qwen2_5": "",
    "qwen3_instruct_2507": "",
    "llama3": "",
    "qwen3": "<think>\n\n</think>\n\n",
    "qwen3_5_nothink": "",
    "qwen3_5_think": "\n</think>\n\n",
    "qwen3_6": "\n</think>\n\n",
    "qwen3_8": "\n</think>\n\n",
    "deepseek_r1_distill": "\n</think>\n\n",
    "nemotron_3_nano": "\n</think>\n\n",
}
QUESTION = [{"role": "user", "content": "碘片什么时候服用？"}]
HISTORY = [*QUESTION, {"role": "assistant", "content": "照射前。"}, {"role": "user", "content": "为什么？"}]
ANSWER = "此时甲状腺\n\n尚未吸收。"
THOUGHT = "<think>\n先想一想：此时甲状腺\n\n尚未吸收。\n</think>\n\n"
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>",
)  # fmt: skip


def made(name, *, joins_newlines):
    """Return a byte-level tokenizer with a family's template; its newlines are joined by two as Qwen's are."""
    import trl
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*SPECIAL, *letters, *(["ĊĊ"] if joins_newlines else [])]
    merges = [("Ċ", "Ċ")] if joins_newlines else []
    backend = Tokenizer(models.BPE({token: number for number, token in enumerate(vocabulary)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL))
    # The marks of a thought are tokens of their own, not special ones.
    backend.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    template = Path(trl.__file__).parent.joinpath("chat_templates", f"{name}.jinja").read_text("utf-8")
    eos = {"llama3": "<|eot_id|>", "deepseek_r1_distill": "<｜end▁of▁sentence｜>"}.get(name, "<|im_end|>")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<｜begin▁of▁sentence｜>", eos_token=eos, pad_token="<|endoftext|>",
        chat_template=template,
    )  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["single newlines", "joined newlines"])
def families(request):
    return {name: made(name, joins_newlines=request.param) for name in TEMPLATES}


@pytest.mark.parametrize("name", TEMPLATES)
def test_scoring_starts_where_training_puts_the_answer(families, name):
    tokenizer = families[name]
    for messages in (QUESTION, HISTORY):
        for content in (ANSWER, THOUGHT + ANSWER, "B", " 50"):
            before, after = answer_span(tokenizer, messages, content)
            wanted = ANSWER if content.startswith("<think>") else content
            assert tokenizer.decode(after).strip() == wanted.strip()
            text = tokenizer.decode(before)
            assert ANSWER not in text.rpartition("</think>")[2]
            if content.startswith("<think>"):
                assert ANSWER in text
            else:
                asked = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
                assert text.startswith(asked)
            try:
                row = encode_row("r", [*messages, {"role": "assistant", "content": content}], tokenizer)
            except RowRefused:
                continue
            # Exactly the tokens training labels, up to the end of turn.
            end = len(before) + len(after)
            assert row.input_ids[:end] == before + after
            assert row.labels[len(before) : end + 1] == [*after, row.input_ids[end]]
            last = taught(row.input_ids, row.labels, tokenizer)[-1]
            assert last.first <= len(before)
            assert last.first + len(last.ids) == end + 1


@pytest.mark.parametrize(("name", "opening"), TEMPLATES.items())
def test_the_opening_is_what_training_puts_before_an_answer(families, name, opening):
    tokenizer = families[name]
    found = tokenizer.decode(opening_ids(tokenizer))
    # A template that writes an empty thought of its own behind a prompt that opened one: both stand before the answer.
    assert found == opening or found == opening + "<think></think>"
    asked = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    before, after = answer_span(tokenizer, QUESTION, "B")
    assert tokenizer.decode(before) == asked + found
    assert len(after) == 1
    # Four letters share one context: one request scores them all.
    assert {tuple(answer_span(tokenizer, QUESTION, letter)[0]) for letter in "ABCD"} == {tuple(before)}
    if thought_opened(asked):
        assert "</think>" in found


def test_a_row_that_training_refuses_is_still_scored_behind_the_thought(families):
    tokenizer = families["qwen3"]
    asked = [{"role": "user", "content": "What does <|im_end|> mean?"}]
    before, after = answer_span(tokenizer, asked, "轮到对方。")
    assert tokenizer.decode(before).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert tokenizer.decode(after) == "轮到对方。"
