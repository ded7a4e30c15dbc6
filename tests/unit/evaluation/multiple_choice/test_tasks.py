"""Exams through lm-eval itself, against a fake vLLM: the official prompts, both ways of answering, what has to fit."""

import pytest

from tasks.core.errors import ConfigError
from tasks.engine.client import AnswerCache, ServedClient
from tasks.evaluation.hops.served_model import ServedModel
from tasks.evaluation.multiple_choice.tasks import exam_item, fit_examples, generation_tasks, likelihood_tasks
from tasks.exams.schema import Exam, Subject

OPTIONS = "A. 甲\nB. 乙\nC. 丙\nD. 丁\n"
CEVAL = "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n\n"
CMMLU = "以下是关于法学的单项选择题，请直接给出正确答案的选项。\n\n"


def run_tasks(*given, **named):
    """Import lm-eval where it runs: it takes seconds of every process that only collects."""
    from tasks.evaluation.hops import harness

    return harness.run_tasks(*given, **named)


@pytest.fixture
def served(fake_vllm, tokenizer):
    server = fake_vllm()
    client = ServedClient(server.url, "m", model_digest="d", concurrency=4, cache=AnswerCache(None))
    return server, ServedModel(client, tokenizer, "test")


@pytest.fixture
def one_question(exam_params, question):
    """Return a function that makes an exam of one law question with two examples."""

    def make(**changes):
        subject = Subject("law", "法学", [question(0)], [question(7, "C"), question(8, "D")])
        return Exam(exam_params(**changes), [subject])

    return make


def asked(server, tokenizer):
    return [tokenizer.decode(request["prompt"]) for request in server.requests]


@pytest.mark.parametrize(
    ("name", "few_shot", "prompt"),
    [
        ("ceval", 0, f"{CEVAL}问题0____\n{OPTIONS}答案："),
        (
            "ceval",
            2,
            f"{CEVAL}问题7____\n{OPTIONS}答案：C\n\n问题8____\n{OPTIONS}答案：D\n\n问题0____\n{OPTIONS}答案：",
        ),
        ("cmmlu", 0, f"{CMMLU}题目：问题0____\n{OPTIONS}答案是："),
        ("cmmlu", 1, f"{CMMLU}题目：问题7____\n{OPTIONS}答案是：C\n\n题目：问题0____\n{OPTIONS}答案是："),
    ],
)
def test_the_official_prompt_reaches_the_server(served, tokenizer, one_question, name, few_shot, prompt):
    server, model = served
    exam = one_question(name=name, few_shot=few_shot)
    run_tasks(model, likelihood_tasks(exam), chat_template=False, limit=None)
    assert asked(server, tokenizer) == [prompt]


def test_through_a_chat_template_the_prompt_is_one_user_message(served, tokenizer, one_question):
    server, model = served
    exam = one_question(few_shot=1, chat_template=True, answer="both")
    for configs in (likelihood_tasks(exam), generation_tasks(exam, 32)):
        run_tasks(model, configs, chat_template=True, limit=None)
    turn = f"<|im_start|>user\n{exam.prompt(exam.subjects[0], exam.subjects[0].questions[0])}<|im_end|>\n"
    assert asked(server, tokenizer) == [f"{turn}<|im_start|>assistant\n"] * 2
    assert "stop" not in server.requests[1] or not server.requests[1]["stop"]


def test_an_exam_is_asked_in_the_way_it_says(one_question):
    ways = {}
    for answer in ("loglikelihood", "generation", "both"):
        exam = one_question(answer=answer)
        ways[answer] = (len(likelihood_tasks(exam)), len(generation_tasks(exam, 8)))
    assert ways == {"loglikelihood": (1, 0), "generation": (0, 1), "both": (1, 1)}


def test_items_by_likelihood(served, tokenizer, small_exam):
    server, model = served
    logprobs = [server.logprob(tokenizer.encode(letter)[0]) for letter in "ABCD"]
    best = "ABCD"[logprobs.index(max(logprobs))]
    records = run_tasks(model, likelihood_tasks(small_exam()), chat_template=False, limit=None)
    items = {item["item_id"]: item for item in map(exam_item, records)}
    assert {name: item["value"] for name, item in items.items() if name.startswith("law")} == {
        f"law/{number}": float(letter == best) for number, letter in enumerate("ABCD")
    }
    assert items["law/2"] | {"value": None} == {
        "suite": "ceval",
        "item_id": "law/2",
        "value": None,
        "group": "law",
        "detail": {"lang": "zh", "answer": "C", "chosen": best, "logprobs": logprobs},
    }


def test_items_by_generation(served, small_exam):
    server, model = served
    records = run_tasks(model, generation_tasks(small_exam(answer="generation"), 24), chat_template=False, limit=None)
    item = exam_item(records[0])
    # The fake server answers 好的: no letter, which is a wrong answer that stays visible as unanswered.
    assert item["suite"] == "ceval_generated"
    assert (item["value"], item["detail"]["chosen"], item["detail"]["text"]) == (0.0, None, "好的")
    assert {request["max_tokens"] for request in server.requests} == {24}
    assert {tuple(request["stop"]) for request in server.requests} == {("\n\n",)}


def test_a_limit_takes_the_first_items_of_each_subject(served, small_exam):
    _, model = served
    records = run_tasks(model, likelihood_tasks(small_exam(limit=2)), chat_template=False, limit=None)
    assert sorted(record["doc"]["item_id"] for record in records) == ["college_physics/0", "law/0", "law/1"]


def test_examples_are_dropped_from_the_front_until_the_prompt_fits(one_question):
    exam = one_question(few_shot=2)
    subject = exam.subjects[0]
    zero, one, two = (len(one_question(few_shot=n).prompt(subject, subject.questions[0])) for n in (0, 1, 2))
    assert fit_examples(exam, len, two).dropped == {}
    fitted = fit_examples(exam, len, one)
    assert fitted.dropped == {"law/0": 1}
    assert "问题8" in fitted.prompt(subject, subject.questions[0])
    assert "问题7" not in fitted.prompt(subject, subject.questions[0])
    assert fit_examples(exam, len, zero).dropped == {"law/0": 2}


def test_a_question_that_does_not_fit_by_itself_is_an_error(one_question):
    with pytest.raises(ConfigError, match=r"1 question\(s\) do not fit the model's context: law/0 has \d+ tokens"):
        fit_examples(one_question(few_shot=2), len, 20)


@pytest.mark.parametrize(("in_chat", "letter"), [(False, None), (True, "C")])
def test_a_completion_is_read_to_the_end_of_its_first_line(in_chat, letter):
    document = {"suite": "ceval_generated", "item_id": "law/0", "answer": "A", "in_chat": in_chat}
    item = exam_item({"doc": document, "resps": [["\n不选A\n再看其余各项\n答案：C"]]})
    assert item["detail"]["chosen"] == letter
