"""Which token pads each family, and that training, adapter, merged model and server read one and the same tokenizer."""

import json
import shutil

import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

from tasks.chat.rows import RowRefused, encode_row
from tasks.chat.tokenizer import copy_tokenizer, load_tokenizer, tokenizer_sha256
from tasks.core.errors import DataContractError
from tasks.models.catalogue import load_catalogue
from tasks.models.tokenizer_files import PROBES, completion, pad_token
from tests.unit.families import FAMILIES, write_family

CATALOGUED = {
    "qwen2.5": ("Qwen2.5", ""), "qwen3": ("Qwen3", ""), "llama-3.2": ("Llama 3.x", ""), "yi-1.5": ("Yi-1.5", ""),
    "deepseek-distill-qwen": ("DeepSeek-R1 distill", "Distill-Qwen"),
    "deepseek-distill-llama": ("DeepSeek-R1 distill", "Distill-Llama"),
}  # fmt: skip
LLAMA = "llama-3.2"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return a function that gives a family's folder, written once; read-only for the tests."""
    root, done = tmp_path_factory.mktemp("families"), {}

    def folder(name):
        if name not in done:
            done[name] = write_family(name, root / name)
        return done[name]

    return folder


@pytest.fixture
def copied(written, tmp_path):
    """Return a function that gives a copy to damage: {file: {key: value}} is written over."""

    def folder(name, changes=None):
        target = shutil.copytree(written(name), tmp_path / name)
        for file, values in (changes or {}).items():
            known = json.loads((target / file).read_text()) if (target / file).is_file() else {}
            (target / file).write_text(json.dumps(known | values))
        return target

    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_pads_with_a_token_of_its_own_that_nothing_else_uses(written, name):
    folder, family = written(name), FAMILIES[name]
    pad, tokenizer = pad_token(folder), load_tokenizer(folder)
    assert (pad.token, tokenizer.pad_token, tokenizer.pad_token_id) == (family.pads_with, pad.token, pad.id)
    assert pad.token != family.eos
    assert pad.token not in tokenizer.chat_template
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert file.token_to_id(pad.token) == pad.id
    assert len(tokenizer) == file.get_vocab_size()  # nothing was added
    assert tokenizer.eos_token == family.eos
    assert (pad.origin == "base") == (family.pad == family.pads_with)


@pytest.mark.parametrize("name", FAMILIES)
def test_base_and_copies_read_text_as_tokenizer_json_does(written, name, tmp_path):
    folder = written(name)
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    digest = copy_tokenizer(folder, tmp_path)  # an adapter's folder: no config.json beside it
    (tmp_path / "again").mkdir()
    assert digest == tokenizer_sha256(tmp_path) == copy_tokenizer(tmp_path, tmp_path / "again")
    for tokenizer in (load_tokenizer(folder), load_tokenizer(tmp_path)):
        for text in PROBES:
            ids = file.encode(text, add_special_tokens=False).ids
            assert tokenizer.encode(text, add_special_tokens=False) == ids
            assert tokenizer.decode(ids) == file.decode(ids, skip_special_tokens=False)
        assert tokenizer.pad_token == FAMILIES[name].pads_with


def test_a_complete_base_is_copied_to_the_byte(written, tmp_path):
    assert completion(written("qwen2.5")) == {}
    copy_tokenizer(written("qwen2.5"), tmp_path)
    assert all((written("qwen2.5") / path.name).read_bytes() == path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(("name", "place"), CATALOGUED.items())
def test_the_catalogue_says_what_pads(name, place):
    models = [model for model in load_catalogue().models if model.family == place[0] and place[1] in model.id]
    family = FAMILIES[name]
    assert {(model.pad_token, model.pad_chosen) for model in models} == {
        (family.pads_with, family.pad != family.pads_with)
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tokenizer_config.json": {"pad_token": "<|eot_id|>"}}, "<|finetune_right_pad_id|>"),
        ({"tokenizer_config.json": {"pad_token": {"content": "<|eot_id|>"}}}, "<|finetune_right_pad_id|>"),
        ({"tokenizer_config.json": {"pad_token": "[PAD]"}}, "<|finetune_right_pad_id|>"),  # not in the vocabulary
        ({"tokenizer_config.json": {"pad_token": "<|python_tag|>"}}, "<|python_tag|>"),  # the base's own word
        ({"special_tokens_map.json": {"pad_token": "<|python_tag|>"}}, "<|python_tag|>"),
        ({"generation_config.json": {"eos_token_id": [324]}}, "<|reserved_special_token_11|>"),
        ({"config.json": {"eos_token_id": 324}}, "<|reserved_special_token_11|>"),
        ({"config.json": {"image_token_id": 324}}, "<|reserved_special_token_11|>"),
        ({"config.json": {"pad_token_id": 324}}, "<|finetune_right_pad_id|>"),
        ({"config.json": {"vocab_size": 330}}, "<|finetune_right_pad_id|>"),
        ({"config.json": {"vocab_size": 324}}, "<|reserved_special_token_1|>"),  # rows of the embedding end before it
        ({"config.json": {"vocab_size": 0, "text_config": {"vocab_size": 324}}}, "<|reserved_special_token_1|>"),
    ],
)
def test_the_rule_passes_over_tokens_that_have_a_use_or_no_row(copied, changes, expected):
    folder = copied(LLAMA, changes)
    assert pad_token(folder).token == expected
    assert load_tokenizer(folder).pad_token == expected


def test_a_token_that_the_template_writes_never_pads(copied):
    folder = copied(LLAMA)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{{ '<|finetune_right_pad_id|>' }}{{ '<|reserved_special_token_11|>' }}")
    assert pad_token(folder).token == "<|reserved_special_token_10|>"


def test_the_unknown_token_pads_only_where_every_byte_is_known(copied):
    folder = copied("yi-1.5", {"tokenizer_config.json": {"pad_token": None}})
    assert pad_token(folder).words == "<unk> (id 0, chosen: unknown token)"
    file = folder / "tokenizer.json"
    value = json.loads(file.read_text())
    value["model"]["byte_fallback"] = False
    file.write_text(json.dumps(value))
    with pytest.raises(DataContractError, match="free to pad") as caught:
        pad_token(folder)
    assert "tokenizer_config.json" in caught.value.hint


def test_a_row_that_spells_the_chosen_token_is_refused(written):
    tokenizer = load_tokenizer(written(LLAMA))
    turns = [{"role": "user", "content": "碘片？"}, {"role": "assistant", "content": "<|finetune_right_pad_id|>"}]
    with pytest.raises(RowRefused, match="special_token_in_text"):
        encode_row("r-1", turns, tokenizer)
    turns[1]["content"] = "照射前。"
    row = encode_row("r-2", turns, tokenizer)
    assert tokenizer.pad_token_id not in row.input_ids


def test_older_folders_name_the_pad_in_a_file_of_their_own_and_it_is_kept_in_step(copied, tmp_path):
    folder = copied(LLAMA, {"special_tokens_map.json": {"pad_token": "<|eot_id|>", "eos_token": "<|eot_id|>"}})
    target = tmp_path / "adapter"
    target.mkdir()
    copy_tokenizer(folder, target)
    assert json.loads((target / "special_tokens_map.json").read_text())["pad_token"] == "<|finetune_right_pad_id|>"
    assert load_tokenizer(target).pad_token == "<|finetune_right_pad_id|>"


def test_a_tokenizer_that_no_class_reads_as_written_is_refused(copied):
    # transformers builds a Qwen tokenizer itself, whatever tokenizer.json says about how text is split.
    folder = copied("qwen2.5")
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    file.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"\s"), behavior="removed"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    file.save(str(folder / "tokenizer.json"))
    with pytest.raises(DataContractError, match=r"another tokenizer than its tokenizer\.json says"):
        load_tokenizer(folder)


def test_a_class_that_only_composes_letters_is_taken(copied):
    folder = copied("deepseek-distill-qwen")
    file = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(file | {"normalizer": None}))
    assert completion(folder)["tokenizer_class"] == "Qwen2Tokenizer"
    assert load_tokenizer(folder).decode(load_tokenizer(folder).encode("é 碘片")) == "é 碘片"
