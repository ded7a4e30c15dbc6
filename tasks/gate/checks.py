"""Hard checks: faults that leave every average looking fine. Each names hop, likely cause and next command."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.settings import AgreementsParams
from tasks.gate import checks_data as data
from tasks.gate import checks_models as models
from tasks.gate import checks_serving as serving
from tasks.gate.evidence import Evidence, Fault, Report


@dataclass(frozen=True)
class Question:
    """One thing that is checked.

    Args:
        name: as verdict.json calls it.
        title: what a reader calls it, in English and Chinese.
        fine: what a pass means.
        find: yields the faults.
    """

    name: str
    title: str
    title_zh: str
    fine: str
    find: Callable[[Evidence], Iterator[Fault]]


@dataclass(frozen=True)
class Check:
    """One check's result as it stands in verdict.json; `hop` is where a fault was found, None on a pass."""

    name: str
    title: str
    title_zh: str
    hop: str | None
    passed: bool
    words: str
    cause: str = ""
    next: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return dict(vars(self))


def same_items(evidence: Evidence) -> Iterator[Fault]:
    """Find nothing: reports with other items were refused when they were read (evidence.py)."""
    yield from ()


QUESTIONS: tuple[Question, ...] = (
    Question(
        "same_items",
        "Same items at every hop",
        "各环节题目一致",
        "Every hop that was asked the suites answered the same items, each scored once.",
        same_items,
    ),
    Question(
        "whole_sets",
        "Evaluation sets are whole",
        "评测集完整",
        "Every item of every set was asked, or a limit says how many were.",
        data.whole_sets,
    ),
    Question(
        "no_leaks",
        "No evaluation item was trained on",
        "训练数据无泄漏",
        "Training rows were searched for every item asked, and none of them holds one word for word.",
        data.no_leaks,
    ),
    Question(
        "finite",
        "Every value is a number",
        "所有数值有效",
        "No value is NaN or infinite: scores, metrics, training loss.",
        models.finite,
    ),
    Question(
        "model_identity",
        "Each report is of the model it names",
        "报告与模型对应",
        "Every report carries the lineage of the model folder it stands for, and no two hops are the same model.",
        models.model_identity,
    ),
    Question(
        "labels_masked",
        "Only answers are taught",
        "只训练回答部分",
        "The labels of the checked rows decode to the assistant's turns and nothing else.",
        data.labels_masked,
    ),
    Question(
        "lost_adapter",
        "The adapter is in the merged model",
        "适配器未丢失",
        "The adapter's weights are not zero, and with it, beside the base or merged, the model answers differently.",
        models.lost_adapter,
    ),
    Question(
        "noop_quantization",
        "The quantized model is quantized",
        "量化确已生效",
        "The 4-bit model is smaller, its configuration says 4 bits, and packed weights are in its files.",
        models.noop_quantization,
    ),
    Question(
        "quantized_layers",
        "Every targeted layer is 4-bit",
        "目标层全部为 4 位",
        "Every linear layer that quantize.ignore does not name is packed to 4 bits.",
        models.quantized_layers,
    ),
    Question(
        "chat_template",
        "One chat template from training to serving",
        "训练与部署模板一致",
        "Every hop was asked through the chat template the adapter was trained with.",
        serving.chat_template,
    ),
    Question(
        "token_parity",
        "Trained tokens are served tokens",
        "训练与部署分词一致",
        "The server tokenized the checked conversations to the very ids that were trained on, at every hop.",
        serving.token_parity,
    ),
    Question(
        "end_of_turn",
        "The model can stop",
        "结束符设置正确",
        "Padding is not the end of turn, and every hop stops at the token that training taught as the end.",
        serving.end_of_turn,
    ),
    Question(
        "canary",
        "The scoring path works",
        "评分通路正常",
        "At every hop the canary items, whose answer any working model prefers, were scored right.",
        serving.canary,
    ),
    Question(
        "server_scores",
        "The server scores what it is asked",
        "服务端给出有效对数概率",
        "Every token of held-out text has a log-probability of its own, at every hop.",
        models.server_scores,
    ),
    Question(
        "calibration",
        "The harness reproduces a known score",
        "评测工具已校准",
        "The base model scores what is known of it, or no score of it is known.",
        data.calibration,
    ),
    Question(
        "same_server",
        "One served path for all hops",
        "各环节同一服务路径",
        "All hops were served by the same engine in the same version.",
        serving.same_server,
    ),
    Question(
        "adapter_merged_agreement",
        "The merge keeps what the adapter does",
        "合并前后一致",
        "On held-out text the merged model and the base with the adapter beside it choose alike.",
        models.adapter_merged_agreement,
    ),
    Question(
        "merged_awq_agreement",
        "Quantization keeps the next word",
        "量化前后首选词一致",
        "On held-out text the 4-bit model's choice of tokens is near enough to the merged model's.",
        models.merged_awq_agreement,
    ),
)


def run_checks(
    reports: dict[str, Report], *, adapter: Path, merged: Path, awq: Path, prepared: Path, agreement: AgreementsParams
) -> list[Check]:
    """Run every check; one entry a passed check, one entry a fault.

    Args:
        reports: report of each hop.
        adapter: the trained adapter's folder.
        merged: the merged model's folder.
        awq: the quantized model's folder.
        prepared: the data that was trained on.
        agreement: how near two hops must be on held-out text.

    Raises:
        DataContractError: a file that every finished folder has is absent or damaged.
    """
    evidence = Evidence(reports, adapter, merged, awq, prepared, agreement)
    return [check for question in QUESTIONS for check in _ask(question, evidence)]


def _ask(question: Question, evidence: Evidence) -> list[Check]:
    """Run one check."""
    asked = (question.name, question.title, question.title_zh)
    faults = [
        Check(*asked, fault.hop, False, fault.words, fault.cause, fault.next) for fault in question.find(evidence)
    ]
    return faults or [Check(*asked, None, True, question.fine)]
