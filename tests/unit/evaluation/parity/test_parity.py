"""Token parity with planted faults: other template, other tokenizer, other labels; every shape, of real families."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.chat.rows import IGNORED, encode_row
from tasks.chat.shapes import SHAPES, Conversation, built_in, choose_conversations, shape_of, spread
from tasks.core.errors import DataContractError
from tasks.core.files import write_json, write_jsonl
from tasks.engine.client import AnswerCache, ServedClient
from tasks.evaluation.parity import check as parity_module
from tasks.evaluation.parity.check import check_parity, first_difference
from tasks.training.train import _parity

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
OWN = [Conversation(row["row_id"], "single", row["messages"]) for row in ROWS]
GOOD = {"eos_token_id": 2, "pad_token_id": 0}
NO_SWITCH = "the chat template has no enable_thinking switch"


@pytest.fixture
def parity(tmp_path, fake_vllm):
    """Return a function that checks a model folder against a base through a (fake) server."""

    def check(own, base, server=None, trained=None):
        for name in ("model", "base"):
            (tmp_path / name).mkdir(exist_ok=True)
            write_json(tmp_path / name / "generation_config.json", GOOD)
        if trained is not None:
            write_jsonl(tmp_path / "model/parity.jsonl", trained, sort_keys=False)
        server = server or fake_vllm()
        client = ServedClient(server.url, "m", model_digest="d", concurrency=4, cache=AnswerCache(None))
        return check_parity(
            OWN, model=tmp_path / "model", base=tmp_path / "base", tokenizer=own, base_tokenizer=base, client=client,
            trained=tmp_path / "model",
        )  # fmt: skip

    return check


def family(tokenizer, name):
    """The test tokenizer with a real family's chat template, as TRL ships them, and the tokens that close its turns."""
    import trl

    changed = copy.deepcopy(tokenizer)
    folder = Path(trl.__file__).parent / "chat_templates"
    changed.chat_template = (folder / f"{name}.jinja").read_text(encoding="utf-8")
    changed.add_special_tokens({"additional_special_tokens": ["<|eot_id|>", "<|eom_id|>", "<｜end▁of▁sentence｜>"]})
    return changed


@pytest.mark.parametrize(
    ("name", "unsupported"),
    [
        (None, {"thinking_on": NO_SWITCH, "thinking_off": NO_SWITCH,
                "tools": "the chat template does not tell the model about tools"}),
        ("qwen2_5", {"thinking_on": NO_SWITCH, "thinking_off": NO_SWITCH}),
        ("qwen3", {}),
        ("llama3", {"thinking_on": NO_SWITCH, "thinking_off": NO_SWITCH,
                    "tools": "the chat template does not tell the model about tools"}),
        ("llama3_1", {"thinking_on": NO_SWITCH, "thinking_off": NO_SWITCH}),
        ("deepseek_r1_distill", {"thinking_on": NO_SWITCH, "thinking_off": NO_SWITCH,
                                 "tools": "the chat template does not tell the model about tools"}),
    ],
)  # fmt: skip
def test_every_shape_of_every_family_is_checked_or_named(parity, fake_vllm, tokenizer, name, unsupported):
    own, server = family(tokenizer, name) if name else tokenizer, fake_vllm()
    server.tokenizer = own
    found = parity(own, own, server)
    assert [item["words"] for item in found["mismatches"]] == []
    assert found["unsupported"] == unsupported
    assert set(found["shapes"]) == set(SHAPES) - set(unsupported)
    assert found["rows"] == sum(found["shapes"].values())
    # Llama 3.1 takes one call a turn.
    refused = [("parity-tools-3", "template_refuses")] if name == "llama3_1" else []
    assert [(item["row_id"], item["reason"]) for item in found["refused"]] == refused
    assert found["completions"]["exact"] + found["completions"]["as_rendered"] >= found["rows"]
    learnt = found["stop"].pop("learnt")
    assert len(learnt) == 1
    assert own.decode(learnt) in ("<|im_end|>", "<|eot_id|>", "<｜end▁of▁sentence｜>")
    assert found["stop"] == {"token": 2, "asked": 3, "stopped": 3, "tokens": 64}
    assert {"r-0", "parity-long-1"} <= set(found["digests"])


def test_a_model_that_carries_another_template_is_found(parity, tokenizer, other_tokenizer):
    changed = other_tokenizer(tokenizer.chat_template.replace("assistant\n", "Assistant:"))
    found = [item for item in parity(changed, tokenizer)["mismatches"] if item["row_id"] == "r-0"]
    assert {tuple(item["between"]) for item in found} == {("training", "evaluation")}
    assert {item["form"] for item in found} == {"prompt 1"}
    position = len(tokenizer.encode("<|im_start|>user\n碘片何时服用？<|im_end|>\n<|im_start|>"))
    assert found[0]["position"] == position
    named = f"single, row r-0, prompt 1: token {position}: 'a' became 'A' (training against evaluation)"
    assert found[0]["words"] == named


def test_a_server_with_another_template_is_found(parity, fake_vllm, tokenizer, other_tokenizer):
    server = fake_vllm()
    server.tokenizer = other_tokenizer(tokenizer.chat_template.replace("<|im_end|>\n", "<|im_end|>"))
    found = parity(tokenizer, tokenizer, server)["mismatches"]
    assert {tuple(item["between"]) for item in found} == {("training", "served")}
    assert {"r-0", "r-1", "r-2"} <= {item["row_id"] for item in found}


def test_a_server_that_trims_whitespace_is_found_in_that_shape_alone(parity, fake_vllm, tokenizer, other_tokenizer):
    server = fake_vllm()
    server.tokenizer = other_tokenizer(tokenizer.chat_template.replace("['content']", "['content'] | trim"))
    found = parity(tokenizer, tokenizer, server)["mismatches"]
    assert {item["shape"] for item in found} == {"whitespace"}


def test_a_server_that_thinks_again_is_found(parity, fake_vllm, tokenizer):
    own, server = family(tokenizer, "qwen3"), fake_vllm()
    server.tokenizer = family(tokenizer, "qwen3")
    server.tokenizer.chat_template = own.chat_template.replace("enable_thinking is false", "enable_thinking is none")
    found = parity(own, own, server)["mismatches"]
    assert {item["shape"] for item in found} == {"thinking_off"}
    assert "token" in found[0]["words"]


def test_tools_in_another_form_are_found(parity, fake_vllm, tokenizer):
    own, server = family(tokenizer, "qwen2_5"), fake_vllm()
    server.tokenizer = family(tokenizer, "qwen2_5")
    server.tokenizer.chat_template = own.chat_template.replace('"arguments": \' ', '"args": \' ')
    found = parity(own, own, server)["mismatches"]
    assert {item["shape"] for item in found} == {"tools"}
    assert "parity-tools-1" in found[0]["words"]


def test_a_prompt_that_training_never_saw_is_found(parity, fake_vllm, tokenizer, monkeypatch):
    """The fault of training on rendered rows where the template opens a thought at generation alone."""
    own, server = family(tokenizer, "deepseek_r1_distill"), fake_vllm()
    server.tokenizer = own

    def rendered(row_id, messages, tokenizer, tools=None, **options):
        row = encode_row(row_id, messages, tokenizer, tools, **options)
        ids = tokenizer.encode(tokenizer.apply_chat_template(row.messages, tokenize=False), add_special_tokens=False)
        start = len(ids) - len(tokenizer.encode(messages[-1]["content"].split("</think>\n\n")[-1] + own.eos_token))
        labels = [IGNORED] * start + ids[start:]
        return replace(row, input_ids=ids, labels=labels, thought_restored=False)

    monkeypatch.setattr(parity_module, "encode_row", rendered)
    found = parity(own, own, server)["mismatches"]
    assert any(item["between"] == ["prompt", "training"] and "<" in item["words"] for item in found)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda row: replace(row, labels=list(row.input_ids)), "token 0: labels teach '<|im_start|>'"),
        (lambda row: replace(row, labels=[*row.labels[:-2], IGNORED, IGNORED]), "no token that ends a turn"),
        (lambda row: replace(row, labels=[IGNORED] * len(row.labels)), "0 runs of labels"),
        (lambda row: replace(row, labels=[label + 1 if label > 50 else label for label in row.labels]), "the label is"),
        (lambda row: replace(row, labels=row.labels[:-1]), "labels for"),
        (lambda row: replace(row, messages=[*row.messages[:-1], {"role": "assistant", "content": "另一个答案"}]),
         "labels teach"),
        (lambda row: replace(row, trained_turns=row.trained_turns[:-1]), "are said to be taught"),
    ],
)  # fmt: skip
def test_wrong_labels_are_found(tokenizer, monkeypatch, parity, plant, words):
    def planted(row_id, messages, tokenizer, tools=None, **options):
        row = encode_row(row_id, messages, tokenizer, tools, **options)
        return plant(row) if row_id == "r-1" else row

    monkeypatch.setattr(parity_module, "encode_row", planted)
    found = [item for item in parity(tokenizer, tokenizer)["mismatches"] if item["form"] == "labels"]
    assert {item["row_id"] for item in found} == {"r-1"}
    assert words in found[0]["words"], found[0]["words"]


def test_what_training_left_is_compared_with_what_is_served(parity, tokenizer):
    rows = [encode_row(row["row_id"], row["messages"], tokenizer) for row in ROWS]
    evidence = json.loads(json.dumps(_parity(rows, tokenizer)))
    assert [row["origin"] for row in evidence].count("trained") == 3
    found = parity(tokenizer, tokenizer, trained=evidence)
    assert found["mismatches"] == []
    assert found["trained"] == len(evidence)
    evidence[0]["input_ids"][3] += 1
    (found,) = parity(tokenizer, tokenizer, trained=evidence)["mismatches"]
    assert (found["row_id"], found["between"], found["position"]) == (evidence[0]["row_id"], ["trained", "served"], 3)


def test_digests_are_those_of_the_trained_ids(parity, tokenizer):
    from tasks.core.digest import sha256_json

    digests = parity(tokenizer, tokenizer)["digests"]
    built = [row for row in _parity([], tokenizer) if row["row_id"] in digests]
    assert len(built) > 25
    assert {row["row_id"]: sha256_json(row["input_ids"]) for row in built}.items() <= digests.items()


def test_a_clock_in_the_template_is_noted_and_old_rows_are_not_compared(parity, fake_vllm, tokenizer, other_tokenizer):
    dated = other_tokenizer("{{ strftime_now('%Y') if strftime_now is defined }}" + tokenizer.chat_template)
    server = fake_vllm()
    server.tokenizer = dated
    row = {"row_id": "r-0", "messages": ROWS[0]["messages"], "input_ids": [1]}
    found = parity(dated, dated, server, trained=[row])
    assert found["trained"] == 0
    assert "today's date" in found["notes"][0]


def test_a_model_that_never_stops_is_counted(parity, fake_vllm, tokenizer):
    stop = parity(tokenizer, tokenizer, fake_vllm("never stops"))["stop"]
    assert (stop["asked"], stop["stopped"]) == (3, 0)


def test_a_template_without_a_system_turn_is_named(parity, fake_vllm, tokenizer, other_tokenizer):
    guard = "{{ raise_exception('no system') if messages[0].role == 'system' }}"
    own, server = other_tokenizer(guard + tokenizer.chat_template), fake_vllm()
    server.tokenizer = own
    found = parity(own, own, server)
    assert found["unsupported"]["system"] == "every row is left out: template_refuses"
    assert {"parity-system-1", "parity-whitespace-2"} <= {item["row_id"] for item in found["refused"]}


def test_a_longer_sequence_differs_at_its_first_extra_token(tokenizer):
    found = first_difference([5, 6], [5, 6, 7], tokenizer)
    assert (found["position"], found["expected"], found["found"]) == (2, None, 7)
    assert first_difference([5, 6], [5, 6], tokenizer) is None


def test_the_fixed_set_has_every_shape_and_no_twins():
    assert {conversation.shape for conversation in built_in()} == set(SHAPES)
    assert len({conversation.row_id for conversation in built_in()}) == len(built_in())
    assert all(conversation.messages[-1]["role"] == "assistant" for conversation in built_in())


def test_languages_and_shapes_take_turns(tmp_path):
    path = tmp_path / "validation.jsonl"
    system = {"role": "system", "content": "简短回答。"}
    rows = [*ROWS, {**ROWS[0], "row_id": "r-3", "messages": [system, *ROWS[0]["messages"]]}]
    write_jsonl(path, rows)
    assert [row.row_id for row in choose_conversations(path, 3)] == ["r-0", "r-2", "r-3"]
    assert len(choose_conversations(path, 9)) == 4
    assert spread([("single", 1), ("single", 2), ("tools", 3)], 2) == [1, 3]


def test_shapes_are_told_apart():
    user, answer = ROWS[0]["messages"]
    assert shape_of([user, answer], None) == "single"
    assert shape_of([user, answer], [{"name": "f"}]) == "tools"
    assert shape_of([user, answer, user, answer], None) == "multi_turn"
    assert shape_of([user, {"role": "assistant", "content": "<think>\n想\n</think>\n\n好"}], None) == "thinking"


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "validation.jsonl").write_text("")
    with pytest.raises(DataContractError, match="has no rows"):
        choose_conversations(tmp_path / "validation.jsonl", 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3_5_think", "qwen3_6", "qwen3_8", "nemotron_3_nano"])
def test_families_that_open_a_thought_are_trained_as_they_are_served(parity, fake_vllm, tokenizer, name):
    """Their tokenizers join the line end behind the opened thought with the next one."""
    own, server = family(tokenizer, name), fake_vllm()
    own.add_tokens(["\n\n"])
    server.tokenizer = own
    recorded = _parity([encode_row(row.row_id, row.messages, own) for row in OWN], own)
    assert any(row["joined"] for row in recorded)
    found = parity(own, own, server, json.loads(json.dumps(recorded)))
    assert [item["words"] for item in found["mismatches"]] == []
    assert found["trained"] == len(recorded)
