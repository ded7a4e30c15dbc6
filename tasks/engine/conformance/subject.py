"""What an engine is held to: a model's own tokenizer and template, and what its evidence says it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.chat.tokenizer import load_tokenizer
from tasks.core.files import read_json
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, Answers
from tasks.engine.spans import opening_ids


@dataclass(frozen=True)
class Subject:
    """A model that an engine says it serves.

    Args:
        tokenizer: of its folder.
        opening: token ids between a rendered prompt and an answer: an empty thought where the template has one.
        answers: hop -> greedy token ids after each of `FINGERPRINT_PROMPTS`; empty where there is no evidence.
    """

    tokenizer: Any
    opening: list[int]
    answers: Mapping[str, Answers] = field(default_factory=dict)


def subject_of(model: Path, reports: Mapping[str, Path]) -> Subject:
    """Return the model in a folder, and what the reports about it say it answers.

    Args:
        model: folder with its tokenizer and template.
        reports: hop -> folder of its evaluation; those that are not there are left out, and those that asked other
            prompts than are asked now.
    """
    tokenizer = load_tokenizer(model)
    found = {}
    for hop, folder in reports.items():
        if (folder / "results.json").is_file():
            facts = read_json(folder / "results.json").get("model") or {}
            if tuple(facts.get("fingerprint_prompts") or ()) == FINGERPRINT_PROMPTS and facts.get("fingerprint"):
                found[hop] = facts["fingerprint"]
    return Subject(tokenizer, opening_ids(tokenizer), found)
