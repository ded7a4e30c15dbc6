"""A small real HTTP server in vLLM's place, started by the real VllmServer as if it were the serving interpreter.

What it does stands in `behaviour.json` of the model folder: {"crash", "start_s", "name", "answer", "finish_reason",
"token_s", "die_after", "fails_on", "swallows", "deaf", "token_ids"}; the last is what it answers where token ids are
asked for, by prompt or for all; `fails_on` a word in a chat that it fails on, `swallows` that it gives its answer as a
thought, `deaf` that it makes no calls.
While a file `<model folder>.hangs` is there its engine hangs: /health goes on to answer, nothing else does.
The user message `show the request` is answered with the request as it arrived, `show the headers` with its headers, `a
long answer` with 25 MB, `a slow answer` with eighty words. Where tools are offered, a user's message is answered with a
call (`both`: two) of what is offered, a form with the least that fits it.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from aiohttp import web

#: Fields of vLLM's messages that say nothing.
SAYS_NOTHING = {
    "role": "assistant", "content": None, "refusal": None, "annotations": None, "audio": None, "function_call": None,
    "reasoning": None,
}  # fmt: skip


def least(schema: dict, whole: dict | None = None) -> object:
    """Return a small value that a simple schema accepts."""
    whole = whole or schema
    if "$ref" in schema:
        return least(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: least(part, whole) for name, part in schema.get("properties", {}).items()}
    return {"integer": 20, "number": 20.0, "array": [], "boolean": True, "null": None}.get(schema.get("type"), "室内")


def calls_of(payload: dict) -> list[dict]:
    """Return the calls that answer a chat: of every tool where the user says `both`, else of one."""
    tools, choice = payload.get("tools") or [], payload.get("tool_choice")
    if not tools or choice == "none" or payload["messages"][-1]["role"] != "user":
        return []
    if isinstance(choice, dict):
        tools = [tool for tool in tools if tool["function"]["name"] == choice["function"]["name"]]
    last = json.dumps(payload["messages"][-1]["content"])
    chosen = tools if "both" in last and payload.get("parallel_tool_calls", True) else tools[:1]
    return [
        {"id": f"call-{number}", "type": "function", "function": {
            "name": tool["function"]["name"], "arguments": json.dumps(least(tool["function"].get("parameters") or {})),
        }} for number, tool in enumerate(chosen)
    ]  # fmt: skip


def pieces_of(call: dict, index: int) -> list[dict]:
    """Return a call as the pieces of a stream."""
    name, text = call["function"]["name"], call["function"]["arguments"]
    first = {"index": index, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
    rest = [{"index": index, "function": {"arguments": part}} for part in (text[:4], text[4:])]
    begins = [{"role": "assistant", "content": ""}] if index == 0 else []
    return [*begins, {"tool_calls": [first]}, *({"tool_calls": [part]} for part in rest)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--served-model-name")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    return parser.parse_known_args()[0]


class StandIn:
    def __init__(self, given: argparse.Namespace) -> None:
        self.model = given.model
        self.does = json.loads((given.model / "behaviour.json").read_text())
        self.name = self.does.get("name", given.served_model_name)
        self.generated = 0
        self.headers: dict[str, str] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self.health)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.completion)
        app.router.add_post("/v1/responses", self.responses)
        app.router.add_post("/tokenize", self.tokenize)
        app.router.add_route("*", "/{dangerous:.*}", self.dangerous)
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=f'vllm:generation_tokens_total{{engine="0"}} {self.generated}.0\n')

    async def hang(self) -> None:
        """Hang while the file is there; a `busy` engine counts tokens of other requests meanwhile."""
        while (hangs := self.model.with_name(f"{self.model.name}.hangs")).exists():
            self.generated += hangs.read_text() == "busy"
            await asyncio.sleep(0.05)

    async def dangerous(self, request: web.Request) -> web.Response:
        return web.Response(text="this route of vLLM must not be reachable")

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.name, "object": "model"}]})

    def words(self, payload: dict) -> list[str]:
        last = payload["messages"][-1]["content"] if "messages" in payload else payload["prompt"]
        if "json_schema" in (payload.get("response_format") or {}):
            return [json.dumps(least(payload["response_format"]["json_schema"]["schema"]))]
        if last == "show the request":
            return [json.dumps(payload, ensure_ascii=False)]
        if last == "show the headers":
            return [json.dumps(self.headers)]
        if last == "a long answer":
            return ["y" * 100_000] * 250
        if last == "a slow answer":
            return ["slow"] * 80
        return self.does.get("answer", "碘片 在 照射 前 服用").split()

    def token_ids(self, payload: dict) -> list[int]:
        """Return the planned ids: one list for everything, or one for each prompt."""
        ids = self.does.get("token_ids", [7] * payload["max_tokens"])
        if "messages" in payload:
            asked = payload["messages"][-1]["content"]
        else:
            opening = len(self.does.get("opening", []))
            prompt, given = payload["prompt"][: -opening or None], payload["prompt"][len(payload["prompt"]) - opening :]
            asked = bytes(prompt).decode() if given == self.does.get("opening", []) else "an opening of another model"
        return ids.get(asked, [0]) if isinstance(ids, dict) else ids

    async def tokenize(self, request: web.Request) -> web.Response:
        """A token is a byte."""
        payload = await request.json()
        return web.json_response({"tokens": list(payload["messages"][-1]["content"].encode())})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, "chat.completion")

    async def completion(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, "text_completion")

    async def answer(self, request: web.Request, kind: str) -> web.StreamResponse:
        payload = await request.json()
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        await self.hang()
        if payload.get("temperature", 0) > 2:
            return web.json_response({"error": {"message": "temperature", "code": 400}}, status=400)
        if self.does.get("fails_on", "\0") in str(payload.get("messages")):
            return web.json_response({"error": {"message": "planted"}}, status=500)
        if payload.get("seed") == 500:
            return web.json_response({"error": {"message": "/secret/path"}}, status=500)
        words = self.words(payload)
        usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
        if payload.get("stream"):
            return await self.stream(request, payload, words, usage)
        await asyncio.sleep(self.does.get("token_s", 0) * len(words))
        text = " ".join(words)
        if payload.get("return_token_ids"):
            return web.json_response({"choices": [{"index": 0, "token_ids": self.token_ids(payload)}]})
        choice = {"index": 0, "finish_reason": self.does.get("finish_reason", "stop")}
        message = SAYS_NOTHING | {"reasoning" if self.does.get("swallows") else "content": text}
        if (calls := calls_of(payload)) and not self.does.get("deaf"):
            message, choice["finish_reason"] = SAYS_NOTHING | {"tool_calls": calls}, "tool_calls"
        choice |= {"text": text} if kind == "text_completion" else {"message": message}
        return web.json_response(
            {"id": "x", "object": kind, "created": 1, "model": self.name, "choices": [choice], "usage": usage}
        )

    async def stream(self, request: web.Request, payload: dict, words: list[str], usage: dict) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            calls = calls_of(payload)
            ending = "tool_calls" if calls else "stop"
            for number, call in enumerate(calls):
                for piece in pieces_of(call, number):
                    await self.event(response, {"choices": [{"index": 0, "delta": piece, "finish_reason": None}]})
            for number, word in enumerate([] if calls else words):
                if number == self.does.get("die_after"):
                    os._exit(1)
                delta = {"role": "assistant", "content": word + " "}
                await self.event(response, {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
                await asyncio.sleep(self.does.get("token_s", 0))
            await self.event(response, {"choices": [{"index": 0, "delta": {}, "finish_reason": ending}]})
            if (payload.get("stream_options") or {}).get("include_usage"):
                await self.event(response, {"choices": [], "usage": usage})
            await response.write(b"data: [DONE]\n\n")
        except (ConnectionError, asyncio.CancelledError):
            self.model.with_name(f"{self.model.name}.aborted").write_text("the caller left")
            raise
        return response

    async def responses(self, request: web.Request) -> web.StreamResponse:
        payload = await request.json()
        asked = payload["input"] if isinstance(payload["input"], str) else payload["input"][-1]["content"]
        text = json.dumps(payload, ensure_ascii=False) if asked == "show the request" else "关好门窗"
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
        item = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        usage = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12,
                 "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                 "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
        value = {"id": "r1", "object": "response", "created_at": 1, "model": self.name, "status": "completed",
                 "output": [item], "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto",
                 "tools": []}  # fmt: skip
        if not payload.get("stream"):
            return web.json_response(value)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        place = {"item_id": "m1", "output_index": 0, "content_index": 0}
        events = [
            {"type": "response.created", "response": value | {"status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": item | {"content": []}},
            {"type": "response.content_part.added", **place, "part": part | {"text": ""}},
            {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []},
            {"type": "response.completed", "response": value},
        ]
        for number, event in enumerate(events):
            event["sequence_number"] = number
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        return response

    async def event(self, response: web.StreamResponse, value: dict) -> None:
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": self.name, **value}
        await response.write(f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n".encode())


async def serve(given: argparse.Namespace) -> None:
    stand_in = StandIn(given)
    if stand_in.does.get("crash"):
        sys.exit("(EngineCore pid=7) ERROR 11-21 22:36:20 [core.py:1] ValueError: Available memory is less than asked")
    await asyncio.sleep(stand_in.does.get("start_s", 0))
    runner = web.AppRunner(stand_in.app(), handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, given.host, given.port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if "-c" in sys.argv:
        print(json.dumps({"vllm": True, "cuda": None}))
    else:
        asyncio.run(serve(arguments()))
