"""Which rows train, validate and calibrate: decided by each row's content alone, so new rows never move old ones.

Every source and language gives the same expected share to validation, because the hash knows neither; exact quotas
would have to move old rows when new ones come.
"""

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint64]


def in_validation(content: Digests, fraction: float) -> npt.NDArray[np.bool_]:
    """Tell for each row whether it validates: its digest falls into the lowest `fraction` of all digests.

    Args:
        content: digests of the normalized conversations; shape (rows, 2).
        fraction: share of validation rows, 0 to 1.
    """
    limit = np.uint64(min(int(fraction * 2**64), 2**64 - 1))
    return content[:, 0] < limit


def calibration_rows(
    content: Digests, names: npt.NDArray[np.uint64], chinese: npt.NDArray[np.bool_], count: int
) -> npt.NDArray[np.int64]:
    """Return the places of the rows with the lowest digests, half Chinese, half English, in digest order.

    Where one language has too few rows, the other fills up.

    Args:
        content: digests of the train rows; shape (rows, 2).
        names: row ids, which decide between equal digests; shape (rows,).
        chinese: which rows are Chinese; shape (rows,).
        count: how many rows are wanted.
    """
    ranked = np.lexsort((names, content[:, 1], content[:, 0]))
    from_chinese, from_english = ranked[chinese[ranked]], ranked[~chinese[ranked]]
    chinese_count = max(min(len(from_chinese), count - count // 2), count - len(from_english))
    chosen = np.concatenate([from_chinese[:chinese_count], from_english[: count - chinese_count]])
    return ranked[np.isin(ranked, chosen)]
