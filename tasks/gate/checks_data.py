"""Checks of what was learnt and what was asked: labels, leaks, whole evaluation sets, a calibrated harness."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.files import read_jsonl
from tasks.data.matching.normalization import normalize, normalize_all
from tasks.gate.evidence import Evidence, Fault, Key, asked, names

#: What no loss is computed on.
IGNORED = -100
#: Suites that ask the items of another one.
SAME_ITEMS = {"domain_keypoints": "domain_short"}
GENERATED = "_generated"
#: C-Eval's and CMMLU's examples shown before a question: kept out of training, never asked.
EXAMPLES = "_dev/"
#: Characters of a normalized question below which it says too little to be found in a row.
LEAST_CHARACTERS = 12
NAMED = 3


def labels_masked(evidence: Evidence) -> Iterator[Fault]:
    """Find rows whose labels teach anything but the assistant's turns."""
    tokenizer = _tokenizer(evidence.adapter)
    special = {at for at, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    for row in read_jsonl(evidence.adapter / "parity.jsonl"):
        if words := _label_fault(row, tokenizer, special):
            yield Fault(
                "adapter",
                f"Row {row['row_id']}: {words}.",
                "The loss was computed on the prompt too: the model learns to ask, and its answers get worse.",
                "look at the labels in data/models/adapter/parity.jsonl, then tunegate stage train and tunegate run",
            )
            return


def no_leaks(evidence: Evidence) -> Iterator[Fault]:
    """Find items that training was not held apart from, and rows trained on that hold an item."""
    searched = {(row["eval_set"], row["item_id"]): row for row in _questions(evidence.prepared)}
    if strange := sorted(_evaluated(evidence) - set(searched)):
        yield Fault(
            "prepared",
            f"{len(strange)} item(s) were evaluated that the training rows were never searched for: "
            f"{names(strange, NAMED)}.",
            "The evaluation sets changed after the data was prepared.",
            "tunegate stage prepare, then tunegate run",
        )
    if leaked := list(_leaked_rows(evidence.prepared, list(searched.values()))):
        named = "; ".join(f"{row} holds {key[0]}/{key[1]}" for row, key in leaked[:NAMED])
        yield Fault(
            "prepared",
            f"{len(leaked)} row(s) that were trained on hold an evaluation item: {named}.",
            "Rows were added after decontamination, or it was asked with the wrong sets: the scores are not earned.",
            "take these rows out of data/raw, then tunegate run",
        )


def whole_sets(evidence: Evidence) -> Iterator[Fault]:
    """Find evaluation sets of which a part was not asked, though no limit says so."""
    asked_items = _evaluated(evidence)
    limited = _limited(evidence)
    expected: dict[str, set[Key]] = defaultdict(set)
    for row in _questions(evidence.prepared):
        if EXAMPLES not in row["item_id"]:
            expected[row["eval_set"]].add((row["eval_set"], row["item_id"]))
    for suite, keys in sorted(expected.items()):
        missing = sorted(keys - asked_items)
        if missing and suite not in limited and len(missing) < len(keys):
            yield Fault(
                "base",
                f"{len(missing)} of {len(keys)} items of {suite} were asked at no hop: {names(missing, NAMED)}.",
                "The set was cut short, and no evaluate.*.limit says so: what is missing may be what fails.",
                "restore the set, or set the limit in params.yaml, then tunegate run",
            )


def calibration(evidence: Evidence) -> Iterator[Fault]:
    """Find a harness that does not reproduce the known score of the base model."""
    known = evidence.reports["base"].results.get("calibration")
    if known and not known["ok"]:
        yield Fault(
            "base",
            f"{_apart(known)} ({known.get('source', 'no source named')}).",
            "The prompt, the way answers are read or the base model differs from the one the score was measured with.",
            "compare few_shot, chat_template and answer of evaluate.exams with the source, then tunegate stage "
            "evaluate@base",
        )


def _apart(known: dict[str, Any]) -> str:
    """Return in words how the measured score and the known one differ."""
    likelihood = known.get("answer_logprob")
    if likelihood and abs(known["measured"] - known["expected"]) <= known["tolerance"]:
        return (
            f"The base model gives the right letter {likelihood['measured']:.4f} nats on average where "
            f"{likelihood['expected']:.4f} (within {likelihood['tolerance']:.4f}) is known"
        )
    return (
        f"The base model scores {known['measured']:.3f} where {known['expected']:.3f} "
        f"(within {known['tolerance']:.3f}) is known"
    )


def _label_fault(row: dict[str, Any], tokenizer: Any, special: set[int]) -> str:
    """Return what is wrong with one row's labels; "" for nothing."""
    labels = row.get("labels")
    if labels is not None:
        wrong = [at for at, (label, token) in enumerate(zip(labels, row["input_ids"], strict=False))
                 if label not in (IGNORED, token)]  # fmt: skip
        if wrong or len(labels) != len(row["input_ids"]):
            return f"label {wrong[0] if wrong else len(labels)} is not the token it stands under"
    taught = row["completion_ids"] if labels is None else [label for label in labels if label != IGNORED]
    runs = _turns(taught, special)
    answers = [message for message in row["messages"] if message["role"] == "assistant"]
    for run in runs:
        text = tokenizer.decode(run, skip_special_tokens=False)
        while answers and not _is_answer(text, answers[0], row):
            answers = answers[1:]
        if not answers:
            return f"the labels teach {text[:60]!r}, which is no assistant turn"
        answers = answers[1:]
    return "" if runs else "no label is taught"


def _turns(ids: list[int], special: set[int]) -> list[list[int]]:
    """Return taught tokens turn by turn: what stands between the tokens that mark turns."""
    turns: list[list[int]] = [[]]
    for token in ids:
        if token in special:
            turns.append([])
        else:
            turns[-1].append(token)
    return [turn for turn in turns if turn]


def _is_answer(text: str, message: dict[str, Any], row: dict[str, Any]) -> bool:
    """Tell whether a taught turn is this answer: as it is, or with the thought or call a template writes around it."""
    said, answer = _letters(text), _letters(str(message.get("content") or ""))
    if said == answer:
        return True
    prompts = [_letters(str(other.get("content") or "")) for other in row["messages"] if other["role"] != "assistant"]
    written_by_template = "<think>" in text or "tool_call" in text or bool(row.get("tools"))
    return written_by_template and not any(len(prompt) > NAMED and prompt in said for prompt in prompts)


def _letters(text: str) -> str:
    """Return a text without what a template trims and a tokenizer composes."""
    return "".join(unicodedata.normalize("NFC", text).split())


def _tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _questions(prepared: Path) -> Iterator[dict[str, Any]]:
    """Yield the evaluation items that training rows were searched for."""
    return read_jsonl(prepared / "eval_questions.jsonl")


def _evaluated(evidence: Evidence) -> set[Key]:
    """Return the items asked at any hop, under the name of the set they come from."""
    reports = (evidence.reports[hop] for hop in asked(evidence.reports))
    return {(_set_of(suite), item) for report in reports for suite, item in report.samples}


def _set_of(suite: str) -> str:
    """Return the evaluation set a suite asks."""
    plain = suite.removesuffix(GENERATED)
    return SAME_ITEMS.get(plain, plain)


def _limited(evidence: Evidence) -> set[str]:
    """Return the sets that a limit cut, at any hop."""
    reports = (evidence.reports[hop] for hop in asked(evidence.reports))
    return {
        _set_of(suite)
        for report in reports
        for suite, facts in report.results["suites"].items()
        if facts["limit"] is not None
    }


def _leaked_rows(prepared: Path, questions: list[dict[str, Any]]) -> Iterator[tuple[str, Key]]:
    """Yield rows trained on that hold a question word for word (with most of its options), one item a row."""
    starts: dict[str, list[tuple[str, list[str], Key]]] = defaultdict(list)
    for row, question in zip(questions, normalize_all([row["question"] for row in questions]), strict=True):
        if len(question) >= LEAST_CHARACTERS:
            options = normalize_all(row["options"])
            starts[question[:LEAST_CHARACTERS]].append((question, options, (row["eval_set"], row["item_id"])))
    for row in read_jsonl(prepared / "train.jsonl"):
        text = normalize("\n".join(str(message["content"]) for message in row["messages"]))
        if key := _held_in(text, starts):
            yield row["row_id"], key


def _held_in(text: str, starts: dict[str, list[tuple[str, list[str], Key]]]) -> Key | None:
    """Return the first evaluation item that stands in a normalized text."""
    for at in range(len(text) - LEAST_CHARACTERS + 1):
        for question, options, key in starts.get(text[at : at + LEAST_CHARACTERS], ()):
            if text.startswith(question, at) and sum(option in text for option in options) * 2 >= len(options):
                return key
    return None
