"""Is the harness right? A known base has a known score; a broken prompt or server is seen before it is believed."""

from typing import Any

from tasks.core.settings import ExamParams


def check_calibration(
    base_id: str, base_digest: str | None, facts: dict[str, Any], params: ExamParams
) -> dict[str, Any] | None:
    """Return how the base's measured score compares with its known one, or None where none is known.

    Args:
        base_id: base_model.id.
        base_digest: base_model.digest.
        facts: of the base, from `exam_facts`.
        params: how the exam was asked.

    Returns:
        {"exam", "expected", "measured", "tolerance", "ok", "source"}.
    """
    raise NotImplementedError
