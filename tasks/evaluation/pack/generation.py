"""Questions whose answer is generated: what to ask, and the score of an answer."""

from dataclasses import dataclass
from typing import Any

from tasks.evaluation.pack import prompts
from tasks.evaluation.pack.scoring import score_answer
from tasks.exams.pack.reading import Pack
from tasks.exams.pack.schema import SUITES, WAY, Item, Suite

Message = dict[str, str]


@dataclass(frozen=True)
class GenerationItem:
    """One question to be answered in words.

    Args:
        suite: its suite.
        item_id: of its sample; `schema.pack_item_id` gives the id in the pack.
        lang: zh or en.
        messages: the conversation up to the answer.
        max_tokens: an answer longer than this is cut.
        thinking: `enable_thinking` of the chat template; None leaves it at the template's own default.
        item: as the pack has it.
    """

    suite: str
    item_id: str
    lang: str
    messages: list[Message]
    max_tokens: int
    thinking: bool | None
    item: Item


def generation_items(pack: Pack, *, thinking: bool = True, limit: int | None = None) -> list[GenerationItem]:
    """Return everything of a pack that is answered in words, suite by suite, in file order.

    Args:
        pack: the pack.
        thinking: whether the model's template can switch thinking: without, suite domain_thinking is left out.
        limit: first items of each kind, None for all.
    """
    # A template that can switch thinking may think by default; where it does not, the room costs nothing.
    room = prompts.MAX_TOKENS_THINKING if thinking else 0
    suites = [suite for suite in SUITES if suite.answer == "generation" and (thinking or suite.kind != "thinking")]
    return [
        one
        for suite in suites
        for item in pack.items[suite.kind][:limit]
        if _is_asked(item)
        for one in _ways(suite, item, room)
    ]


def score(item: GenerationItem, text: str, *, thinking_opened: bool = False) -> tuple[float, dict[str, Any]]:
    """Return the value of an answer and what led to it.

    Args:
        item: what was asked.
        text: the answer, thinking included where the server leaves it in.
        thinking_opened: whether the prompt itself already ended in `<think>`.

    Returns:
        Value (0 or 1, or a share) and detail: lang, concept, text (what was scored), failure (None, or why the value is
        not full), thinking where the answer has any, and what the kind adds.
    """
    common = {"lang": item.lang} | {name: item.item[name] for name in ("concept", "difficulty") if name in item.item}
    if item.thinking is not None:
        common["enable_thinking"] = item.thinking
    value, detail = score_answer(item.item, text, thinking_opened=thinking_opened)
    return value, common | detail


def _is_asked(item: Item) -> bool:
    """Tell whether an item can be scored when answered: a short one of the first schema may lack key points."""
    return item["kind"] != "short" or "key_points" in item


def _ways(suite: Suite, item: Item, room: int) -> list[GenerationItem]:
    """Return an item in each way it is asked, with so many tokens to think in where nothing says not to."""
    ways: list[tuple[str, bool | None, int]] = [(item["id"], None, prompts.MAX_TOKENS[suite.kind] + room)]
    if suite.kind == "thinking":
        ways = [
            (f"{item['id']}{WAY}thinking", True, prompts.MAX_TOKENS["thinking"] + room),
            (f"{item['id']}{WAY}direct", False, prompts.MAX_TOKENS["thinking"]),
        ]
    messages = [{"role": "user", "content": prompts.prompt_of(item)}]
    return [
        GenerationItem(suite.name, item_id, item["lang"], messages, max_tokens, thinking, item)
        for item_id, thinking, max_tokens in ways
    ]
