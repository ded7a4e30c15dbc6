"""A chat template of one regular form, found out by rendering it: what stands before and after each role's text.

Ollama renders Go templates, not Jinja. Most templates are regular in plain conversations: a head, a turn for each
message, an opening for the answer. The form is read off three renderings and then held to many more; a template that
is not of it is refused, so that nothing is served in another form than was trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.chat.sequences import common_prefix
from tasks.chat.shapes import built_in
from tasks.chat.template import Message
from tasks.core.errors import DataContractError

ROLES = ("system", "user", "assistant")
#: Texts that no template writes.
_MARKS = {"system": "系统一二三", "user": "用户四五六", "assistant": "助手七八九"}
#: Shapes of conversations that are plain text: calls and thoughts are not written by Ollama's template.
_PLAIN = ("single", "system", "multi_turn", "rare_characters", "short", "long", "whitespace")
HINT = "export gguf instead: llama.cpp renders the model's own template"


@dataclass(frozen=True)
class Form:
    """A regular chat template.

    Args:
        head: before everything, a bos aside.
        turns: role -> (before its text, after its text).
        default_system: the turn that is written where a conversation begins without a system message; "" for none.
        opening: what asks for the assistant's answer.
        trims: whether white space at the ends of a text is cut off.
    """

    head: str
    turns: dict[str, tuple[str, str]]
    default_system: str
    opening: str
    trims: bool = False

    def render(self, messages: Sequence[Message]) -> str:
        """Return a conversation that ends with the user, as the template writes it."""
        written = [self.head, "" if messages[0]["role"] == "system" else self.default_system]
        for message in messages:
            before, after = self.turns[message["role"]]
            written += [before, message["content"].strip() if self.trims else message["content"], after]
        return "".join([*written, self.opening])


def form_of(tokenizer: Any, *, adds_bos: bool) -> Form:
    """Return the form of a tokenizer's chat template.

    Args:
        tokenizer: of the model.
        adds_bos: whether the engine puts the bos in front itself.

    Raises:
        DataContractError: the template is not regular; the message names the conversation that shows it.
    """
    written = _Written(tokenizer, (tokenizer.bos_token or "") if adds_bos else "")
    form = _read_off(written)
    if form is None:
        raise DataContractError("the chat template writes plain messages in no regular form", HINT)
    if not _agrees(form, written, ["single"]):
        raise DataContractError("the chat template does not write the same turn twice alike", HINT)
    trimming = Form(form.head, form.turns, form.default_system, form.opening, trims=True)
    if _agrees(trimming, written, _PLAIN) and not _agrees(form, written, _PLAIN):
        return trimming
    for row_id, messages in _conversations(_PLAIN):
        if (asked := written(messages)) is not None and asked != form.render(messages):
            raise DataContractError(f"the chat template is not regular: conversation {row_id} shows it", HINT)
    return form


class _Written:
    """What the template writes of a conversation, without the bos that the engine adds; None where it refuses it."""

    def __init__(self, tokenizer: Any, bos: str) -> None:
        self.tokenizer, self.bos = tokenizer, bos

    def __call__(self, messages: Sequence[Message], *, opened: bool = True) -> str | None:
        from jinja2.exceptions import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=opened)
        except TemplateError:
            return None
        return str(text).removeprefix(self.bos)


def _read_off(written: _Written) -> Form | None:
    """Return the form that a few renderings show, or None."""
    system, user, answer = ({"role": role, "content": _MARKS[role]} for role in ROLES)
    asked, alone = written([user]), written([user], opened=False)
    several, given = written([user, answer, user], opened=False), written([system, user], opened=False)
    if asked is None or alone is None or several is None or not asked.startswith(alone):
        return None
    first, *rest = several.split(_MARKS["user"])
    if len(rest) != 2 or rest[0].count(_MARKS["assistant"]) != 1:
        return None
    after_user = rest[1]
    before_answer, _, joint = rest[0].removeprefix(after_user).partition(_MARKS["assistant"])
    # An answer's turn mostly ends as a question's does; where that has no end, their tokens tell.
    closed_alike = bool(after_user) and joint.startswith(after_user) and first.endswith(joint[len(after_user) :])
    before_user = joint[len(after_user) :] if closed_alike else _shared_end(written.tokenizer, joint, first)
    start = first.removesuffix(before_user)
    turns = {"user": (before_user, after_user), "assistant": (before_answer, joint.removesuffix(before_user))}
    opening = asked[len(alone) :]
    if given is None or given.count(_MARKS["system"]) != 1:
        return Form(start, turns, "", opening)
    # What stands before a system message as well is the head; what it takes the place of is the default.
    head = start if given.startswith(start) else ""
    before, _, after = given.split(_MARKS["user"])[0].removesuffix(before_user).partition(_MARKS["system"])
    turns = {"system": (before.removeprefix(head), after), **turns}
    return Form(head, turns, start.removeprefix(head), opening)


def _shared_end(tokenizer: Any, one: str, other: str) -> str:
    """Return the longest text of whole tokens that two texts end with."""
    left, right = (tokenizer.encode(text, add_special_tokens=False) for text in (one, other))
    size = common_prefix(left[::-1], right[::-1])
    shared: str = tokenizer.decode(left[len(left) - size :])
    return shared if one.endswith(shared) and other.endswith(shared) else ""


def _conversations(shapes: Sequence[str]) -> list[tuple[str, list[Message]]]:
    """Return the built-in conversations of some shapes, up to the last question."""
    return [
        (one.row_id, one.messages[:-1])
        for one in built_in()
        if one.shape in shapes and not one.tools and one.messages[-2]["role"] == "user"
    ]


def _agrees(form: Form, written: _Written, shapes: Sequence[str]) -> bool:
    """Tell whether a form writes conversations as the template does."""
    rendered = [(written(messages), form.render(messages)) for _, messages in _conversations(shapes)]
    return all(asked is None or asked == found for asked, found in rendered)


def go_template(form: Form) -> str:
    """Return the Go template (text/template) that writes the form in Ollama.

    Raises:
        DataContractError: a part of it would be read as Go, or would end the Modelfile's quotes.
    """
    parts = [form.head, form.default_system, form.opening, *(part for turn in form.turns.values() for part in turn)]
    if any(sign in part for part in parts for sign in ("{{", "}}", '"""')):
        raise DataContractError("the chat template writes signs that a Go template reads", HINT)
    system = f'{{{{ if ne (index .Messages 0).Role "system" }}}}{form.default_system}{{{{ end }}}}'
    turns = ""
    for role, (before, after) in form.turns.items():
        turns += f'{{{{ {"else if" if turns else "if"} eq .Role "{role}" }}}}{before}{{{{ .Content }}}}{after}'
    body = f"{{{{ range .Messages }}}}{turns}{{{{ end }}}}{{{{ end }}}}"
    return f"{form.head}{system if form.default_system else ''}{body}{form.opening}"
