"""Is the harness right? A known base has a known score; a broken prompt or server is seen before it is believed.

known_scores.json lists scores that were made by another path than ours (lm-eval's Hugging Face backend, or published
by others), with everything that the score depends on. Where an exam's own questions can change, `prompts_sha256` pins
them: another set has no known score, which is not a failure.

Accuracy alone cannot calibrate on a small base that scores at chance with any prompt. Where the other path gave it, the
mean log-probability of the right letter is compared too: it moves by tenths with one wrong space.
"""

from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.core.settings import ExamParams

KNOWN_FILE = Path(__file__).with_name("known_scores.json")


def check_calibration(
    base_id: str, base_digest: str | None, facts: dict[str, Any], params: ExamParams, known: Path = KNOWN_FILE
) -> dict[str, Any] | None:
    """Return how the base's measured score compares with its known one, or None where none is known.

    Args:
        base_id: base_model.id.
        base_digest: base_model.digest.
        facts: of the base hop, from `exam_facts`.
        params: how the exam was asked; a limit makes scores incomparable.
        known: file of known scores.

    Returns:
        {"exam", "answer", "expected", "measured", "tolerance", "answer_logprob": null or {"expected", "measured",
        "tolerance"}, "ok", "source"}.
    """
    for entry in read_json(known)["scores"]:
        if _matches(entry, base_id, base_digest, facts, params):
            measured, logprob = _measured(facts, entry), _logprob(facts, entry)
            return {
                "exam": params.name,
                "answer": entry["answer"],
                "expected": entry["accuracy"],
                "measured": measured,
                "tolerance": entry["tolerance"],
                "answer_logprob": logprob,
                "ok": _within(measured, entry["accuracy"], entry["tolerance"])
                and (logprob is None or _within(*logprob.values())),
                "source": entry["source"],
            }
    return None


def _matches(
    entry: dict[str, Any], base_id: str, base_digest: str | None, facts: dict[str, Any], params: ExamParams
) -> bool:
    """Return whether a known score was made with this model and in this way."""
    asked = {"exam": params.name, "few_shot": params.few_shot, "chat_template": params.chat_template}
    return (
        params.limit is None
        and entry["model"] == base_id
        and entry["digest"] in (None, base_digest)
        and all(entry[key] == value for key, value in asked.items())
        and params.answer in (entry["answer"], "both")
        and entry["prompts_sha256"] in (None, facts["prompts_sha256"])
    )


def _within(measured: float, expected: float, tolerance: float) -> bool:
    """Return whether two scores agree; a hair of floating point beside the tolerance does not count."""
    return abs(measured - expected) <= tolerance + 1e-9


def _logprob(facts: dict[str, Any], entry: dict[str, Any]) -> dict[str, float] | None:
    """Return measured and known mean log-probability of the right letter, or None where one of them is not known."""
    if entry["answer_logprob"] is None or facts["answer_logprob"] is None:
        return None
    return {
        "measured": facts["answer_logprob"],
        "expected": entry["answer_logprob"],
        "tolerance": entry["answer_logprob_tolerance"],
    }


def _measured(facts: dict[str, Any], entry: dict[str, Any]) -> float:
    """Return the score of ours that compares with a known one."""
    generated = entry["answer"] == "generation" and facts["generated"]
    if entry["weighting"] == "by_subject":
        return float(generated["by_subject"] if generated else facts["weighted"]["by_subject"])
    return float(generated["accuracy"] if generated else facts["accuracy"])
