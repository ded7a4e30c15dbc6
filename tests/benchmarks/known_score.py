"""A base model's score by lm-eval's own Hugging Face backend: what known_scores.json is filled from.

No vLLM, no HTTP and none of our client takes part: only the prompts are ours. Prints the entry for
tasks/evaluation/multiple_choice/known_scores.json, for the base model and the exams of params.yaml:

    python tests/benchmarks/known_score.py [--dtype bfloat16]
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from tasks.core.project import QUIET, TELEMETRY_OFF, Project
from tasks.core.settings import ExamParams, load_settings
from tasks.evaluation.hops.samples import Sample
from tasks.evaluation.multiple_choice.scores import exam_facts
from tasks.evaluation.multiple_choice.tasks import exam_item, likelihood_tasks
from tasks.exams.reading import load_exam
from tasks.models.base import materialize

ROOT = Path(__file__).parents[2]
#: Beyond what rounding moves: 3 of 104 items; hundredths of a nat (bf16 against fp32: 0.004).
TOLERANCE, LOGPROB_TOLERANCE = 0.03, 0.03


def facts_of(model: Any, params: ExamParams, cache: Path) -> dict[str, Any]:
    """Return the exam's facts, scored by an lm-eval model."""
    from tasks.evaluation.hops.harness import run_tasks

    exam = load_exam(params.model_copy(update={"answer": "loglikelihood"}), ROOT, cache)
    records = run_tasks(model, likelihood_tasks(exam), chat_template=params.chat_template, limit=None)
    return exam_facts(exam, [Sample(metric="accuracy", **exam_item(record)) for record in records])


def main() -> None:
    """Measure and print one entry an exam."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    os.environ |= QUIET | TELEMETRY_OFF
    from lm_eval.models.huggingface import HFLM

    settings, project = load_settings(ROOT / "params.yaml"), Project(ROOT)
    folder = materialize(settings.base_model, project).path
    model = HFLM(pretrained=str(folder), device="cpu", dtype=arguments.dtype, batch_size=1)
    for params in settings.evaluate.exams:
        facts = facts_of(model, params, project.state / "datasets")
        entry = {
            "model": settings.base_model.id, "digest": settings.base_model.digest, "exam": params.name,
            "few_shot": params.few_shot, "chat_template": params.chat_template, "answer": "loglikelihood",
            "weighting": "by_item", "accuracy": facts["accuracy"], "tolerance": TOLERANCE,
            "prompts_sha256": facts["prompts_sha256"], "answer_logprob": facts["answer_logprob"],
            "answer_logprob_tolerance": LOGPROB_TOLERANCE,
            "source": f"tests/benchmarks/known_score.py: lm-eval's Hugging Face backend, {arguments.dtype}, batch 1",
        }  # fmt: skip
        print(json.dumps(entry, ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main()
