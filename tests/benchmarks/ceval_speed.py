"""C-Eval val over HTTP through our harness, against lm-eval's Hugging Face backend and its `local-completions`.

The same lm-eval tasks (zero-shot, no chat template, answer by log-likelihood of the letter) through three models:

- ours: `ServedModel` over HTTP to vLLM, with the flags of params.yaml (`serve.vllm`, `evaluate.concurrency`);
- lm-eval's `hf` in the same dtype, in a process of its own, all cores, its own default batch size of 1;
- lm-eval's `local-completions` to the same vLLM, as many requests at once as ours: one item of each subject, its time
  scaled to all items by tokens.

The subjects go in blocks, and each block through the three in turn, so that a machine that slows down slows all. Ours
comes first in a block and no item twice: vLLM's prefix cache holds nothing of an item before it is asked. Loading a
model and starting a server are not counted for anyone. Run alone on the machine:

    python tests/benchmarks/ceval_speed.py [--folder CEVAL] [--items N] [--blocks N]

Exits with 1 where a bar does not hold: 1.5 times the speed of `hf`, 8 times that of `local-completions`, the same
answer as `hf` on 99 % of the items.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.project import QUIET, TELEMETRY_OFF, Project
from tasks.core.settings import ExamParams, VllmParams, load_settings
from tasks.evaluation.multiple_choice.tasks import exam_item, likelihood_tasks
from tasks.exams.reading import load_exam
from tasks.exams.schema import Exam
from tasks.models.base import materialize

ROOT = Path(__file__).parents[2]
BARS = {"hf": 1.5, "local-completions": 8.0}
MIN_AGREEMENT = 0.99
DEFAULT_FOLDER = ROOT.parent / "shared" / "data" / "ceval"
#: A choice whose lead over the next is smaller than this (nats) is within what bf16 logits resolve.
NEAR_TIE = 0.125


def read_exam(folder: Path, few_shot: int) -> Exam:
    """Return C-Eval val."""
    params = ExamParams(
        name="ceval", source="local", path=str(folder.resolve()), few_shot=few_shot, chat_template=False,
        answer="loglikelihood", limit=None,
    )  # fmt: skip
    return load_exam(params, ROOT, ROOT)


def blocks_of(exam: Exam, blocks: int, items: int | None) -> list[Exam]:
    """Return the exam in blocks of subjects, every block with subjects from all over the list.

    Args:
        exam: the whole.
        blocks: how many.
        items: about how many items in all, the first of each subject; None for all.
    """
    limit = None if items is None else max(1, items // len(exam.subjects))
    params = exam.params.model_copy(update={"limit": limit})
    return [replace(exam, params=params, subjects=exam.subjects[number::blocks]) for number in range(blocks)]


def run(model: Any, exam: Exam) -> dict[str, Any]:
    """Score an exam through lm-eval; return seconds and item -> log-probabilities of the letters."""
    from tasks.evaluation.hops.harness import run_tasks

    started = time.monotonic()
    records = run_tasks(model, likelihood_tasks(exam), chat_template=False, limit=None)
    seconds = time.monotonic() - started
    items = [exam_item(record) for record in records]
    return {"seconds": seconds, "logprobs": {item["item_id"]: item["detail"]["logprobs"] for item in items}}


def hf_worker(arguments: argparse.Namespace) -> None:
    """Answer block numbers on stdin with one JSON line each, scored by lm-eval's Hugging Face backend."""
    from lm_eval.models.huggingface import HFLM

    exams = blocks_of(read_exam(arguments.folder, arguments.few_shot), arguments.blocks, arguments.items)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    model = HFLM(
        pretrained=str(arguments.model), device="cpu", dtype=arguments.dtype, batch_size=arguments.hf_batch_size
    )
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(model, exams[int(line)])), file=answers, flush=True)


class HuggingFace:
    """lm-eval's Hugging Face backend in a process of its own."""

    def __init__(self, base: Path, dtype: str, arguments: argparse.Namespace) -> None:
        command = [sys.executable, __file__, "--worker", "--model", str(base), "--dtype", dtype]
        for name in ("folder", "few_shot", "blocks", "items", "hf_batch_size"):
            if (value := getattr(arguments, name)) is not None:
                command += [f"--{name.replace('_', '-')}", str(value)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )
        if self._line() != "ready":
            raise SystemExit("lm-eval's Hugging Face backend did not start")

    def run(self, block: int) -> dict[str, Any]:
        """Score one block."""
        assert self.process.stdin
        self.process.stdin.write(f"{block}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line())
        return answer

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


def local_completions(url: str, base: Path, concurrency: int, max_length: int) -> Any:
    """Return lm-eval's own client for an OpenAI-compatible server."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    return LocalCompletionsAPI(
        model="base", base_url=f"{url}/v1/completions", tokenizer=str(base), tokenizer_backend="huggingface",
        num_concurrent=concurrency, max_length=max_length,
    )  # fmt: skip


def one_an_item(exam: Exam) -> Exam:
    """Return the exam with the first item of each subject."""
    return replace(exam, params=exam.params.model_copy(update={"limit": 1}))


def count_tokens(tokenizer: Any, exam: Exam) -> int:
    """Return the tokens of all prompts of an exam."""
    questions = [(s, q) for s in exam.subjects for q in s.questions[: exam.params.limit]]
    return sum(len(tokenizer.encode(exam.prompt(subject, question))) for subject, question in questions)


def measure(arguments: argparse.Namespace, vllm: VllmParams, concurrency: int) -> dict[str, Any]:
    """Run all three, block by block, and return times, tokens and answers of each."""
    from tasks.engine.client import AnswerCache, ServedClient
    from tasks.engine.server import VllmServer
    from tasks.evaluation.hops.served_model import ServedModel, load_tokenizer

    project = Project(ROOT)
    settings = load_settings(ROOT / "params.yaml")
    base = materialize(settings.base_model, project).path
    exams = blocks_of(read_exam(arguments.folder, arguments.few_shot), arguments.blocks, arguments.items)
    tokenizer = load_tokenizer(base)
    found: dict[str, Any] = {name: {"seconds": 0.0, "tokens": 0, "logprobs": {}} for name in ("ours", *BARS)}
    with trying(arguments), VllmServer(project.serve_python) as server, tempfile.TemporaryDirectory() as folder:
        server.start(base, arguments.port, vllm, "base", Path(folder) / "vllm.log", spare_cores=0)
        huggingface = HuggingFace(base, vllm.dtype, arguments)
        try:
            server.wait_ready()
            client = ServedClient(
                server.url, "base", model_digest="benchmark", concurrency=concurrency, cache=AnswerCache(None)
            )
            other = local_completions(server.url, base, concurrency, vllm.max_model_length_tokens)
            warm_up(ServedModel(client, tokenizer, "warm-up"), exams[0])
            for number, exam in enumerate(exams):
                sample = one_an_item(exam)
                add(found["ours"], run(ServedModel(client, tokenizer, "C-Eval"), exam), count_tokens(tokenizer, exam))
                add(found["hf"], huggingface.run(number), count_tokens(tokenizer, exam))
                add(found["local-completions"], run(other, sample), count_tokens(tokenizer, sample))
                tell(number + 1, len(exams), found)
        finally:
            huggingface.stop()
    return found


@contextmanager
def trying(arguments: argparse.Namespace) -> Iterator[None]:
    """Start servers with more flags and variables than the settings give: to tune before they are settings."""
    from tasks.engine import server as vllm_server

    command, environment = vllm_server.server_arguments, vllm_server.server_environment
    added = dict(pair.split("=", 1) for pair in arguments.try_env)
    vllm_server.server_arguments = lambda *args, **named: [*command(*args, **named), *arguments.try_flag]
    vllm_server.server_environment = lambda *args, **named: environment(*args, **named) | added
    try:
        yield
    finally:
        vllm_server.server_arguments, vllm_server.server_environment = command, environment


def warm_up(model: Any, exam: Exam) -> None:
    """Let lm-eval and the server load what they load at the first request; the prompt is no item of the exam."""
    subject = exam.subjects[0]
    question = replace(subject.questions[0], question_id="warm-up", text="预热")
    run(model, replace(exam, subjects=[replace(subject, key="warm_up", questions=[question])]))


def add(total: dict[str, Any], part: dict[str, Any], tokens: int) -> None:
    """Add a block's result."""
    total["seconds"] += part["seconds"]
    total["tokens"] += tokens
    total["logprobs"] |= part["logprobs"]


def tell(done: int, blocks: int, found: dict[str, Any]) -> None:
    """Write a progress line."""
    rates = ", ".join(f"{name} {value['tokens'] / value['seconds']:.0f} tok/s" for name, value in found.items())
    print(f"block {done}/{blocks}: {rates}", file=sys.stderr, flush=True)


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return ratios of speed and shares of the same answers."""
    ours = found["ours"]
    rows = {}
    for name, value in found.items():
        same, near, common = compare(ours["logprobs"], value["logprobs"])
        # Prompt tokens a second: the sample of local-completions has other lengths than the whole.
        rows[name] = {
            "items": len(value["logprobs"]),
            "seconds": round(value["seconds"], 1),
            "seconds_for_all": round(value["seconds"] * ours["tokens"] / value["tokens"], 1),
            "ours_is_faster": round(ours["tokens"] / ours["seconds"] * value["seconds"] / value["tokens"], 2),
            "same_answers": round(same / common, 4),
            "different_beyond_near_ties": common - same - near,
        }
    return rows


def compare(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> tuple[int, int, int]:
    """Return items with the same answer, items that differ where either lead is a near tie, and items in common."""
    common = sorted(set(ours) & set(theirs))
    differing = [item for item in common if best(ours[item]) != best(theirs[item])]
    near = sum(min(lead(ours[item]), lead(theirs[item])) < NEAR_TIE for item in differing)
    return len(common) - len(differing), near, len(common)


def best(logprobs: list[float]) -> int:
    """Return which letter is chosen."""
    return logprobs.index(max(logprobs))


def lead(logprobs: list[float]) -> float:
    """Return how far the first choice leads, in nats."""
    first, second = sorted(logprobs, reverse=True)[:2]
    return first - second


def broken_bars(rows: dict[str, Any]) -> list[str]:
    """Return the bars that do not hold."""
    broken = [f"{rows[name]['ours_is_faster']}x of {name}, bar {bar}x" for name, bar in BARS.items()
              if rows[name]["ours_is_faster"] < bar]  # fmt: skip
    same = rows["hf"]["same_answers"]
    return broken + ([f"same answers as hf {same:.2%}, bar {MIN_AGREEMENT:.0%}"] if same < MIN_AGREEMENT else [])


def main() -> None:
    """Measure, print, and exit with 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="C-Eval with val/ and dev/")
    parser.add_argument("--items", type=int, help="about how many items; all by default")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--few-shot", type=int, default=0)
    parser.add_argument("--dtype", help="of all three; serve.vllm.dtype by default")
    parser.add_argument("--concurrency", type=int, help="evaluate.concurrency by default")
    parser.add_argument("--hf-batch-size", type=int, default=1)
    parser.add_argument("--port", type=int, default=8962)
    parser.add_argument("--try-flag", action="append", default=[], help="one more flag of vLLM's, e.g. --block-size=64")
    parser.add_argument("--try-env", action="append", default=[], help="one more variable of vLLM's, NAME=VALUE")
    parser.add_argument("--save", type=Path, help="write every log-probability here")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    # Bars of lm-eval's own clients, in this process and the worker's.
    os.environ |= QUIET | TELEMETRY_OFF
    if arguments.worker:
        return hf_worker(arguments)
    settings = load_settings(ROOT / "params.yaml")
    vllm = settings.serve.vllm.model_copy(update={"dtype": arguments.dtype or settings.serve.vllm.dtype})
    found = measure(arguments, vllm, arguments.concurrency or settings.evaluate.concurrency)
    if arguments.save:
        arguments.save.write_text(json.dumps(found))
    rows = summary(found)
    for name, row in rows.items():
        print(f"{name:18s}", "  ".join(f"{key} {value}" for key, value in row.items()))
    broken = broken_bars(rows)
    print(json.dumps({"rows": rows, "broken": broken}))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
