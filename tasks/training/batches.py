"""The order rows are trained in: decided before the first step, so that a resumed run cannot see another one."""

from random import Random

#: Rows are sorted by length within pools of this many batches: near-equal lengths in a batch, order still random.
POOL_BATCHES = 16


def training_order(lengths: list[int], batch_rows: int, batches: int, seed: int) -> list[int]:
    """Return row indices, `batch_rows` after `batch_rows`, for `batches` batches of similar length.

    Every row comes once before any comes twice. A pure function of its arguments.

    Args:
        lengths: tokens of each row.
        batch_rows: rows in a batch.
        batches: number of batches in the whole training.
        seed: seed of the shuffles.
    """
    random = Random(seed)
    stream = _stream(len(lengths), batch_rows * batches, random)
    order: list[int] = []
    pool_rows = POOL_BATCHES * batch_rows
    for start in range(0, len(stream), pool_rows):
        pool = sorted(stream[start : start + pool_rows], key=lambda row: (lengths[row], row))
        cut = [pool[place : place + batch_rows] for place in range(0, len(pool), batch_rows)]
        random.shuffle(cut)
        order += [row for batch in cut for row in batch]
    return order


def _stream(rows: int, wanted: int, random: Random) -> list[int]:
    """Return `wanted` row indices: shuffled passes over all rows, one after the other."""
    stream: list[int] = []
    while len(stream) < wanted:
        epoch = list(range(rows))
        random.shuffle(epoch)
        stream += epoch
    return stream[:wanted]
