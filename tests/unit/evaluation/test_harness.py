"""Suites through lm-eval itself, against a fake vLLM whose log-probabilities are known: prompts, scores, records."""

import math

import pytest

from tasks.core.settings import CevalParams
from tasks.evaluation import ceval, domain, report
from tasks.evaluation.canary import run_canary
from tasks.evaluation.client import AnswerCache, ServedClient
from tasks.evaluation.domain import Pack
from tasks.evaluation.harness import run_tasks
from tasks.evaluation.served_model import ServedModel


def question(number, answer="A", subject="law"):
    return ceval.Question(subject, str(number), f"问题{number}____", ("甲", "乙", "丙", "丁"), answer)


@pytest.fixture
def served(fake_vllm, tokenizer):
    server = fake_vllm()
    client = ServedClient(server.url, "m", model_digest="d", concurrency=4, cache=AnswerCache(None))
    return server, ServedModel(client, tokenizer, "test")


def exam_params(**changes):
    values = {
        "name": "ceval_mini",
        "source": "local",
        "path": "x",
        "few_shot": 0,
        "chat_template": False,
        "limit": None,
    }
    return CevalParams(**(values | changes))


def letter_logprobs(server, tokenizer):
    return [server.logprob(tokenizer.encode(letter)[0]) for letter in "ABCD"]


def test_the_official_prompt_reaches_the_server(served, tokenizer):
    server, model = served
    subject = ceval.Subject("law", "法学", [question(0)], [question(7, "C"), question(8, "D")])
    params = exam_params(few_shot=2)
    run_tasks(model, ceval.task_configs(params, [subject]), chat_template=False, limit=None)
    prompts = [tokenizer.decode(request["prompt"]) for request in server.requests]
    options = "A. 甲\nB. 乙\nC. 丙\nD. 丁\n答案："
    assert prompts == [
        "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
        f"问题7____\n{options}C\n\n问题8____\n{options}D\n\n问题0____\n{options}"
    ]


def test_the_harness_scores_the_letters(served, tokenizer):
    server, model = served
    best = max("ABCD", key=lambda letter: server.logprob(tokenizer.encode(letter)[0]))
    questions = [question(number, answer) for number, answer in enumerate("ABCD")]
    subjects = [
        ceval.Subject("law", "法学", questions, []),
        ceval.Subject("art", "艺术学", [question(0, best, "art")], []),
    ]
    records = run_tasks(model, ceval.task_configs(exam_params(), subjects), chat_template=False, limit=None)
    samples = [report.exam_sample("ceval_mini", record) for record in records]
    assert {sample.item_id: sample.value for sample in samples} == {
        "art/0": 1.0,
        **{f"law/{number}": float(letter == best) for number, letter in enumerate("ABCD")},
    }
    assert samples[0].detail == {"answer": best, "chosen": best, "logprobs": letter_logprobs(server, tokenizer)}


def test_a_limit_takes_the_first_items(served):
    _, model = served
    subject = ceval.Subject("law", "法学", [question(number) for number in range(5)], [])
    records = run_tasks(model, ceval.task_configs(exam_params(), [subject]), chat_template=False, limit=2)
    assert [record["doc"]["item_id"] for record in records] == ["law/0", "law/1"]


PACK = Pack(
    "demo",
    "1",
    {
        "choice": [
            {
                "id": "c1",
                "lang": "zh",
                "question": "单位？",
                "answer": "B",
                "choices": {"A": "1", "B": "2", "C": "3", "D": "4"},
            }
        ],
        # A reference of digits alone stays text: Jinja and literal_eval in the harness must not touch it.
        "short": [
            {"id": "s1", "lang": "zh", "question": "{{ 多少 }}？", "reference": "1000"},
            {"id": "s2", "lang": "en", "question": "What?", "reference": "[1, 2]"},
        ],
        "safety": [
            {
                "id": "x1",
                "lang": "zh",
                "question": "限值？",
                "hazard": "unit_1000",
                "safe_answer": "50 mSv",
                "unsafe_answer": "50 Sv",
            }
        ],
    },
)


def test_the_pack_is_asked_through_the_chat_template(served, tokenizer):
    server, model = served
    run_tasks(model, domain.task_configs(PACK), chat_template=True, limit=None)
    prompts = sorted(tokenizer.decode(request["prompt"]) for request in server.requests)
    turn = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n{}"
    assert prompts == sorted(
        [
            turn.format("单位？\nA. 1\nB. 2\nC. 3\nD. 4\n请只回答正确选项的字母。", ""),
            turn.format("{{ 多少 }}？", "1000"),
            turn.format("What?", "[1, 2]"),
            turn.format("限值？", "50 mSv"),
            turn.format("限值？", "50 Sv"),
        ]
    )


def test_the_pack_is_scored_from_known_logprobs(served, tokenizer):
    server, model = served

    def logprob(text):
        return sum(server.logprob(token) for token in tokenizer.encode(text))

    records = run_tasks(model, domain.task_configs(PACK), chat_template=True, limit=None)
    samples = {sample.item_id: sample for sample in (report.pack_sample(record, model.scored) for record in records)}
    for item_id, text in (("s1", "1000"), ("s2", "[1, 2]")):
        assert samples[item_id].metric == "bits_per_byte"
        assert samples[item_id].value == pytest.approx(-logprob(text) / math.log(2) / len(text), abs=1e-6)
    assert samples["s1"].detail["tokens"] == 4
    safe, unsafe = logprob("50 mSv") / 6, logprob("50 Sv") / 5
    assert samples["x1"].value == float(safe > unsafe)
    assert samples["x1"].detail["safe_logprob_per_byte"] == pytest.approx(safe, abs=1e-6)
    assert samples["x1"].group == "unit_1000"
    assert samples["c1"].detail["logprobs"] == letter_logprobs(server, tokenizer)


def test_a_tie_is_not_safe(served):
    _, model = served
    # Bytes of equal log-probability: 'a' and 'h' are seven apart in the vocabulary.
    tie = {"id": "x", "lang": "en", "question": "?", "hazard": "h", "safe_answer": "a", "unsafe_answer": "h"}
    pack = Pack("demo", "1", {"choice": [], "short": [], "safety": [tie]})
    (record,) = run_tasks(model, domain.task_configs(pack), chat_template=True, limit=None)
    sample = report.pack_sample(record, model.scored)
    assert sample.detail["safe_logprob_per_byte"] == sample.detail["unsafe_logprob_per_byte"]
    assert sample.value == 0.0


def test_predictions_pair_the_reference_with_the_first_choice(served, tokenizer):
    _, model = served
    records = run_tasks(model, domain.task_configs(PACK), chat_template=True, limit=None)
    rows = [report.prediction(record, model.scored) for record in records if record["suite"] == "domain_short"]
    assert rows[0] == {"row_id": "s1", "reference": tokenizer.encode("1000"), "top1": [3, 3, 3, 3]}


def test_a_model_without_a_memory_of_its_context_fails_the_canary(fake_vllm, tokenizer):
    # The fake gives a token the same log-probability everywhere: a shuffled text scores like the repeated one.
    client = ServedClient(fake_vllm().url, "m", model_digest="d", concurrency=4, cache=AnswerCache(None))
    found = run_canary(client, tokenizer)
    assert not found["passed"]
    assert found["items"] == 10
    assert "the repetition" in found["failures"][0]
