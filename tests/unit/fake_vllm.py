"""A tiny real tokenizer, and a fake vLLM: it speaks the routes evaluation uses and can be told to misbehave."""

import asyncio
import json
import threading

import pytest
from aiohttp import web

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(template=TEMPLATE, eos="<|im_end|>", pad="<|endoftext|>"):
    """Return a byte-level tokenizer with single-byte tokens: small, and true for any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(vocabulary)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|im_start|>", eos_token=eos, pad_token=pad, chat_template=template
    )


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def other_tokenizer():
    """Return the function that makes tokenizers with a planted fault."""
    return make_tokenizer


class FakeVllm:
    """Answers like vLLM from a rule instead of a model: token t has log-probability -(1 + t % 7), token 3 is the top.

    Args:
        tokenizer: for /tokenize.
        fault: what to do wrong (see `completions`).
    """

    def __init__(self, tokenizer, fault=None):
        self.tokenizer, self.fault = tokenizer, fault
        self.requests = []
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *error):
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        self.ready.set()
        self.loop.run_forever()

    async def _start(self):
        app = web.Application()
        app.router.add_post("/v1/completions", self.completions)
        app.router.add_post("/tokenize", self.tokenize)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"

    @staticmethod
    def logprob(token):
        return -(1.0 + token % 7)

    async def tokenize(self, request):
        body = await request.json()
        messages = body["messages"]
        for call in (call["function"] for message in messages for call in message.get("tool_calls", [])):
            call["arguments"] = json.loads(call["arguments"])  # as vLLM hands them to the template
        for message in messages:
            thought = message.get("reasoning")
            message |= {"reasoning_content": thought} if thought is not None else {}
        text = self.tokenizer.apply_chat_template(
            messages,
            tools=body.get("tools"),
            tokenize=False,
            add_generation_prompt=body["add_generation_prompt"],
            **body.get("chat_template_kwargs", {}),
        )
        return web.json_response({"tokens": self.tokenizer.encode(text, add_special_tokens=False)})

    async def completions(self, request):
        body = await request.json()
        self.requests.append(body)
        if self.fault == "busy twice" and len(self.requests) <= 2:
            return web.json_response({"error": {"message": "busy"}}, status=503)
        if self.fault == "dies after two" and len(self.requests) > 2:
            request.transport.close()
            return web.Response()
        if self.fault == "too long":
            return web.json_response({"error": {"message": "maximum context length is 8 tokens"}}, status=400)
        if self.fault == "NaN in JSON encoder":
            return web.json_response({"error": {"message": "Out of range float values"}}, status=500)
        choice = {"index": 0, "text": "好的", "logprobs": None, "token_ids": [5, 6], "finish_reason": "stop"}
        if self.fault == "never stops":
            choice["finish_reason"] = "length"
        if "prompt_logprobs" in body and self.fault != "no prompt logprobs":
            choice["prompt_logprobs"] = [None] + [self._position(token) for token in body["prompt"][1:]]
        if "logprob_token_ids" in body and self.fault != "no choice logprobs":
            top = {f"token_id:{token}": self._value(token) for token in body["logprob_token_ids"]}
            choice["logprobs"] = {"tokens": ["token_id:3"], "top_logprobs": [top]}
        return web.Response(text=json.dumps({"choices": [choice]}), content_type="application/json")

    def _value(self, token):
        return {"NaN": float("nan"), "minus infinity": -9999.0, "null": None}.get(self.fault, self.logprob(token))

    def _position(self, token):
        values = {"3": {"logprob": -0.5, "rank": 1}}
        return values | {str(token): {"logprob": self._value(token), "rank": 1 if token == 3 else 2}}


@pytest.fixture
def fake_vllm(tokenizer):
    """Return a function that starts a fake vLLM with a fault; all are stopped at the end."""
    started = []

    def start(fault=None):
        server = FakeVllm(tokenizer, fault)
        server.__enter__()
        started.append(server)
        return server

    yield start
    for server in started:
        server.__exit__()
