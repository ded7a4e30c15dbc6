"""Checks over OpenAI's routes alone: every engine can be asked these."""

import json
from typing import Any

import aiohttp

from tasks.chat.template import PROBE, offers_tools
from tasks.engine.conformance.findings import Finding

QUESTION = [{"role": "user", "content": "隐蔽时应注意什么？请分点说明。"}]
CHAT = "/v1/chat/completions"
TOKENS = 24


class OpenAiChecks:
    """Checks of one server.

    Args:
        session: that carries the token, if there is one.
        url: base URL without /v1.
        model: the name it serves.
        tokenizer: of the model.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str, tokenizer: Any) -> None:
        self.session, self.url, self.model, self.tokenizer = session, url, model, tokenizer
        self.said = ""

    async def run(self) -> list[Finding]:
        """Return a finding for each check."""
        first = await self._answer()
        if not first.held:
            rest = ("same twice", "length", "stop strings", "end of turn", "stream", "tools")
            return [first, *(Finding(name, None, "not asked: it does not answer") for name in rest)]
        checks = (self._same_twice, self._length, self._stop, self._ending, self._stream, self._tools)
        return [first, *[await check() for check in checks]]

    async def _answer(self) -> Finding:
        """Ask a Chinese question greedily."""
        status, value = await self._chat({})
        choice = _choice(value)
        self.said = str((choice.get("message") or {}).get("content") or "")
        if status != 200 or not self.said:
            return Finding("answer", False, f"HTTP {status}, content {self.said!r}")
        if value.get("model") != self.model:
            return Finding("answer", False, f"answered as {value.get('model')!r}, not as {self.model}")
        return Finding("answer", True, f"{len(self.said)} characters under the name that was asked")

    async def _same_twice(self) -> Finding:
        """Ask the same greedily again."""
        _, value = await self._chat({})
        again = (_choice(value).get("message") or {}).get("content")
        return Finding("same twice", again == self.said, "a greedy answer is the same again" if again == self.said
                       else f"{again!r} after {self.said!r}")  # fmt: skip

    async def _length(self) -> Finding:
        """Ask for fewer tokens than the answer has."""
        _, value = await self._chat({"max_tokens": 4})
        reason, counted = _choice(value).get("finish_reason"), (value.get("usage") or {}).get("completion_tokens")
        held = reason == "length" and counted == 4
        return Finding("length", held, f"4 tokens asked: {counted} counted, ended by {reason!r}")

    async def _stop(self) -> Finding:
        """Ask for an end before a text that stands in the answer."""
        middle = self.said[len(self.said) // 2 :][:2]
        _, value = await self._chat({"stop": [middle]})
        found, reason = (_choice(value).get("message") or {}).get("content"), _choice(value).get("finish_reason")
        held = found == self.said.partition(middle)[0] and reason == "stop"
        return Finding("stop strings", held, f"ended by {reason!r}" + ("" if held else f" with {found!r}"))

    async def _ending(self) -> Finding:
        """Ask for an answer that is told to be short: its end of turn must end it and not be shown."""
        eos = str(self.tokenizer.eos_token)
        _, value = await self._chat({"max_tokens": 48, "messages": [{"role": "user", "content": "Say OK."}]})
        content = str((_choice(value).get("message") or {}).get("content"))
        reason = _choice(value).get("finish_reason")
        if reason not in ("stop", "length"):
            return Finding("end of turn", False, f"ended by {reason!r}")
        shown = eos in content
        return Finding(
            "end of turn", not shown, f"{eos} is shown" if shown else f"ended by {reason!r}, {eos} not shown"
        )

    async def _stream(self) -> Finding:
        """Ask for the same answer in pieces, with the count of its tokens."""
        body = self._body({"stream": True, "stream_options": {"include_usage": True}})
        async with self.session.post(f"{self.url}{CHAT}", json=body) as answer:
            lines = [line.decode().strip() async for line in answer.content]
        events = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
        try:
            pieces = [json.loads(event) for event in events if event != "[DONE]"]
        except ValueError:
            return Finding("stream", False, "an event is no JSON")
        text = "".join(str((_choice(piece).get("delta") or {}).get("content") or "") for piece in pieces)
        counted = any((piece.get("usage") or {}).get("completion_tokens") for piece in pieces)
        wrong = [words for words, is_so in (
            ("another text than in one piece", text != self.said), ("no [DONE]", events[-1:] != ["[DONE]"]),
            ("one piece alone", len(pieces) < 3), ("no usage", not counted),
        ) if is_so]  # fmt: skip
        return Finding(
            "stream", not wrong, "; ".join(wrong) or f"{len(pieces)} events, the same text, usage at the end"
        )

    async def _tools(self) -> Finding:
        """Ask for a call that must be made, where the template tells the model about tools."""
        if not offers_tools(self.tokenizer):
            return Finding("tools", None, "not asked: the template does not tell the model about tools")
        tool = {"type": "function", "function": {"name": PROBE, "parameters": {
            "type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}}}  # fmt: skip
        body = {"tools": [tool], "tool_choice": "required", "max_tokens": 128}
        status, value = await self._chat(body)
        calls = (_choice(value).get("message") or {}).get("tool_calls") or []
        if status != 200:
            return Finding("tools", False, f"HTTP {status}")
        names = [((call.get("function") or {}).get("name")) for call in calls]
        if names == [PROBE] or _choice(value).get("finish_reason") == "length":
            return Finding(
                "tools", True, "a call that must be made comes as a call" if names else "cut off in the call"
            )
        return Finding("tools", False, f"a call that must be made came as {names or 'text'}")

    def _body(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Return a request."""
        return {"model": self.model, "messages": QUESTION, "temperature": 0, "max_tokens": TOKENS, **changes}

    async def _chat(self, changes: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON object of an answer."""
        async with self.session.post(f"{self.url}{CHAT}", json=self._body(changes)) as answer:
            try:
                value = await answer.json(content_type=None)
            except ValueError:
                value = {}
            return answer.status, value if isinstance(value, dict) else {}


def _choice(value: dict[str, Any]) -> dict[str, Any]:
    """Return the first choice of an answer; empty where there is none."""
    choices = value.get("choices") or [{}]
    return choices[0] if isinstance(choices[0], dict) else {}
