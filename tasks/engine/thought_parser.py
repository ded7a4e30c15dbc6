"""vLLM's plugin that tells a thought from an answer: only what a mark opens is a thought.

Loaded by vLLM itself (`--reasoning-parser-plugin`), never by the pipeline. vLLM's own parsers (0.32: qwen3,
deepseek_r1, kimi_k2, glm45, ...) take an answer without a thought for a thought, with `content` None: whether a model
thinks depends on what it was trained on, not on its family. Here an answer is a thought only behind `<think>`, written
by the model or by the prompt.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from vllm.entrypoints.generate.base.protocol import DeltaMessage
from vllm.reasoning import ReasoningParser, ReasoningParserManager

NAME = "tunegate"
OPEN, CLOSE = "<think>", "</think>"
#: Enough tokens to hold a mark and the line breaks around it, where it is not one token.
TAIL = 16
_opened: dict[tuple[str, Any], bool] = {}


class ThoughtParser(ReasoningParser):
    """Tells a thought from an answer; one instance reads one answer."""

    def __init__(self, tokenizer: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(tokenizer, *args, **kwargs)
        self.opened = prompt_opens_thought(tokenizer, kwargs.get("chat_template_kwargs") or {})
        self.phase = "thought" if self.opened else "start"
        self.given = 0
        self.fed = False

    @property
    def reasoning_start_str(self) -> str:
        """What opens a thought."""
        return OPEN

    @property
    def reasoning_end_str(self) -> str:
        """What closes a thought."""
        return CLOSE

    def is_reasoning_end(self, input_ids: Sequence[int]) -> bool:
        """Tell whether a prompt ends behind a closed thought: then the answer follows at once."""
        return self._tail(input_ids).endswith(CLOSE)

    def is_reasoning_end_streaming(self, input_ids: Sequence[int], delta_ids: Iterable[int]) -> bool:
        """Tell whether the answer has begun: by its text where this instance reads it, else by the closing mark."""
        return self.phase == "answer" if self.fed else CLOSE in self._tail(input_ids)

    def extract_content_ids(self, input_ids: list[int]) -> list[int]:
        """Return the ids behind the closing mark; all where there is none."""
        mark = self.vocab.get(CLOSE)
        return input_ids[input_ids.index(mark) + 1 :] if mark in input_ids else input_ids

    def extract_reasoning(self, model_output: str, request: Any) -> tuple[str | None, str | None]:
        """Return (thought, answer) of a whole output."""
        text = model_output.lstrip()
        if not (self.opened or text.startswith(OPEN)):
            return None, model_output
        thought, closed, answer = text.removeprefix(OPEN).partition(CLOSE)
        return thought.strip("\n") or None, answer.lstrip("\n") or None if closed else None

    def extract_reasoning_streaming(
        self,
        previous_text: str,
        current_text: str,
        delta_text: str,
        previous_token_ids: Sequence[int],
        current_token_ids: Sequence[int],
        delta_token_ids: Sequence[int],
    ) -> Any:
        """Return what a piece adds to the thought or begins of the answer; None while a mark may still follow."""
        self.fed = True
        text = current_text.lstrip()
        if self.phase == "start" and not text.startswith(OPEN):
            if OPEN.startswith(text):
                return None
            self.phase = "answer"
            return DeltaMessage(content=current_text)
        self.phase = "thought"
        thought, closed, answer = text.removeprefix(OPEN).partition(CLOSE)
        ready = thought.rstrip("\n") if closed else _without_piece_of_mark(thought)
        piece = ready.lstrip("\n")[self.given :]
        self.given += len(piece)
        # The line breaks behind the mark belong to neither: the answer begins with what follows them.
        answer = answer.lstrip("\n")
        if answer:
            self.phase = "answer"
        return DeltaMessage(reasoning=piece or None, content=answer or None) if piece or answer else None

    def _tail(self, ids: Sequence[int]) -> str:
        """Return the end of a sequence as text."""
        text: str = self.model_tokenizer.decode(list(ids[-TAIL:]), skip_special_tokens=False)
        return text.rstrip()


def prompt_opens_thought(tokenizer: Any, settings: dict[str, Any]) -> bool:
    """Tell whether the chat template itself opens a thought, with these settings of a request."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    if not template:
        return False
    key = (template, settings.get("enable_thinking"))
    if key not in _opened:
        known = {} if key[1] is None else {"enable_thinking": key[1]}
        question = [{"role": "user", "content": "?"}]
        asked = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True, **known)
        _opened[key] = str(asked).rstrip().endswith(OPEN)
    return _opened[key]


def _without_piece_of_mark(thought: str) -> str:
    """Return a thought without what may become the closing mark, and the line breaks before it."""
    held = next((size for size in range(len(CLOSE) - 1, 0, -1) if thought.endswith(CLOSE[:size])), 0)
    return thought[: len(thought) - held].rstrip("\n")


ReasoningParserManager.register_module(name=NAME, module=ThoughtParser, force=True)
