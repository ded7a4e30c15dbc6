"""A small real HTTP server in vLLM's place, started by the real VllmServer as if it were the serving interpreter.

What it does stands in `behaviour.json` of the model folder: {"crash", "start_s", "name", "answer", "finish_reason",
"token_s", "die_after", "error_after", "abort_after", "fails_on", "swallows", "deaf", "token_ids"}; the last is what it
answers where token ids are asked for, by prompt or for all; `fails_on` a word in a chat that it fails on, `swallows`
that it gives its answer as a thought, `deaf` that it makes no calls.
`answers` has answers by a part of the question; with `keeps` the last request lies in `<model folder>.asked`.
`token` is the bearer token it asks for, `moved` where it sends callers to, `beside` other names that it serves,
`context` the length it names.
While a file `<model folder>.hangs` is there its engine hangs: /health goes on to answer, nothing else does; while
`<model folder>.holds` is there `a slow answer` alone is not given.
The user message `show the request` is answered with the request as it arrived, `show the headers` with its headers, `a
long answer` with 25 MB, `a slow answer` with eighty words; one with seed 2 ends as vLLM's do when it is stopped. Where
tools are offered, a user's message is answered with a call (`both`: two) of what is offered, a form with the least that
fits it.
"""

import argparse
import asyncio
import base64
import json
import os
import struct
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


def flat_pieces_of(call: dict, index: int) -> list[dict]:
    """Return a call of the Responses API as the events of its stream."""
    place, text = {"item_id": call["id"], "output_index": index}, call["arguments"]
    begun = call | {"arguments": "", "status": "in_progress"}
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *({"type": "response.function_call_arguments.delta", **place, "delta": part} for part in (text[:4], text[4:])),
        {"type": "response.function_call_arguments.done", **place, "arguments": text, "name": call["name"]},
        {"type": "response.output_item.done", "output_index": index, "item": call},
    ]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--served-model-name")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--enable-sleep-mode", action="store_true")
    return parser.parse_known_args()[0]


class StandIn:
    def __init__(self, given: argparse.Namespace) -> None:
        self.model = given.model
        self.does = json.loads((given.model / "behaviour.json").read_text())
        self.name = self.does.get("name", given.served_model_name)
        self.generated = 0
        self.asleep, self.sleeps = False, given.enable_sleep_mode and os.environ.get("VLLM_SERVER_DEV_MODE") == "1"
        self.headers: dict[str, str] = {}

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.at_the_door])
        app.router.add_get("/health", self.health)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.completion)
        app.router.add_post("/v1/responses", self.responses)
        app.router.add_post("/v1/embeddings", self.embeddings)
        if self.sleeps:
            app.router.add_post("/sleep", self.sleep)
            app.router.add_post("/wake_up", self.wake_up)
        app.router.add_post("/tokenize", self.tokenize)
        app.router.add_route("*", "/{dangerous:.*}", self.dangerous)
        return app

    @web.middleware
    async def at_the_door(self, request: web.Request, handler) -> web.StreamResponse:
        """What stands before an engine behind a URL: a token, or an ingress that sends callers elsewhere."""
        if (token := self.does.get("token")) and request.headers.get("Authorization") != f"Bearer {token}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        if moved := self.does.get("moved"):
            return web.Response(status=307, headers={"Location": f"{moved}{request.path}"})
        return await handler(request)

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=f'vllm:generation_tokens_total{{engine="0"}} {self.generated}.0\n')

    async def hang(self) -> None:
        """Hang while the file is there, or asleep; a `busy` engine counts tokens of other requests meanwhile."""
        while self.asleep:
            await asyncio.sleep(0.05)
        while (hangs := self.model.with_name(f"{self.model.name}.hangs")).exists():
            self.generated += hangs.read_text() == "busy"
            await asyncio.sleep(0.05)

    async def hold(self, payload: dict) -> None:
        """Hold a slow answer back while the file is there."""
        while "a slow answer" in str(payload) and self.model.with_name(f"{self.model.name}.holds").exists():
            await asyncio.sleep(0.05)

    async def sleep(self, request: web.Request) -> web.Response:
        """`sleeps_badly` and `wakes_badly` in its behaviour fail these."""
        if self.does.get("sleeps_badly"):
            return web.json_response({"error": "planted"}, status=500)
        self.asleep = True
        return web.json_response({"status": "sleeping", "level": int(request.query["level"])})

    async def wake_up(self, request: web.Request) -> web.Response:
        if self.does.get("wakes_badly"):
            return web.json_response({"error": "planted"}, status=500)
        self.asleep = False
        return web.json_response({"status": "awake", "tags": None})

    async def dangerous(self, request: web.Request) -> web.Response:
        return web.Response(text="this route of vLLM must not be reachable")

    async def models(self, request: web.Request) -> web.Response:
        rows = [{"id": name, "object": "model"} for name in (*self.does.get("beside", []), self.name)]
        length = {"max_model_len": self.does["context"]} if "context" in self.does else {}
        return web.json_response({"object": "list", "data": [row | length for row in rows]})

    def words(self, payload: dict) -> list[str]:
        last = payload["messages"][-1]["content"] if "messages" in payload else payload["prompt"]
        for part, answer in self.does.get("answers", {}).items():
            if part in str(last):
                return answer.split()
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
        asked = payload["messages"][-1]["content"] if "messages" in payload else payload["prompt"]
        return web.json_response({"tokens": list(asked.encode()), "count": len(asked.encode())})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, "chat.completion")

    async def completion(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request, "text_completion")

    async def answer(self, request: web.Request, kind: str) -> web.StreamResponse:
        payload = await request.json()
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        if self.does.get("keeps"):
            self.model.with_name(f"{self.model.name}.asked").write_text(json.dumps(payload, ensure_ascii=False))
        await self.hang()
        await self.hold(payload)
        if payload.get("temperature") == 1.5:
            return web.json_response({"error": {"message": "temperature", "code": 400}}, status=400)
        if self.does.get("fails_on", "\0") in str(payload.get("messages")):
            return web.json_response({"error": {"message": "planted"}}, status=500)
        if payload.get("seed") == 400:
            message = "This model's maximum context length is 1024 tokens. However, your prompt contains 1025"
            return web.json_response({"error": {"message": message, "type": "BadRequestError", "param": "input_tokens",
                                                "code": 400}}, status=400)  # fmt: skip
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
        reason = "abort" if payload.get("seed") == 2 else self.does.get("finish_reason", "stop")
        choice = {"index": 0, "finish_reason": reason}
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
                if number == self.does.get("error_after"):
                    # As vLLM says in a stream that its engine is dead.
                    await response.write(b'data: {"error":{"message":"/secret/path","code":500}}\n\n')
                    break
                if number == self.does.get("abort_after"):
                    # As vLLM ends what is under way when it gets SIGTERM.
                    ending = "abort"
                    break
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
        last = (
            {"role": "user", "content": payload["input"]} if isinstance(payload["input"], str) else payload["input"][-1]
        )
        asked = last.get("content")
        text = json.dumps(payload, ensure_ascii=False) if asked == "show the request" else "关好门窗"
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
        item = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        place = {"item_id": "m1", "output_index": 0, "content_index": 0}
        items, deltas = [item], [
            {"type": "response.output_item.added", "output_index": 0, "item": item | {"content": []}},
            {"type": "response.content_part.added", **place, "part": part | {"text": ""}},
            {"type": "response.output_text.delta", **place, "delta": text, "logprobs": []},
        ]  # fmt: skip
        if payload.get("tools") and last.get("role") == "user":
            nested = [{"type": "function", "function": tool} for tool in payload["tools"]]
            calls = calls_of({"messages": [last], "tools": nested})
            items = [{"type": "function_call", "id": f"fc-{call['id']}", "call_id": call["id"], "status": "completed",
                      **call["function"]} for call in calls]  # fmt: skip
            deltas = [event for index, call in enumerate(items) for event in flat_pieces_of(call, index)]
        usage = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12,
                 "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                 "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
        value = {"id": "r1", "object": "response", "created_at": 1, "model": self.name, "status": "completed",
                 "output": items, "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto",
                 "tools": payload.get("tools") or []}  # fmt: skip
        if not payload.get("stream"):
            return web.json_response(value)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        first = {"type": "response.created", "response": value | {"status": "in_progress", "output": []}}
        for number, event in enumerate([first, *deltas, {"type": "response.completed", "response": value}]):
            event["sequence_number"] = number
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        return response

    async def embeddings(self, request: web.Request) -> web.Response:
        """A vector is the text's length, and one; `fails on` a text that has its word."""
        payload = await request.json()
        await self.hang()
        texts = [payload["input"]] if isinstance(payload["input"], str) else payload["input"]
        if any("leave no room" in text for text in texts):
            message = "This model's maximum context length is 512 tokens. However, your prompt contains 513"
            return web.json_response({"error": {"message": message, "type": "BadRequestError", "param": "input_tokens",
                                                "code": 400}}, status=400)  # fmt: skip
        vectors = [[float(len(text)), 1.0][: payload.get("dimensions")] for text in texts]
        if payload.get("encoding_format") == "base64":
            vectors = [base64.b64encode(struct.pack(f"<{len(one)}f", *one)).decode() for one in vectors]
        data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(vectors)]
        tokens = sum(len(text) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"id": "e", "object": "list", "model": self.name, "data": data, "usage": usage})

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
        print(json.dumps({"vllm": True, "cuda": os.environ.get("STAND_IN_CUDA")}))
    else:
        asyncio.run(serve(arguments()))
