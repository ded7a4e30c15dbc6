"""Which conversations calibrate the quantization, and as which tokens.

Policy: rows of the training split (prepare put a deterministic choice of them into calibration.jsonl), never of
validation or of the evaluation pack; Chinese and English by the share asked for, in the file's order, one language
filling up where the other is short; each rendered in the chat template the model is served with, cut at the longest
length asked for.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.chat.rows import encode_rows
from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl
from tasks.core.settings import QuantizeParams

POLICY = "train rows in file order by language share, serving template, cut at max_length_tokens, longest first"


@dataclass(frozen=True)
class Calibration:
    """Token ids of the chosen conversations, longest first, and what a reader wants to know of the choice.

    Args:
        token_ids: one list a conversation.
        facts: policy, rows by language, tokens, how many rows were cut, ids of the rows in file order.
    """

    token_ids: list[list[int]]
    facts: dict[str, Any]


def choose_rows(rows: list[dict[str, Any]], count: int, chinese_fraction: float) -> list[dict[str, Any]]:
    """Return `count` rows in their order, Chinese by the share asked for; fewer where there are fewer.

    Args:
        rows: chat rows with `language` zh or en.
        count: how many are wanted.
        chinese_fraction: share of Chinese rows, 0 to 1.
    """
    chinese = [place for place, row in enumerate(rows) if row["language"] == "zh"]
    others = [place for place, row in enumerate(rows) if row["language"] != "zh"]
    wanted = max(min(len(chinese), round(count * chinese_fraction)), count - len(others))
    chosen = sorted(chinese[:wanted] + others[: count - min(wanted, len(chinese))])
    return [rows[place] for place in chosen]


def read_calibration(path: Path, tokenizer: Any, params: QuantizeParams) -> Calibration:
    """Return the conversations that calibrate, by the policy above.

    Args:
        path: calibration.jsonl.
        tokenizer: of the merged model, with the chat template it is served with.
        params: number of rows, share of Chinese, longest row.

    Raises:
        DataContractError: the file has no rows.
    """
    given = list(read_jsonl(path))
    if not given:
        raise DataContractError(f"{path} has no rows", "tunegate stage prepare")
    # The very tokens of training, which are those of the server; rows that training refuses calibrate nothing.
    encoded = {row.row_id: row.input_ids for row in encode_rows(path, tokenizer, sys.maxsize).rows}
    fit = [row for row in given if row["row_id"] in encoded]
    rows = choose_rows(fit, params.calibration_rows, params.calibration_chinese_fraction)
    whole = [encoded[row["row_id"]] for row in rows]
    cut = [ids[: params.max_length_tokens] for ids in whole]
    facts = {
        "policy": POLICY,
        "rows": len(rows),
        "languages": dict(sorted(Counter(row["language"] for row in rows).items())),
        "tokens": sum(map(len, cut)),
        "refused": len(given) - len(fit),
        "cut": sum(len(ids) > params.max_length_tokens for ids in whole),
        "row_ids": [row["row_id"] for row in rows],
    }
    return Calibration(sorted(cut, key=len, reverse=True), facts)
