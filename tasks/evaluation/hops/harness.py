"""Run lm-eval tasks and return the record of each scored item: the harness builds the prompts and does the scoring."""

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lm_eval.api import task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from tasks.evaluation.hops.served_model import ServedModel

#: lm-eval's loggers that tell about every task it builds.
CHATTY = ("lm_eval.api.task", "lm_eval.evaluator", "lm_eval.tasks", "lm_eval.config.task", "lm_eval.api.registry")


def run_tasks(
    model: ServedModel, configs: list[dict[str, Any]], *, chat_template: bool, limit: int | None
) -> list[dict[str, Any]]:
    """Score lm-eval tasks and return the harness's own record of each item, with its task's name as `suite`.

    Args:
        model: answers the requests.
        configs: task configurations; each document has an `item_id`.
        chat_template: whether prompts go through the model's chat template.
        limit: first items of each task, None for all.
    """
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    tasks = TaskManager(include_defaults=False).load(configs)
    with _silent_bars():
        # Seeds play no part: few-shot examples are the first ones and nothing is sampled.
        results = evaluate(
            model, tasks, limit=limit, bootstrap_iters=0, apply_chat_template=chat_template, log_samples=True
        )
    return [{**record, "suite": name} for name in sorted(results["samples"]) for record in results["samples"][name]]


@contextmanager
def _silent_bars() -> Iterator[None]:
    """Keep lm-eval's progress bars (one a task) out of the log; the client has its own progress line."""
    bar, task.tqdm = task.tqdm, functools.partial(task.tqdm, disable=True)
    try:
        yield
    finally:
        task.tqdm = bar
