"""Which rows train, validate and calibrate: decided by each row's content alone, so new rows never move old ones."""

import hashlib
from collections.abc import Iterable

from tasks.data.conversation import ChatRow, content_key


def content_hash(row: ChatRow) -> str:
    """Return the hex SHA-256 of a row's normalized conversation."""
    return hashlib.sha256(content_key(row.messages).encode()).hexdigest()


def in_validation(row: ChatRow, fraction: float) -> bool:
    """Tell whether a row validates: its hash falls into the lowest `fraction` of all hashes."""
    return int(content_hash(row)[:16], 16) < fraction * 2**64


def calibration_rows(train: Iterable[ChatRow], count: int) -> list[ChatRow]:
    """Return the train rows with the lowest hashes, half Chinese, half English, in hash order.

    Where one language has too few rows, the other fills up.
    """
    ranked = sorted(train, key=lambda row: (content_hash(row), row.row_id))
    english = [row for row in ranked if row.language == "en"]
    chinese = [row for row in ranked if row.language == "zh"]
    chinese_count = max(min(len(chinese), count - count // 2), count - len(english))
    chosen = {row.row_id for row in chinese[:chinese_count] + english[: count - chinese_count]}
    return [row for row in ranked if row.row_id in chosen]
