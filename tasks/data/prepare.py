"""Stage prepare: raw instruction files to chat rows for training, with the fate of every raw row on record.

Three passes, so that a million rows need neither the memory nor the time of a million objects: each row alone, a chunk
at a time on every core (`passes.first`); all rows together, as columns (`passes.second`); the files (`passes.third`).
"""

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import replaced_directory, write_json, write_jsonl
from tasks.core.progress import Progress
from tasks.core.project import Project
from tasks.core.settings import DomainParams, ExamParams, PrepareParams
from tasks.data.ledger.ledger import REFUSED
from tasks.data.matching.eval_sets import read_eval_sets
from tasks.data.passes.advice import ADD_ROWS, WORTH_A_HINT, why_left_out
from tasks.data.passes.facts import Gathered
from tasks.data.passes.first import ChunkJudge, FirstPass
from tasks.data.passes.second import decide
from tasks.data.passes.summary import summarize
from tasks.data.passes.third import Outputs
from tasks.data.pool import ordered, process_count
from tasks.data.privacy.pseudonyms import environment_key
from tasks.data.reading.raw import INSTRUCTIONS, Chunk, instruction_files, read_chunks
from tasks.data.tokens import RowLengths

log = logging.getLogger(__name__)

MEBIBYTE = 1 << 20


def prepare(
    params: PrepareParams,
    *,
    output: Path,
    raw: Path,
    base: Path,
    scratch: Path,
    train_max_length_tokens: int,
    evaluate_exams: list[ExamParams],
    evaluate_domain: DomainParams,
) -> dict[str, Any]:
    """Write train.jsonl, validation.jsonl, calibration.jsonl, ledger.jsonl, summary.json and evidence files.

    Args:
        params: how files are read, what happens to personal data, what counts as a duplicate or a leak.
        output: folder to fill.
        raw: data/raw of the project; instruction files are read from its `instructions` folder.
        base: folder of the base model, whose tokenizer and chat template count the tokens of a row.
        scratch: folder for texts and band keys between the passes.
        train_max_length_tokens: longest row that is trained on.
        evaluate_exams: the exams to keep out of training; a path in them is relative to the project root.
        evaluate_domain: the domain pack to keep out of training.

    Returns:
        Rows in, kept, dropped, quarantined, and rows by split.

    Raises:
        DataContractError: there is no row to train on, the ledger does not balance, an input is damaged, or a row is
            bad and `on_bad_row` is `stop`.
        ConfigError: a pseudonym is asked for and there is no key.
        TransientError: a worker process was killed.
    """
    items = read_eval_sets(evaluate_exams, evaluate_domain, raw.parents[1], params.decontaminate.extra_sets)
    spool = _empty(scratch / "spool")
    setup = FirstPass(params, raw, base, train_max_length_tokens, items, environment_key(), spool)
    with Gathered(spool) as gathered:
        _judge_all(setup, gathered)
        decisions = decide(gathered, params)
        outputs = Outputs(output, gathered, decisions, params, train_max_length_tokens)
        outputs.write(Progress(log, "write", len(gathered.columns), "rows"))
        lengths = RowLengths(base, train_max_length_tokens)
        summary = summarize(gathered, decisions, outputs, params, lengths, items)
    write_jsonl(output / "eval_questions.jsonl", (item.as_json() for item in items))
    write_json(output / "summary.json", summary)
    shutil.rmtree(spool)
    _require_rows(summary, output, raw, outputs.first_detail)
    _say(summary, outputs.first_detail)
    return {"rows": summary["rows"], "splits": summary["splits"]}


def _say(summary: dict[str, Any], first_detail: dict[str, str]) -> None:
    """Log the counts, with what a reader must know of the rows kept and what helps where many were left out."""
    for note in summary.get("notes", ()):
        log.warning("prepare: %s", note)
    rows, (why, hint) = summary["rows"], why_left_out(summary, first_detail)
    if why and rows["in"] - rows["kept"] >= WORTH_A_HINT * rows["in"]:
        log.warning("prepare: left out: %s; %s", why, hint)
    log.info("prepare: %s", ", ".join(f"{n} {name}" for name, n in rows.items()) + (f" ({why})" if why else ""))


def _judge_all(setup: FirstPass, gathered: Gathered) -> None:
    """Run the first pass over every raw file."""
    sizes = {path.relative_to(setup.raw).as_posix(): path.stat().st_size for path in instruction_files(setup.raw)}
    processes = process_count(sum(sizes.values()))
    chunks = _with_progress(read_chunks(setup.raw, setup.params.read), sizes, gathered, processes)
    for facts in ordered(ChunkJudge, (setup,), enumerate(chunks), processes):
        gathered.add(facts)
    if not gathered.rows:
        raise DataContractError(f"no row to train on: the files in {setup.raw / INSTRUCTIONS} hold no row", ADD_ROWS)
    gathered.finish()
    log.info("prepare: %d rows read", len(gathered.columns))


def _with_progress(
    chunks: Iterable[Chunk], sizes: dict[str, int], gathered: Gathered, processes: int
) -> Iterator[Chunk]:
    """Yield chunks and tell how many mebibytes of the files are read, how fast, and how long still."""
    total = max(sum(sizes.values()) // MEBIBYTE, 1)
    progress = Progress(log, f"read and judge ({processes} process{'es' * (processes > 1)})", total, "MiB")
    read = 0
    for chunk in chunks:
        yield chunk
        # Rows of an array or a table count as nothing: their files are small beside JSON Lines.
        read += len(chunk.data) if isinstance(chunk.data, bytes) else 0
        if (whole := min(read // MEBIBYTE, total)) > progress.done:
            progress.advance(whole - progress.done, f"{gathered.rows} rows")


def _empty(folder: Path) -> Path:
    """Return a folder without what a killed run left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _require_rows(summary: dict[str, Any], output: Path, raw: Path, first_detail: dict[str, str]) -> None:
    """Refuse a result nothing can be trained on; its ledger and summary are kept where the output is not.

    Raises:
        DataContractError: there is no row to train on.
    """
    if summary["splits"]["train"]:
        return
    kept = Project(raw.parents[1]).state / REFUSED
    with replaced_directory(kept) as folder:
        shutil.copytree(output, folder, dirs_exist_ok=True)
    rows, (why, hint) = summary["rows"], why_left_out(summary, first_detail)
    raise DataContractError(
        f"no row to train on: {rows['in']} rows in {raw / INSTRUCTIONS}, {rows['kept']} kept"
        + (f" ({why})" if why else ""),
        f"{hint}\ntunegate data summary and tunegate data explain tell of this run (ledger: {kept / 'ledger.jsonl'})",
    )
