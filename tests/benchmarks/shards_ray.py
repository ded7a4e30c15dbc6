"""Past one machine: the first pass of prepare over shards on Ray Data, equal to ours to the byte.

    uv pip install --python .venv/bin/python "ray[data]==2.60.0"      # no dependency of the project
    .venv/bin/python tests/benchmarks/shards_ray.py [--rows 2000] [--json]

The first pass is a function of one chunk alone (`passes.first.ChunkJudge`), and nearly all of the work. Ray Data runs
it as it is: an actor a core builds it once and judges chunks, as our own pool does on one machine. Here Ray runs in
local mode; on a cluster the same script starts with `ray.init(address=...)`, and `raw` and the spool lie on storage
that all nodes see. The second pass needs some hundred bytes a row of every row in one place and stays where it is.

Equal means: the columns, the band keys, the masks and concepts of every chunk, and every byte in the spool.
"""

import argparse
import hashlib
import json
import logging
import os
import pickle
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from million_rows import write

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.data.matching.eval_sets import read_eval_sets
from tasks.data.passes.facts import ChunkFacts, Columns
from tasks.data.passes.first import ChunkJudge, FirstPass
from tasks.data.pool import ordered
from tasks.data.reading.raw import read_chunks
from tasks.data.reading.rows import Chunk
from tasks.models.base import materialize

ROOT = Path(__file__).parents[2]
CHUNK_BYTES = 256 << 10
OBJECT_STORE_BYTES = 512 << 20

Numbered = tuple[int, Chunk]


def first_pass(scratch: Path) -> FirstPass:
    """Return what judging a chunk needs, with the settings of this project."""
    settings = load_settings(ROOT / "params.yaml")
    base = materialize(settings.base_model, Project(ROOT)).path
    items = read_eval_sets(settings.evaluate.exams, settings.evaluate.domain, ROOT)
    return FirstPass(settings.prepare, scratch / "raw", base, settings.train.max_length_tokens, items, None, scratch)


class RayJudge:
    """A chunk judge as Ray Data calls it: a batch of one pickled chunk in, its pickled facts out."""

    def __init__(self, setup: FirstPass) -> None:
        self._judge = ChunkJudge(setup)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Judge the chunks of a batch."""
        facts = [self._judge(pickle.loads(chunk)) for chunk in batch["chunk"]]
        return {"number": [one.number for one in facts], "facts": [pickle.dumps(one) for one in facts]}


def on_ray(setup: FirstPass, chunks: Iterable[Numbered], cores: int) -> Iterator[ChunkFacts]:
    """Yield the facts of the chunks in order, judged by Ray Data."""
    # A token and a folder of this run's own: Ray would leave both behind, the token in the user's home.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
                   "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": str(setup.raw.parent)}  # fmt: skip
    # Actors are processes of their own: they find our modules as this one does.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    import ray

    ray.init(
        num_cpus=cores,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    try:
        shards = ray.data.from_items([{"chunk": pickle.dumps(numbered)} for numbered in chunks])
        actors = ray.data.ActorPoolStrategy(size=cores)
        judged = shards.map_batches(RayJudge, fn_constructor_args=(setup,), batch_size=1, compute=actors, num_cpus=1)
        rows = sorted(judged.iter_rows(), key=lambda row: int(row["number"]))
        yield from (pickle.loads(row["facts"]) for row in rows)
    finally:
        ray.shutdown()


def fingerprint(facts: Iterable[ChunkFacts], spool: Path) -> tuple[dict[str, str], int]:
    """Return digests of everything the first pass hands over, and the rows in it."""
    parts = {name: hashlib.sha256() for name in ("columns", "bands", "masks and concepts", "spool")}
    rows = 0
    for one in facts:
        rows += len(one.columns)
        for column in fields(Columns):
            parts["columns"].update(np.ascontiguousarray(getattr(one.columns, column.name)).tobytes())
        parts["bands"].update(np.ascontiguousarray(one.bands).tobytes())
        parts["masks and concepts"].update(repr((one.number, one.source, one.masks, one.concepts)).encode())
    for path in sorted(spool.iterdir()):
        parts["spool"].update(path.name.encode() + path.read_bytes())
    return {name: digest.hexdigest() for name, digest in parts.items()}, rows


def measured(name: str, setup: FirstPass, judge: Any) -> dict[str, Any]:
    """Run one way into a spool of its own; return its digests and time."""
    spool = setup.spool / f"spool-{name}"
    spool.mkdir()
    started = time.monotonic()
    digests, rows = fingerprint(judge(replace(setup, spool=spool)), spool)
    return {"rows": rows, "seconds": round(time.monotonic() - started, 1), "digests": digests}


def main() -> int:
    """Run both ways over the same rows and compare; exit 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="tunegate-ray-") as scratch:
        setup = first_pass(Path(scratch))
        write(arguments.rows, setup.raw / "instructions")
        chunks = list(enumerate(read_chunks(setup.raw, setup.params.read, CHUNK_BYTES)))
        report = {
            "ours": measured("ours", setup, lambda one: ordered(ChunkJudge, (one,), chunks, cores)),
            "ray": measured("ray", setup, lambda one: on_ray(one, chunks, cores)),
            "chunks": len(chunks),
        }
    report["equal"] = report["ours"]["digests"] == report["ray"]["digests"]
    lines = [
        f"{name}: {report[name]['rows']} rows in {report[name]['seconds']} s, start included"
        for name in ("ours", "ray")
    ]
    lines.append(f"{report['chunks']} chunks, {'equal' if report['equal'] else 'NOT EQUAL'}")
    sys.stdout.write(json.dumps(report) + "\n" if arguments.json else "\n".join(lines) + "\n")
    return 0 if report["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
