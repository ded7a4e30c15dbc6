"""One hop asked everything: what shows that the path works first, then what is scored, then the fingerprint."""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.chat.template import switches_thinking, thought_opened
from tasks.core.progress import duration
from tasks.core.settings import EvaluateParams
from tasks.engine.client import ServedClient
from tasks.evaluation.hops import heldout
from tasks.evaluation.hops.report import Asked
from tasks.evaluation.hops.samples import Sample, exam_sample, weighed_sample, written_sample
from tasks.evaluation.pack.generation import GenerationItem, generation_items
from tasks.evaluation.pack.prompts import MAX_TOKENS_THINKING
from tasks.exams.pack.reading import Pack
from tasks.exams.schema import Exam

log = logging.getLogger(__name__)

#: Tokens an exam's answer needs: the letter by log-likelihood.
LETTER_TOKENS = 1


@dataclass(frozen=True)
class Questions:
    """Everything that is asked, read and checked before a server is started.

    Args:
        exams: C-Eval, CMMLU or a stand-in.
        pack: the domain pack, cut to its limit.
        conversations: for token parity.
        heldout: answers scored token by token.
    """

    exams: list[Exam]
    pack: Pack
    conversations: Any
    heldout: list[heldout.HeldoutRow]


@dataclass(frozen=True)
class Respondent:
    """A served hop.

    Args:
        hop: its name; requests go to it.
        client: the way to its server.
        tokenizer: of its folder.
        base_tokenizer: of the base model's folder.
        served: folder of what the server was started with: an adapter is served beside the base.
        base: the base model's folder.
        context_tokens: longest prompt and answer together that the server takes.
        folder: what the hop added; an adapter's holds what was trained.
    """

    hop: str
    client: ServedClient
    tokenizer: Any
    base_tokenizer: Any
    served: Path
    base: Path
    context_tokens: int
    folder: Path | None = None


def ask_all(params: EvaluateParams, questions: Questions, hop: Respondent, *, suites: bool) -> Asked:
    """Ask a hop everything.

    Args:
        params: section `evaluate`.
        questions: what to ask.
        hop: whom to ask.
        suites: whether the exams and the pack are asked too.

    Raises:
        TransientError: the server is lost.
        DataContractError: an answer lacks what was asked for, or holds a number that is not finite.
    """
    from tasks.engine.fingerprint import fingerprint
    from tasks.evaluation.hops.canary import run_canary
    from tasks.evaluation.parity.check import check_parity

    clock = _Clock(hop.hop)
    canary = run_canary(hop.client, hop.tokenizer)
    clock.lap("canary")
    parity = check_parity(
        questions.conversations,
        model=hop.served,
        base=hop.base,
        tokenizer=hop.tokenizer,
        base_tokenizer=hop.base_tokenizer,
        client=hop.client,
        trained=hop.folder,
    )
    clock.lap("token parity")
    # Without suites the pack's own references are left out too: vLLM's CPU build reads a prompt ten times slower with
    # an adapter than from merged weights.
    rows = questions.heldout if suites else [row for row in questions.heldout if row.source == heldout.VALIDATION]
    predictions = heldout.score_heldout(rows, hop.client, hop.tokenizer)
    clock.lap("held-out text")
    exams: list[Exam] = []
    samples: list[Sample] = []
    for exam in questions.exams if suites else []:
        fitted = fitted_exam(exam, params, hop)
        exams.append(fitted)
        samples += ask_exam(fitted, hop, params.max_generated_tokens)
        clock.lap(exam.name)
    if suites:
        samples += ask_pack(questions.pack, hop, params.max_generated_tokens)
        clock.lap("domain pack")
    answers = fingerprint(hop.client, hop.tokenizer)
    clock.lap("fingerprint")
    return Asked(
        samples=sorted(samples, key=lambda sample: (sample.suite, sample.item_id)),
        exams=exams,
        predictions=predictions,
        heldout=heldout.summary(rows, predictions),
        canary=canary,
        parity=parity,
        fingerprint=answers,
        server_version=hop.client.version(),
    )


def ask_exam(exam: Exam, hop: Respondent, max_generated_tokens: int) -> list[Sample]:
    """Return the scored items of an exam, by log-likelihood, by generation, or both."""
    from tasks.evaluation.hops.harness import run_tasks
    from tasks.evaluation.hops.served_model import ServedModel
    from tasks.evaluation.multiple_choice.tasks import generation_tasks, likelihood_tasks

    samples: list[Sample] = []
    for way, configs in (
        ("", likelihood_tasks(exam)),
        (", generated", generation_tasks(exam, max_generated_tokens)),
    ):
        model = ServedModel(hop.client, hop.tokenizer, exam.name + way)
        records = run_tasks(model, configs, chat_template=exam.params.chat_template, limit=None) if configs else []
        samples += [exam_sample(record) for record in records]
    return samples


def ask_pack(pack: Pack, hop: Respondent, max_generated_tokens: int) -> list[Sample]:
    """Return the scored items of the pack: answers weighed by probability, then answers written out."""
    from tasks.evaluation.hops.harness import run_tasks
    from tasks.evaluation.hops.served_model import ServedModel
    from tasks.evaluation.pack.likelihood import likelihood_tasks

    model = ServedModel(hop.client, hop.tokenizer, "domain pack")
    records = run_tasks(model, likelihood_tasks(pack), chat_template=True, limit=None)
    samples = [weighed_sample(record) for record in records]
    items = generation_items(pack, thinking=switches_thinking(hop.tokenizer))
    return samples + write_answers(items, hop, max_generated_tokens)


def write_answers(items: list[GenerationItem], hop: Respondent, max_generated_tokens: int) -> list[Sample]:
    """Return the scored greedy answers to items that are answered in words."""
    from tasks.engine.queries import LOOPED, answer_query

    queries, opened = [], []
    for item in items:
        thinking = {} if item.thinking is None else {"enable_thinking": item.thinking}
        text = hop.tokenizer.apply_chat_template(item.messages, tokenize=False, add_generation_prompt=True, **thinking)
        prompt = hop.tokenizer.encode(text, add_special_tokens=False)
        opened.append(thought_opened(text))
        # Some templates open a thought whether they are asked to or not: the answer comes after it.
        wanted = max(item.max_tokens, MAX_TOKENS_THINKING) if opened[-1] else item.max_tokens
        room = max(1, min(wanted, max_generated_tokens, hop.context_tokens - len(prompt)))
        queries.append(answer_query(prompt, room, f"item {item.item_id}"))
    answers = hop.client.ask(queries, "domain pack, generated")
    cut, looped = (sum(answer["finish_reason"] == how for answer in answers) for how in ("length", LOOPED))
    log.info(
        "evaluate@%s: %d of %d answers were cut at their length, %d ended in a loop", hop.hop, cut, len(answers), looped
    )
    return [
        written_sample(item, answer, thinking_opened=is_open)
        for item, answer, is_open in zip(items, answers, opened, strict=True)
    ]


def limited(params: EvaluateParams, limit: int | None) -> EvaluateParams:
    """Return the settings with at most `limit` items of each exam and of each kind of the pack."""
    if limit is None:
        return params
    exams = [exam.model_copy(update={"limit": limit}) for exam in params.exams]
    return params.model_copy(update={"exams": exams, "domain": params.domain.model_copy(update={"limit": limit})})


def cut(pack: Pack, limit: int | None) -> Pack:
    """Return the pack with the first `limit` items of each kind; all where None."""
    return replace(pack, items={kind: items[:limit] for kind, items in pack.items.items()})


def fitted_exam(exam: Exam, params: EvaluateParams, hop: Respondent) -> Exam:
    """Return the exam with few-shot examples left out where a prompt would not fit the hop's context."""
    from tasks.evaluation.multiple_choice.tasks import fit_examples

    def tokens(prompt: str) -> int:
        if not exam.params.chat_template:
            return len(hop.tokenizer.encode(prompt))
        message = [{"role": "user", "content": prompt}]
        text = hop.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return len(hop.tokenizer.encode(text, add_special_tokens=False))

    answer = params.max_generated_tokens if exam.by_generation else LETTER_TOKENS
    return fit_examples(exam, tokens, hop.context_tokens - answer)


class _Clock:
    """Log how long each part took."""

    def __init__(self, hop: str) -> None:
        self.hop, self.last = hop, time.monotonic()

    def lap(self, what: str) -> None:
        """Log the time since the last call."""
        now = time.monotonic()
        log.info("evaluate@%s: %s took %s", self.hop, what, duration(now - self.last))
        self.last = now
