"""Exams handed to lm-eval: a task a subject, the official prompt, by log-likelihood of the letter or by generation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tasks.core.errors import ConfigError
from tasks.evaluation.multiple_choice.extraction import extract_letter
from tasks.exams.schema import LETTERS, Exam, Question, Subject, prompt_of

#: Raise when prompt or scoring changes: results of different versions must not be compared.
#: 2: through a chat template description, examples and question are one user message (were: system and user).
#: 3: letters are read by statements of the answer, not by every mention; scoring starts behind a template's thought.
TASK_VERSION = 3

GENERATED = "_generated"
#: Where a completion (no chat template) begins its next question; a chat model ends its turn by itself.
NEXT_QUESTION = "\n\n"


def fit_examples(exam: Exam, count_tokens: Callable[[str], int], max_tokens: int) -> Exam:
    """Return the exam with examples left out, the first ones first, where a few-shot prompt would not fit.

    Args:
        exam: the exam.
        count_tokens: length of a prompt as it is asked, chat template and special tokens included.
        max_tokens: serve.vllm.max_model_length_tokens without what the answer needs.

    Raises:
        ConfigError: a question does not fit even without examples.

    Source: the official code of both exams shortens few-shot prompts in the same way
        (https://github.com/haonan-li/CMMLU, `src/mp_utils.py`, there by length of the example).
    """
    dropped, too_long = {}, []
    for subject in exam.subjects:
        for question in subject.questions[: exam.params.limit]:
            number, tokens = _examples_to_drop(exam, subject, question, count_tokens, max_tokens)
            if number:
                dropped[question.item_id] = number
            if tokens > max_tokens:
                too_long.append((tokens, question.item_id))
    if too_long:
        tokens, worst = max(too_long)
        raise ConfigError(
            f"{exam.name}: {len(too_long)} question(s) do not fit the model's context: {worst} has {tokens} tokens, "
            f"{max_tokens} fit",
            f"raise serve.vllm.max_model_length_tokens by {tokens - max_tokens} or more",
        )
    return replace(exam, dropped=dropped)


def likelihood_tasks(exam: Exam) -> list[dict[str, Any]]:
    """Return the lm-eval configuration of each subject, answered by the letter with the highest log-probability.

    Empty where the exam is asked by generation only.
    """
    if not exam.by_likelihood:
        return []
    return [
        _task(exam, subject, exam.name)
        | {
            "output_type": "multiple_choice",
            "doc_to_choice": list(LETTERS),
            "doc_to_target": lambda document: LETTERS.index(document["answer"]),
            # The prompt ends in a full-width colon: the default delimiter would put a space before the letter.
            "target_delimiter": "",
        }
        for subject in exam.subjects
    ]


def generation_tasks(exam: Exam, max_tokens: int) -> list[dict[str, Any]]:
    """Return the lm-eval configuration of each subject, answered by generation, the letter read from the text.

    Args:
        exam: the exam; empty result where it is asked by log-likelihood only.
        max_tokens: longest answer; evaluate.max_generated_tokens.
    """
    if not exam.by_generation:
        return []
    until = [] if exam.params.chat_template else [NEXT_QUESTION]
    return [
        _task(exam, subject, exam.name + GENERATED)
        | {
            "output_type": "generate_until",
            "doc_to_target": lambda document: document["answer"],
            "generation_kwargs": {"until": until, "max_gen_toks": max_tokens, "do_sample": False},
            "process_results": _score_generated,
        }
        for subject in exam.subjects
    ]


def exam_item(record: dict[str, Any]) -> dict[str, Any]:
    """Return suite, item_id, value, group and detail of the harness's record of one item.

    `detail` holds the right and the chosen letter; log-probabilities where asked by log-likelihood, the text where
    generated. A generated answer without a letter has chosen None and counts as wrong.
    """
    document = record["doc"]
    detail: dict[str, Any] = {"lang": "zh", "answer": document["answer"]}
    if document["suite"].endswith(GENERATED):
        text = str(record["resps"][0][0])
        detail |= {"chosen": _chosen(document, text), "text": text}
    else:
        logprobs = [float(answer[0]) for answer in record["filtered_resps"]]
        best = LETTERS[logprobs.index(max(logprobs))]
        detail |= {"chosen": best, "logprobs": [round(value, 6) for value in logprobs]}
    return {
        "suite": document["suite"],
        "item_id": document["item_id"],
        "value": float(detail["chosen"] == document["answer"]),
        "group": document["item_id"].partition("/")[0],
        "detail": detail,
    }


def _score_generated(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Return lm-eval's metric of one generated answer."""
    return {"acc": float(_chosen(document, results[0]) == document["answer"])}


def _chosen(document: dict[str, Any], text: str) -> str | None:
    """Return the letter of a generated answer.

    A completion goes on after its answer with questions of its own: only its first line that says anything counts.
    """
    return extract_letter(text if document["in_chat"] else text.strip().partition("\n")[0])


def _task(exam: Exam, subject: Subject, suite: str) -> dict[str, Any]:
    """Return what both ways of asking have in common.

    The prompt is made here whole, examples included: through a chat template it is one user message, and examples can
    be left out question by question.
    """
    from datasets import Dataset, DatasetDict

    def dataset(**_: Any) -> DatasetDict:
        rows = [
            {
                "suite": suite,
                "item_id": question.item_id,
                "prompt": exam.prompt(subject, question),
                "answer": question.answer,
                "in_chat": exam.params.chat_template,
            }
            for question in subject.questions[: exam.params.limit]
        ]
        return DatasetDict({"scored": Dataset.from_list(rows)})

    return {
        "task": f"{suite}_{subject.key}",
        "custom_dataset": dataset,
        "test_split": "scored",
        "num_fewshot": 0,
        "doc_to_text": lambda document: document["prompt"],
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": TASK_VERSION},
    }


def _examples_to_drop(
    exam: Exam, subject: Subject, question: Question, count_tokens: Callable[[str], int], max_tokens: int
) -> tuple[int, int]:
    """Return how many examples to leave out, and the tokens of the prompt that is left."""
    shown = subject.examples[: exam.params.few_shot]
    for number in range(len(shown) + 1):
        tokens = count_tokens(prompt_of(exam.style, subject, shown[number:], question))
        if tokens <= max_tokens:
            return number, tokens
    return len(shown), tokens
