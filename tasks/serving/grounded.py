"""Chats answered from documents: who asks for it, what the model is shown, and what of its answer a caller is told.

The record has the passages' ids and the index's name, never their texts: what was asked is the caller's own words, and
the index that the ids lead to is kept by its digest.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from aiohttp import web

from tasks.core.errors import DataContractError, TunegateError
from tasks.core.layout import INDEX
from tasks.core.manifest import MANIFEST
from tasks.core.params.retrieval import GroundedParams
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.retrieval.grounding import (
    Grounds,
    Searchable,
    Settled,
    find_grounds,
    grounded_messages,
    nothing_found,
    settle,
)
from tasks.retrieval.index import read_index
from tasks.retrieval.passages import sentences
from tasks.serving.admission import Admitted, unavailable
from tasks.serving.answers import broken_off
from tasks.serving.api.refusal import bad, unsupported
from tasks.serving.audit import AuditLog
from tasks.serving.exchange import BROKEN_OFF, EVENT_END, Another, Exchange, Place
from tasks.serving.keys import ApiKey

log = logging.getLogger(__name__)

HEADER = "x-tunegate-grounded"
#: Behind a model's name: it is asked for documents.
SUFFIX = ":grounded"
#: Fields whose answer is no text that could be held to passages, or several of them, and what they are when not asked.
_NOT_BESIDE: dict[str, Any] = {"tools": [], "response_format": None, "logprobs": False, "n": 1}
_MODE, _HINT = "serve.grounded.mode", "ask without it"


class Documents:
    """The index on disk as it is now: read when it is asked for, and again when another one took its place.

    Args:
        read: reads and checks it.
        stamp: changes when it does; None where there is none.
    """

    def __init__(self, read: Callable[[], Searchable], stamp: Callable[[], Any]) -> None:
        self._read, self._stamp = read, stamp
        self._index: Searchable | None = None
        self._seen: Any = None
        self._reading = asyncio.Lock()

    @property
    def there(self) -> bool:
        """Whether there is an index to read."""
        return self._index is not None or self._stamp() is not None

    async def index(self) -> Searchable:
        """Return the index.

        Raises:
            Refusal: 503, there is none that can be used.
        """
        async with self._reading:
            stamp = self._stamp()
            if stamp is not None and stamp != self._seen:
                try:
                    self._index, self._seen = await asyncio.to_thread(self._read), stamp
                    log.info("grounded: index %s", self._index.lineage_id)
                except TunegateError as error:
                    # A build may be under way: the one that was read still answers.
                    log.error("grounded: %s", error)
            if self._index is None:
                raise unavailable("no_documents", "no index of documents can be used here: tunegate index build")
            return self._index


class Grounding:
    """Decides which chats are answered from documents, and finds the passages for them.

    Args:
        params: section `serve.grounded`; None: none ever is.
        documents: what is searched.
    """

    def __init__(self, params: GroundedParams | None = None, documents: Documents | None = None) -> None:
        self.params, self._documents = params, documents

    def names_of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names under which a version is asked for documents; none where it cannot be."""
        offered = self.params and self.params.mode != "never" and self._documents and self._documents.there
        return tuple(f"{name}{SUFFIX}" for name in names) if offered else ()

    async def of(self, request: web.Request, key: ApiKey, admitted: Admitted) -> tuple[Admitted, "Grounded | None"]:
        """Return a request as the model is asked, and what it is held to; None where it is not from documents.

        Raises:
            Refusal: 400 where it cannot be answered from documents, or must be and asks not to; 503 where there are
                none, or the embedding model does not answer.
        """
        wanted, name = _asked_for(request, admitted)
        admitted = replace(admitted, model=name)
        if not self._is_due(wanted, key):
            return admitted, None
        _require_chat(admitted)
        assert self.params is not None
        assert self._documents is not None
        index, started = await self._documents.index(), time.perf_counter()
        try:
            messages = admitted.payload["messages"]
            grounds = await asyncio.to_thread(find_grounds, index, messages, self.params)
        except TunegateError as error:
            log.error("grounded: %s", error)
            raise unavailable("no_documents", "the documents cannot be searched at the moment") from error
        log.debug("grounded: %d passages in %.1f ms", len(grounds.hits), (time.perf_counter() - started) * 1000)
        payload = {one: value for one, value in admitted.payload.items() if one not in ("stream", "stream_options")}
        if grounds.hits:
            payload["messages"] = grounded_messages(grounds, messages)
        grounded = Grounded(grounds, self.params, admitted.stream, admitted.usage_asked)
        return replace(admitted, payload=payload, stream=False), grounded

    def _is_due(self, wanted: bool | None, key: ApiKey) -> bool:
        """Return whether a request is answered from documents.

        Raises:
            Refusal: 400, it asks for what is not to be had here.
        """
        mode = self.params.mode if self.params else "never"
        if wanted and mode == "never":
            raise bad(f"answers from documents are switched off here ({_MODE}): {_HINT}", "model", "not_grounded")
        if mode != "always" or key.role == "evaluator":
            # An evaluator measures the model itself, and says so where it does not.
            return bool(wanted)
        if wanted is False:
            raise bad(f"this gateway answers from documents alone ({_MODE})", HEADER, "grounded_only")
        return True


@dataclass(frozen=True)
class Grounded:
    """One request's grounds, and in which form its answer goes out.

    Args:
        stream: whether the caller asked for a stream; the model is always asked for the whole answer, to be checked.
        usage_asked: whether it asked for a usage chunk at its end.
    """

    grounds: Grounds
    params: GroundedParams
    stream: bool
    usage_asked: bool

    def exchange(self, session: aiohttp.ClientSession, audit: AuditLog, place: Place, facts: dict[str, Any],
                 another: Another, context_tokens: int) -> "GroundedExchange":  # fmt: skip
        """Return the exchange of this request; with it the passages' names are recorded, and no text of theirs."""
        passages = [passage.id for passage in self.grounds.passages]
        names = {"index": self.grounds.index.lineage_id, "passages": passages, "stream": self.stream}
        found = GroundedExchange(session, audit, place, facts | {"grounded": names}, another, context_tokens)
        found.grounded = self
        return found


class GroundedExchange(Exchange):
    """An exchange whose answer is checked before the caller gets any of it."""

    grounded: Grounded
    settled: Settled | None = None

    async def _once(self, request: web.Request, recorded: "asyncio.Future[bool]") -> web.StreamResponse:
        """Ask as any exchange does; where nothing was found the model is not asked at all."""
        if self.grounded.grounds.hits:
            return await super()._once(request, recorded)
        if not await recorded:
            raise unavailable("audit_unavailable", "the request could not be recorded, so it is not answered")
        self.prompt_tokens = self.completion_tokens = 0
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        answer = {
            "id": f"chatcmpl-{self.headers['x-request-id']}", "object": "chat.completion", "created": int(time.time()),
            "model": self.lease.deployment.lineage_id, "usage": usage,
        }  # fmt: skip
        return self._told(answer, nothing_found(self.grounded.grounds), "stop")

    async def _whole(self, upstream: aiohttp.ClientResponse) -> web.Response:
        """Hold a whole answer to its passages and return what the caller is told.

        Raises:
            ServerDisconnectedError: the server was stopped before it had finished.
        """
        body = await upstream.read()
        if broken_off(body):
            raise aiohttp.ServerDisconnectedError(BROKEN_OFF)
        self._read_usage(body)
        try:
            answer = json.loads(body)
            choice = answer["choices"][0]
            said, ending = choice["message"].get("content") or "", choice.get("finish_reason")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._failure(upstream.status, body) from error
        grounds, params = self.grounded.grounds, self.grounded.params
        settled = await asyncio.to_thread(settle, grounds, said, params, cut_off=ending == "length")
        return self._told(answer, settled, ending or "stop")

    def _told(self, answer: dict[str, Any], settled: Settled, ending: str) -> web.Response:
        """Return what the caller is told, whole or as the events of a stream."""
        self.settled, self.status, self.first_at = settled, 200, time.perf_counter()
        grounds = self.grounded.grounds
        # A thought was held to nothing, so nobody is told it.
        message = {"role": "assistant", "content": settled.text}
        ending = "stop" if settled.why else ending
        choice = {"index": 0, "message": message, "finish_reason": ending}
        about = {**self._outcome(), "index": grounds.index.lineage_id, "index_digest": grounds.index.digest,
                 "passages": grounds.shown()}  # fmt: skip
        told: dict[str, Any] = {
            name: answer[name] for name in ("id", "object", "created", "model", "usage") if name in answer
        }
        body = json.dumps(told | {"choices": [choice], "grounded": about}, ensure_ascii=False).encode()
        self._answer = [body]
        if not self.grounded.stream:
            return web.Response(body=body, content_type="application/json", headers=self.headers)
        kind = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        events = b"".join(_events(told, settled.text, about, ending, self.grounded.usage_asked))
        return web.Response(body=events, headers=self.headers | kind)

    def _outcome(self) -> dict[str, Any]:
        """Return what became of the answer, without any text."""
        if self.settled is None:
            return {}
        settled = self.settled
        return {"answered": settled.why is None, "why": settled.why, "quoted": settled.quoted,
                "cited": list(settled.cited), "problems": list(settled.problems)}  # fmt: skip

    def _answered_by(self) -> dict[str, Any]:
        """Return who answered, where it was another, and what the check found."""
        return {**super()._answered_by(), "grounded": self._outcome()}


def grounding_of(project: Project, settings: Settings) -> Grounding:
    """Return what decides about answers from documents.

    Raises:
        DataContractError: every chat is to be answered from documents, and there is no index that can be used.
    """
    params, manifest = settings.serve.grounded, project.root / INDEX / MANIFEST

    def stamp() -> Any:
        """Return what changes when another index takes the place of this one."""
        try:
            found = manifest.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    if params.mode == "always" and stamp() is None:
        raise DataContractError(f"{_MODE} is always, and {manifest.parent} does not exist", "tunegate index build")
    return Grounding(params, Documents(lambda: read_index(project, settings), stamp))


def _asked_for(request: web.Request, admitted: Admitted) -> tuple[bool | None, str]:
    """Return whether a request asks for documents (None: it does not say) and the model's name without our suffix.

    Raises:
        Refusal: 400, the header says neither.
    """
    said = request.headers.get(HEADER)
    if said is not None and said.lower() not in ("true", "false"):
        raise bad(f"the header {HEADER} must be true or false", HEADER)
    by_name = admitted.model.endswith(SUFFIX)
    if by_name and said is not None and said.lower() == "false":
        raise bad(f"the model's name asks for documents and the header {HEADER} does not", HEADER)
    wanted = True if by_name else None if said is None else said.lower() == "true"
    return wanted, admitted.model.removesuffix(SUFFIX)


def _require_chat(admitted: Admitted) -> None:
    """Refuse what no answer from documents can be.

    Raises:
        Refusal: 400, naming the field.
    """
    if admitted.kind != "chat":
        raise unsupported("answers from documents are given on /v1/chat/completions alone", "model")
    for name, neutral in _NOT_BESIDE.items():
        if admitted.payload.get(name, neutral) not in (neutral, None):
            raise unsupported(f"{name} is not offered with answers from documents: leave it out", name)
    if not any(message["role"] == "user" for message in admitted.payload["messages"]):
        raise bad("an answer from documents needs a question: a message of the user", "messages")


def _events(told: dict[str, Any], text: str, about: dict[str, Any], ending: str, usage_asked: bool) -> list[bytes]:
    """Return an answer as the events of a stream, a sentence each; the last of a choice says what it was held to."""
    base = {name: value for name, value in told.items() if name != "usage"} | {"object": "chat.completion.chunk"}
    pieces = _in_sentences(text)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
    chunks = [base | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append(base | {"choices": [{"index": 0, "delta": {}, "finish_reason": ending}], "grounded": about})
    if usage_asked and "usage" in told:
        chunks.append(base | {"choices": [], "usage": told["usage"]})
    lines = [json.dumps(chunk, ensure_ascii=False) for chunk in chunks]
    return [f"data: {line}".encode() + EVENT_END for line in [*lines, "[DONE]"]]


def _in_sentences(text: str) -> list[str]:
    """Return a text in sentences that together are the text."""
    pieces, place = [], 0
    for sentence in sentences(text):
        end = text.index(sentence, place) + len(sentence)
        pieces.append(text[place:end])
        place = end
    return [*pieces, text[place:]] if text[place:] else pieces
