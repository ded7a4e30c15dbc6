"""Token parity: a conversation must become the same tokens in training, in evaluation and when served.

Training is `encode_row` with the base model's tokenizer, evaluation the model folder's own tokenizer, served the
server's /tokenize. What training teaches (its unmasked labels) must begin exactly where the server hands over, decode
to exactly the answers, and end with the token that stops generation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tasks.chat.labels import is_exact, label_faults, taught
from tasks.chat.rows import IGNORED, RowRefused, TokenRow, encode_row
from tasks.chat.shapes import SHAPES, Conversation, built_in
from tasks.chat.special_tokens import check_special_tokens
from tasks.chat.template import as_request, offers_tools, render, switches_thinking, writes_calls, writes_clock
from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl
from tasks.engine.client import Query, ServedClient
from tasks.evaluation.parity.stop import check_stop

TOKENIZE = "/tokenize"
PARITY_FILE = "parity.jsonl"

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Form:
    """One text of a conversation that all ways must tokenize alike.

    Args:
        shape: of the conversation.
        row_id: of the conversation.
        name: "conversation", or "prompt N": what is sent to get answer N.
        messages: as served.
        tools: as served.
        settings: of the chat template.
        generate: whether the assistant is to speak next.
        expected: the ids as training makes them.
    """

    shape: str
    row_id: str
    name: str
    messages: Messages
    tools: list[Any] | None
    settings: dict[str, Any]
    generate: bool
    expected: list[int]

    def mismatch(self, between: tuple[str, str], words: str, **facts: Any) -> dict[str, Any]:
        """Return a difference, by name."""
        named = f"{self.shape}, row {self.row_id}, {self.name}: {words} ({between[0]} against {between[1]})"
        where = {"shape": self.shape, "row_id": self.row_id, "form": self.name, "between": list(between)}
        return where | facts | {"words": named}


def check_parity(
    conversations: list[Conversation],
    *,
    model: Path,
    base: Path,
    tokenizer: Any,
    base_tokenizer: Any,
    client: ServedClient,
    trained: Path | None = None,
) -> dict[str, Any]:
    """Check the built-in set and these conversations; return `parity` of results.json.

    Args:
        conversations: rows of the validation split.
        model: folder the server loads.
        base: folder of the base model.
        tokenizer: of the model folder.
        base_tokenizer: of the base model folder, as training uses it.
        client: the server that serves the model folder.
        trained: folder where training may have left parity.jsonl: what was trained is then compared as well.

    Returns:
        rows: conversations checked. shapes: how many of each shape. unsupported: shape -> why this base model's
        template cannot render it. refused: rows that training leaves out, with the reason. completions: how many
        decode to the letter, how many as the template rewrites them. trained: rows of parity.jsonl compared.
        digests: row id -> digest of its ids. stop: see `check_stop`; learnt: what labels end turns with.
        notes: what a reader must know. mismatches: every difference, shape, row and first differing token named.
    """
    rows, unsupported, refused = _encode([*built_in(), *conversations], base_tokenizer)
    recorded = [] if writes_clock(base_tokenizer) else list(_recorded(trained))
    forms = [form for conversation, row in rows for form in _forms(conversation, row, base_tokenizer)]
    served = client.ask([_query(form) for form in [*forms, *recorded]], "token parity")
    mismatches = [
        *check_special_tokens(model, base, tokenizer, base_tokenizer),
        *(found for conversation, row in rows for found in _taught_faults(conversation, row, base_tokenizer)),
        *_differences(forms, served[: len(forms)], tokenizer),
        *_recorded_differences(recorded, served[len(forms) :], tokenizer),
    ]
    return {
        "rows": len(rows),
        "shapes": {shape: count for shape in SHAPES if (count := _count(rows, shape))},
        "unsupported": unsupported,
        "refused": refused,
        "completions": _completions(rows, base_tokenizer),
        "trained": len(recorded),
        "digests": {form.row_id: sha256_json(form.expected) for form in forms if not form.generate},
        "stop": check_stop(client, tokenizer, conversations) | {"learnt": _learnt(rows)},
        "notes": _notes(base_tokenizer),
        "mismatches": mismatches,
    }


def first_difference(own: Sequence[int], other: Sequence[int], tokenizer: Any) -> dict[str, Any] | None:
    """Return position, ids and texts of the first token in which two sequences differ, or None."""
    for position, (ours, theirs) in enumerate(zip_longest(own, other)):
        if ours != theirs:
            ids = {"expected": ours, "found": theirs}
            texts = {name: None if token is None else tokenizer.decode([token]) for name, token in ids.items()}
            words = f"token {position}: {texts['expected']!r} became {texts['found']!r}"
            return {"position": position, **ids, "words": words}
    return None


def unsupported_shape(shape: str, tokenizer: Any) -> str | None:
    """Return why a chat template cannot render a shape, or None."""
    if shape in ("thinking_on", "thinking_off") and not switches_thinking(tokenizer):
        return "the chat template has no enable_thinking switch"
    if shape == "tools" and not offers_tools(tokenizer):
        return "the chat template does not tell the model about tools"
    if shape == "tools" and not writes_calls(tokenizer):
        return "the chat template does not write tool_calls"
    return None


def _encode(
    conversations: list[Conversation], tokenizer: Any
) -> tuple[list[tuple[Conversation, TokenRow]], dict[str, str], list[dict[str, str]]]:
    """Return each conversation as training encodes it, the shapes that cannot be rendered, and the rows left out."""
    shapes = {conversation.shape for conversation in conversations}
    unsupported = {shape: reason for shape in sorted(shapes) if (reason := unsupported_shape(shape, tokenizer))}
    rows, refused = [], []
    for conversation in conversations:
        if conversation.shape in unsupported:
            continue
        try:
            row = encode_row(
                conversation.row_id, conversation.messages, tokenizer, conversation.tools,
                untaught=conversation.untaught, settings=conversation.template_settings,
            )  # fmt: skip
        except RowRefused as refusal:
            refused.append({"row_id": conversation.row_id, "shape": conversation.shape, "reason": str(refusal)})
        else:
            rows.append((conversation, row))
    for shape in shapes - set(unsupported) - {conversation.shape for conversation, _ in rows}:
        reasons = {entry["reason"] for entry in refused if entry["shape"] == shape}
        unsupported[shape] = f"every row is left out: {', '.join(sorted(reasons))}"
    return rows, unsupported, refused


def _forms(conversation: Conversation, row: TokenRow, tokenizer: Any) -> Iterator[Form]:
    """Yield the whole conversation and the prompt of each answer."""
    settings = conversation.template_settings
    rendered = render(tokenizer, row.messages, False, row.tools, **settings)
    # Where the trained ids are not the rendered ones (a thought given back, an answer encoded apart), history is what
    # is rendered.
    as_trained = not row.thought_restored and not row.joined
    named = (conversation.shape, row.row_id)
    expected = row.input_ids if as_trained else rendered
    yield Form(*named, "conversation", row.messages, row.tools, settings, False, expected)
    answers = [turn for turn, message in enumerate(row.messages) if message["role"] == "assistant"]
    for number, turn in enumerate(answers, start=1):
        before = row.messages[:turn]
        asked = render(tokenizer, before, True, row.tools, **settings)
        yield Form(*named, f"prompt {number}", before, row.tools, settings, True, asked)


def _taught_faults(conversation: Conversation, row: TokenRow, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Yield what is wrong with the labels of a row, and answers that do not begin where the server hands over."""
    form = Form(conversation.shape, row.row_id, "labels", row.messages, row.tools, {}, False, row.input_ids)
    for words in label_faults(row.messages, row.input_ids, row.labels, row.trained_turns, tokenizer):
        yield form.mismatch(("labels", "completion"), words)
    runs = taught(row.input_ids, row.labels, tokenizer)
    for turn, run in zip(row.trained_turns, runs, strict=False):
        asked = render(tokenizer, row.messages[:turn], True, row.tools, **conversation.template_settings)
        if found := first_difference(asked, row.input_ids[: run.first], tokenizer):
            yield form.mismatch(("prompt", "training"), found.pop("words"), **found)


def _differences(forms: list[Form], served: list[list[int]], tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Yield where evaluation or the server make other ids than training."""
    for form, served_ids in zip(forms, served, strict=True):
        own = render(tokenizer, form.messages, form.generate, form.tools, **form.settings)
        for other, ids in (("evaluation", own), ("served", served_ids)):
            if found := first_difference(form.expected, ids, tokenizer):
                yield form.mismatch(("training", other), found.pop("words"), **found)


def _recorded(folder: Path | None) -> Iterator[Form]:
    """Yield the rows training left in parity.jsonl, as they were trained; none where the folder has no such file."""
    for row in read_jsonl(folder / PARITY_FILE) if folder and (folder / PARITY_FILE).is_file() else ():
        if row.get("enable_thinking"):
            continue
        named, tools, ids = (row.get("shape", "single"), row["row_id"]), row.get("tools"), row["input_ids"]
        if row.get("thought_restored") or row.get("joined"):
            # The answer was encoded apart: what is asked for it is what the server must make.
            asked = ids[: _last_answer(row["labels"])]
            yield Form(*named, "trained prompt", row["messages"][:-1], tools, {}, True, asked)
        else:
            yield Form(*named, "trained row", row["messages"], tools, {}, False, ids)


def _last_answer(labels: list[int]) -> int:
    """Return the place of the first token of the last run of labels."""
    taught_places = [place for place, label in enumerate(labels) if label != IGNORED]
    return next((p for p in reversed(taught_places) if p == 0 or labels[p - 1] == IGNORED), 0)


def _recorded_differences(forms: list[Form], served: list[list[int]], tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Yield trained rows whose ids are not what is served now."""
    for form, ids in zip(forms, served, strict=True):
        if found := first_difference(form.expected, ids, tokenizer):
            yield form.mismatch(("trained", "served"), found.pop("words"), **found)


def _completions(rows: list[tuple[Conversation, TokenRow]], tokenizer: Any) -> dict[str, int]:
    """Count the answers that labels teach to the letter, and those taught as the template rewrites them."""
    exact = total = 0
    for _, row in rows:
        runs = taught(row.input_ids, row.labels, tokenizer)
        total += len(runs)
        answers = [row.messages[turn] for turn in row.trained_turns]
        exact += sum(is_exact(run.text, answer) for run, answer in zip(runs, answers, strict=False))
    return {"exact": exact, "as_rendered": total - exact}


def _learnt(rows: list[tuple[Conversation, TokenRow]]) -> list[int]:
    """Return the ids that labels end the last turn with."""
    return sorted({row.completion_ids[-1] for _, row in rows if row.completion_ids})


def _notes(tokenizer: Any) -> list[str]:
    """Return what a reader must know about this template."""
    clock = "the chat template writes today's date: trained rows are other tokens on another day and were not compared"
    return [clock] if writes_clock(tokenizer) else []


def _count(rows: list[tuple[Conversation, TokenRow]], shape: str) -> int:
    """Count the rows of a shape."""
    return sum(conversation.shape == shape for conversation, _ in rows)


def _query(form: Form) -> Query:
    """Return the request for the server's own tokens of a conversation, as a caller would send it."""
    body: dict[str, Any] = {"messages": as_request(form.messages), "add_generation_prompt": form.generate}
    if form.tools:
        body["tools"] = form.tools
    if form.settings:
        body["chat_template_kwargs"] = form.settings
    return Query(TOKENIZE, body, _read_tokens, f"{form.shape}, row {form.row_id}, {form.name}")


def _read_tokens(answer: dict[str, Any]) -> list[int]:
    """Return the token ids of an answer of /tokenize."""
    tokens = answer.get("tokens")
    if not isinstance(tokens, list):
        raise DataContractError("the server's /tokenize returned no tokens", "serve with vLLM")
    return [int(token) for token in tokens]
