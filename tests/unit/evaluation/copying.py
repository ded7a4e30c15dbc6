"""Servers whose model continues a text said twice: vLLM itself, and the gateway in front of it. Faults are planted."""

import json
import math
import threading

from aiohttp import web

from tasks.serving.admission import Caps, Refusal, admit
from tests.unit.fake_vllm import FakeVllm

#: Tokens (bytes here) compared at most.
LONGEST_MATCH = 24
LIKELY, UNLIKELY = math.log(0.9), math.log(1e-4)


class CopyingVllm(FakeVllm):
    """A server whose model continues as the longest earlier match of its last tokens went on."""

    def following(self, ids):
        """Return the token after the longest earlier match of the end of `ids`; the first token where none matches."""
        text = "".join(map(chr, ids))
        for length in range(min(LONGEST_MATCH, len(ids) - 1), 0, -1):
            place = text.rfind(text[-length:], 0, len(text) - 1)
            if place >= 0:
                return ids[place + length]
        return ids[0]

    def token_logprob(self, before, token, body):
        """Return a token's log-probability given those before it, as the planted fault has it."""
        if self.fault == "chance":
            return -math.log(259)
        likely = token == self.following(before)
        value = LIKELY if likely else UNLIKELY
        if self.fault == "forgetful":
            value = -2.0 - 0.001 * (token % 5)
        if self.fault == "processed":
            value += 2.0 * (str(token) in body.get("logit_bias", {})) - (0.5 if body.get("logit_bias") else 0)
        if self.fault == "two scales" and "logprob_token_ids" in body:
            value *= 4
        if self.fault == "logits":
            value = -0.1
        return value

    def position(self, before, token, body):
        """Return one entry of prompt_logprobs."""
        top = self.following(before)
        ranked = {str(top): {"logprob": self.token_logprob(before, top, body), "rank": 1}}
        value = {"logprob": self.token_logprob(before, token, body), "rank": 1 if token == top else 2}
        return ranked | {str(token): value}

    async def completions(self, request):
        """Answer as vLLM does, or with the planted fault."""
        body = await request.json()
        self.requests.append(body)
        ids = body["prompt"]
        choice = {"index": 0, "text": "", "logprobs": None, "token_ids": self.generated(ids, body["max_tokens"])}
        if "prompt_logprobs" in body and self.fault != "no prompt logprobs":
            choice["prompt_logprobs"] = [None] + [
                self.position(ids[:place], ids[place], body) for place in range(1, len(ids))
            ]
        if "logprob_token_ids" in body:
            top = {f"token_id:{token}": self.token_logprob(ids, token, body) for token in body["logprob_token_ids"]}
            choice["logprobs"] = {"tokens": [f"token_id:{self.following(ids)}"], "top_logprobs": [top]}
        name = "base" if self.fault == "wrong model" else body["model"]
        return web.Response(text=json.dumps({"model": name, "choices": [choice]}), content_type="application/json")

    def generated(self, ids, length):
        """Return the greedy continuation."""
        found = list(ids)
        for _ in range(length):
            found.append(17 if self.fault == "another sampler" else self.following(found))
        return found[len(ids) :][: 2 if self.fault == "cut short" else length]


class CopyingGateway(CopyingVllm):
    """The live endpoint in front of such a model: text in, text out, only what the real gateway's allow-list passes.

    Args:
        tokenizer: of the model that is live.
        fault: what to do wrong, beside those of the model.
        dies_after: requests after which connections are cut.
    """

    def __init__(self, tokenizer, fault=None, *, lineage_id="tg-live", dies_after=None, narrow=False):
        super().__init__(tokenizer, fault)
        self.lineage_id, self.dies_after, self.narrow = lineage_id, dies_after, narrow
        self.lock = threading.Lock()

    async def _start(self):
        app = web.Application()
        app.router.add_post("/v1/completions", self.completion)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/v1/models", self.models)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    async def models(self, request):
        return web.json_response({"data": []}, headers={"x-tunegate-lineage": self.lineage_id})

    async def completion(self, request):
        return await self.answered(request, "completion")

    async def chat(self, request):
        return await self.answered(request, "chat")

    async def answered(self, request, kind):
        """Answer a request that the real gateway would pass on; refuse every other."""
        self.requests.append(await request.json())
        if self.dies_after is not None and len(self.requests) > self.dies_after:
            request.transport.close()
            return web.Response()
        if request.headers.get("Authorization") != "Bearer tg_good":
            return web.json_response({"error": {"message": "this key is not known here"}}, status=401)
        if self.fault == "rate limit" and len(self.requests) % 3 == 1:
            return web.json_response({"error": {"message": "over"}}, status=429, headers={"Retry-After": "0"})
        try:
            admitted = admit(kind, await request.read(), Caps(512, 1))
        except Refusal as refusal:
            return web.Response(status=refusal.status, body=refusal.body(), content_type="application/json")
        if admitted.model != self.lineage_id:
            return web.json_response({"error": {"message": f"{admitted.model} is not served"}}, status=404)
        live = "tg-next" if self.fault == "swap" and len(self.requests) > 3 else self.lineage_id
        value = self.chatted(admitted.payload) if kind == "chat" else self.completed(admitted.payload)
        text = json.dumps({"model": live, "choices": [value]})
        return web.Response(text=text, content_type="application/json", headers={"x-tunegate-lineage": live})

    def chatted(self, body):
        """Return the choice of a chat, in the template of the server."""
        text = self.tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        answer = self.tokenizer.decode(self.generated(ids, body["max_tokens"]), skip_special_tokens=True)
        return {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": answer}}

    def completed(self, body):
        """Return the choice of a completion, with log-probabilities as the OpenAI API has them."""
        ids = self.tokenizer.encode(body["prompt"]) + ([5] if self.fault == "other tokenizer" else [])
        answer = self.generated(ids, body["max_tokens"])
        choice = {
            "index": 0,
            "finish_reason": "length",
            "text": self.tokenizer.decode(answer, skip_special_tokens=True),
        }
        if "logprobs" in body and self.fault != "no logprobs":
            shown = [*(ids if body.get("echo") else []), *answer]
            start = 0 if body.get("echo") else len(ids)
            whole = [*ids, *answer]
            places = range(start, start + len(shown))
            choice["logprobs"] = {
                "tokens": [self.tokenizer.decode([token]) for token in shown],
                "token_logprobs": [self.token_logprob(whole[:at], whole[at], body) if at else None for at in places],
                "top_logprobs": [self.tops(whole[:at], whole[at], body) if at else None for at in places],
            }
        return choice

    def tops(self, before, token, body):
        """Return the likeliest tokens and the actual one by name; only the likeliest where the server is narrow."""
        tokens = [self.following(before), token]
        if body["logprobs"] > 1 and not self.narrow:
            tokens += [self.tokenizer.encode(letter)[0] for letter in "ABCD0123456789 ,."]
        return {self.tokenizer.decode([one]): self.token_logprob(before, one, body) for one in tokens}
