"""The conformance suite against the real llama.cpp, as it is and with one answer spoiled on the way."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tasks.chat.template import render
from tasks.chat.tokenizer import load_tokenizer
from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.engine.conformance.subject import Subject
from tasks.engine.conformance.suite import check_engine
from tasks.engine.drivers.llamacpp import LlamaCpp
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, FINGERPRINT_TOKENS
from tasks.engine.spans import opening_ids
from tasks.export.gguf_file import write_gguf
from tasks.export.kernels import Kernels
from tests.llamacpp import llamacpp_python, served
from tests.unit.families import write_family

pytestmark = pytest.mark.slow

Spoil = Callable[[str, dict[str, Any]], None]


class Between:
    """A proxy before a server that changes JSON answers: the faults that the checks are for."""

    def __init__(self, upstream: str, port: int) -> None:
        self.upstream, self.port, self.url = upstream, port, f"http://127.0.0.1:{port}"
        self.spoil: Spoil = lambda path, answer: None
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.ready.wait(20)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._start())
        self.ready.set()
        self.loop.run_forever()
        self.loop.run_until_complete(self.runner.cleanup())
        self.loop.run_until_complete(self.session.close())
        self.loop.close()

    async def _start(self) -> None:
        self.session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def _pass(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"Content-Type": "application/json"}
        async with self.session.request(
            request.method, self.upstream + request.path, data=body, headers=headers
        ) as got:
            said = await got.read()
            kind = got.headers.get("Content-Type", "")
            if kind.startswith("application/json"):
                value = json.loads(said)
                self.spoil(request.path, value)
                said = json.dumps(value).encode()
            elif "event-stream" in kind:
                events = {"events": said.decode().split("\n\n")}
                self.spoil("stream", events)
                said = "\n\n".join(events["events"]).encode()
            return web.Response(body=said, status=got.status, headers={"Content-Type": kind})


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A tiny Qwen 3 and its greedy answers by transformers, under the name of the hop that llama.cpp is held to."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = write_family("qwen3", tmp_path_factory.mktemp("subject") / "model", model=True)
    tokenizer = load_tokenizer(folder)
    opening = opening_ids(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answers = []
    for text in FINGERPRINT_PROMPTS:
        ids = render(tokenizer, [{"role": "user", "content": text}], True) + opening
        for _ in range(FINGERPRINT_TOKENS):
            with torch.inference_mode():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        answers.append(ids[-FINGERPRINT_TOKENS:])
    write_gguf(folder, folder / "model.gguf", "f16", {}, Kernels(llamacpp_python()))
    return folder, Subject(tokenizer, opening, {"merged": answers, "base": [ids[::-1] for ids in answers]})


@pytest.fixture(scope="module")
def between(subject, free_ports):
    """llama.cpp over the tiny model, with the proxy before it."""
    folder, _ = subject
    first, second = free_ports(2)
    with served(folder / "model.gguf", first, "tg-tiny") as server:
        proxy = Between(server.url, second)
        yield proxy
        proxy.close()


@pytest.fixture(autouse=True)
def unspoiled(request):
    if "between" in request.fixturenames:
        request.getfixturevalue("between").spoil = lambda path, answer: None


def found(between, subject, **options):
    return {one.check: one for one in check_engine(between.url, subject[1], **options).findings}


def test_llama_cpp_may_serve_and_not_evaluate(between, subject):
    conformance = check_engine(between.url, subject[1])
    failed = [one for one in conformance.findings if one.held is False]
    assert not failed, failed
    row = conformance.row()
    assert (row["engine"], row["model"]) == ("llamacpp", "tg-tiny")
    assert row["may"] == {"serving": True, "evaluation": False}
    assert row["because"]["evaluation"][0] == "scores: it has no log-probabilities of a prompt"
    held = {one.check for one in conformance.findings if one.held}
    assert held >= {"answer", "tokens", "template", "fingerprint", "stop strings", "stream", "length"}


def _choices(**message: object) -> Spoil:
    def spoil(path: str, answer: dict[str, Any]) -> None:
        if path.endswith("chat/completions") and "choices" in answer:
            answer["choices"][0]["message"] |= message

    return spoil


def _set(route: str, **values: object) -> Spoil:
    def spoil(path: str, answer: dict[str, Any]) -> None:
        if path == route:
            answer |= values

    return spoil


def _finish(reason: str) -> Spoil:
    def spoil(path: str, answer: dict[str, Any]) -> None:
        if path.endswith("chat/completions") and "choices" in answer:
            answer["choices"][0]["finish_reason"] = reason

    return spoil


def _tokens(path: str, answer: dict[str, Any]) -> None:
    if path == "/tokenize" and answer["tokens"]:
        answer["tokens"][-1] += 1


def _no_done(path: str, answer: dict[str, Any]) -> None:
    if path == "stream":
        answer["events"] = [event for event in answer["events"] if "[DONE]" not in event]


def _in_one_piece(path: str, answer: dict[str, Any]) -> None:
    if path == "stream":
        answer["events"] = [answer["events"][0], *answer["events"][-3:]]


@pytest.mark.parametrize(
    ("check", "spoil", "use"),
    [
        ("answer", _choices(content=""), "serving"),
        ("answer", _set("/v1/chat/completions", model="gpt-4"), "serving"),
        ("stop strings", _finish("length"), "serving"),
        ("length", _finish("stop"), "serving"),
        ("end of turn", _finish("error"), "serving"),
        ("end of turn", _choices(content="好<|im_end|>"), "serving"),
        ("stream", _no_done, "serving"),
        ("stream", _in_one_piece, "serving"),
        ("tokens", _tokens, "serving"),
        ("template", _set("/apply-template", prompt="<|im_start|>user\n什么<|im_end|>\n"), "serving"),
        ("fingerprint", _set("/completion", tokens=[5] * FINGERPRINT_TOKENS), "serving"),
    ],
)
def test_a_spoiled_answer_is_noticed_by_its_check(between, subject, check, spoil, use):
    between.spoil = spoil
    conformance = check_engine(between.url, subject[1])
    assert next(one for one in conformance.findings if one.check == check).held is False
    assert not conformance.row()["may"][use]


def test_an_answer_that_is_another_the_second_time_is_noticed(between, subject):
    asked = []

    def spoil(path: str, answer: dict[str, Any]) -> None:
        if path.endswith("chat/completions") and "choices" in answer:
            asked.append(path)
            if len(asked) == 2:
                answer["choices"][0]["message"]["content"] += "了"

    between.spoil = spoil
    assert found(between, subject)["same twice"].held is False


def test_the_base_under_the_name_is_not_taken_for_it(between, subject):
    """The floor of a file with fewer bits is low; that the answers are most like the base's is told apart from it."""
    folder, known = subject
    swapped = Subject(
        known.tokenizer, known.opening, {"merged": known.answers["merged"], "base": known.answers["merged"]}
    )
    backwards = Subject(
        known.tokenizer, known.opening, {"base": known.answers["merged"], "merged": known.answers["base"]}
    )
    assert found(between, (folder, backwards))["fingerprint"].held is False
    assert "most like hop base" in found(between, (folder, backwards))["fingerprint"].words
    # Where both answer alike, nothing tells them apart, and the first that is as like counts.
    assert found(between, (folder, swapped))["fingerprint"].held is True


def test_without_evidence_there_is_nothing_to_hold_it_to(between, subject):
    _, known = subject
    conformance = check_engine(between.url, Subject(known.tokenizer, known.opening))
    assert conformance.row()["because"]["serving"] == [
        "fingerprint: no evidence of hop merged to hold it to: tunegate run"
    ]


def test_an_engine_that_is_asked_in_text_alone_is_held_to_its_fingerprint(between, subject):
    """Tiny random weights say no text: the proxy says what the evidence has, and something else."""
    folder, known = subject
    said = "关好门窗，关掉通风，听官方通知。"
    ids = known.tokenizer.encode(said, add_special_tokens=False)[:FINGERPRINT_TOKENS]
    text = known.tokenizer.decode(ids)
    written = Subject(known.tokenizer, [], {"merged": [ids] * len(FINGERPRINT_PROMPTS)})
    for content, held in ((text, True), ("Go inside.", False)):
        between.spoil = _choices(content=content)
        answers = found(between, (folder, written), engine="ollama")
        assert (answers["tokens"].held, answers["fingerprint"].held) == (None, held)
    answers = found(between, subject, engine="ollama")
    assert (answers["fingerprint"].held, "behind an empty thought" in answers["fingerprint"].words) == (None, True)


def test_names_that_are_not_there(between, subject):
    with pytest.raises(ConfigError, match=r"serves tg-tiny, not tg-other"):
        check_engine(between.url, subject[1], model="tg-other")
    between.spoil = lambda path, answer: answer.clear()
    with pytest.raises(DataContractError, match=r"no list of models"):
        check_engine(between.url, subject[1])
    with pytest.raises(TransientError, match=r"does not answer"):
        check_engine("http://127.0.0.1:9", subject[1])


def test_ends_of_turn_are_read_over(between, subject):
    """llama.cpp stops at an end of turn where vLLM can be told not to: the driver asks on behind it."""
    _, known = subject
    prompt = render(known.tokenizer, [{"role": "user", "content": FINGERPRINT_PROMPTS[0]}], True)
    ended = {"asked": 0}

    def spoil(path: str, answer: dict[str, Any]) -> None:
        if path == "/completion":
            ended["asked"] += 1
            answer["tokens"] = answer["tokens"][:3]

    async def ask() -> list[int]:
        async with aiohttp.ClientSession() as session:
            return await LlamaCpp(session, between.url, "tg-tiny").greedy(prompt, 8)

    whole = asyncio.run(ask())
    between.spoil = spoil
    assert asyncio.run(ask()) == whole
    assert ended["asked"] == 3
