"""What a served model can do beside plain text: call functions, think; read off its template, not its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.chat.template import PROBE, offers_tools, switches_thinking, thought_opened, written_call
from tasks.chat.tokenizer import load_tokenizer
from tasks.models.files import chat_template_text

Thinking = Literal["never", "always", "switched"]

#: vLLM's parser by how the template writes a call: what a model was shown is what it writes. The names are vLLM's:
#: vllm/tool_parsers/__init__.py (0.32.0).
TOOL_PARSERS: dict[str, str] = {
    f'<tool_call>\n{{"name": "{PROBE}", "arguments": {{': "hermes",  # Qwen 2.5, Qwen 3
    f"<tool_call>\n<function={PROBE}>": "qwen3_xml",  # Qwen 3.5 and later
    f'{{"name": "{PROBE}", "parameters": {{': "llama3_json",  # Llama 3.1, 3.2
    f"<tool_call>{PROBE}\n<arg_key>": "glm45",
}
#: Our own, a plugin of vLLM; see there.
REASONING_PARSER = "tunegate"
REASONING_PLUGIN = Path(__file__).with_name("thought_parser.py")


@dataclass(frozen=True)
class Abilities:
    """What a served model can do.

    Args:
        tool_parser: vLLM's parser of this model's calls; None where there is none.
        reasoning_parser: vLLM's parser of this model's thoughts; None where there is none.
        thinking: whether its prompt opens a thought, and whether `enable_thinking` switches that.
        why_no_tools: why functions cannot be offered to it; empty where they can.
    """

    tool_parser: str | None = None
    reasoning_parser: str | None = None
    thinking: Thinking = "never"
    why_no_tools: str = "the live version was released without a parser of calls"

    def flags(self) -> list[str]:
        """Return the flags vLLM is started with."""
        flags = []
        if self.tool_parser:
            flags += ["--enable-auto-tool-choice", f"--tool-call-parser={self.tool_parser}"]
        if self.reasoning_parser:
            flags.append(f"--reasoning-parser={self.reasoning_parser}")
        if self.reasoning_parser == REASONING_PARSER:
            flags.append(f"--reasoning-parser-plugin={REASONING_PLUGIN}")
        return flags

    def row(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"tool_parser": self.tool_parser, "reasoning_parser": self.reasoning_parser, "thinking": self.thinking,
                "why_no_tools": self.why_no_tools}  # fmt: skip

    @classmethod
    def of_row(cls, row: Mapping[str, Any] | None) -> "Abilities":
        """Return the abilities in a JSON value; plain text alone where there is none."""
        return cls(**row) if row else PLAIN


#: A model that is asked in text and answers in text.
PLAIN = Abilities()


def abilities_of(model: Path) -> Abilities:
    """Return what the model in a folder can do, by what its chat template writes.

    Raises:
        DataContractError: its tokenizer cannot be used.
    """
    has_template = any((model / name).is_file() for name in ("chat_template.jinja", "tokenizer_config.json"))
    if not has_template or not chat_template_text(model):
        return PLAIN
    tokenizer = load_tokenizer(model)
    parser, why = _tool_parser(tokenizer)
    return Abilities(parser, REASONING_PARSER, _thinking(tokenizer), why)


def _tool_parser(tokenizer: Any) -> tuple[str | None, str]:
    """Return the parser of a model's calls, or None and why there is none."""
    if not offers_tools(tokenizer):
        return None, "the chat template of the live model does not tell it about tools"
    written = written_call(tokenizer)
    if not written:
        return None, "the chat template of the live model does not write calls"
    found = next((parser for form, parser in TOOL_PARSERS.items() if form in written), None)
    return found, "" if found else "no parser is known for the way the live model writes calls"


def _thinking(tokenizer: Any) -> Thinking:
    """Return whether the prompt opens a thought, or a setting of the template decides."""
    if switches_thinking(tokenizer):
        return "switched"
    question = [{"role": "user", "content": "?"}]
    asked = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    return "always" if thought_opened(asked) else "never"
