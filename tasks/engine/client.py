"""HTTP to a vLLM server: many requests at once, retries for what may pass, answers kept so that a restart continues."""

import asyncio
import json
import logging
import math
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

from tasks.core.digest import sha256_json
from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.core.progress import Progress

log = logging.getLogger(__name__)

#: Answers a busy or restarting server gives; anything else says something about the request.
TRANSIENT_STATUS = frozenset({429, 502, 503, 504})
RETRY_AFTER_S = (0.5, 1.0, 2.0, 4.0)
REQUEST_TIMEOUT_S = 600.0
#: vLLM writes -9999 where a log-probability is minus infinity.
LEAST_LOGPROB = -9000.0
LOST_HINT = "run again: answers already received are kept"


@dataclass(frozen=True)
class Query:
    """One request and how to read its answer.

    Args:
        path: route below the server's URL.
        body: JSON body without `model`.
        read: turns the answer into the (small, JSON) value that is kept; raises DataContractError on a bad answer.
        what: names the item in error messages.
    """

    path: str
    body: dict[str, Any]
    read: Callable[[dict[str, Any]], Any]
    what: str


class AnswerCache:
    """Values already received, one JSON line each: appended at once, read again at the next start.

    Args:
        path: the file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.values: dict[str, Any] = dict(_read_answers(path)) if path and path.is_file() else {}
        self._stream = path.open("a", encoding="utf-8") if path else None

    def __enter__(self) -> "AnswerCache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream:
            self._stream.close()

    def add(self, key: str, value: Any) -> None:
        """Keep one value."""
        self.values[key] = value
        if self._stream:
            # The line starts with its newline: a half line of a killed run cannot swallow the next one.
            self._stream.write("\n" + json.dumps({"key": key, "value": value}, allow_nan=False))
            self._stream.flush()


class ServedClient:
    """Ask one vLLM server, up to `concurrency` requests at a time.

    Args:
        url: base URL without /v1.
        model: the name the server serves under.
        model_digest: what the answers depend on; part of the cache key.
        concurrency: requests in flight.
        cache: where answers are kept.
        alive: says whether the server's process still runs.
        api_key: sent as a bearer token; None for a server of our own.
        token_route: whether the server was started with `queries.TOKENS_FLAG`.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        model_digest: str,
        concurrency: int,
        cache: AnswerCache,
        alive: Callable[[], bool] = lambda: True,
        api_key: str | None = None,
        token_route: bool = False,
    ) -> None:
        self.token_route = token_route
        self.url, self.model, self.model_digest = url, model, model_digest
        self.concurrency, self.cache, self.alive = concurrency, cache, alive
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def ask(self, queries: list[Query], what: str) -> list[Any]:
        """Return the value of each query, in order; known ones are not asked again.

        Args:
            queries: what to ask.
            what: name of the whole in the progress line.

        Raises:
            TransientError: the server is lost.
            ConfigError: the server refuses a request (400): the item does not fit the model's context.
            DataContractError: an answer lacks what was asked for, or holds a number that is not finite.
        """
        keys = [sha256_json([self.model_digest, query.path, query.body]) for query in queries]
        open_queries = {key: query for key, query in zip(keys, queries, strict=True) if key not in self.cache.values}
        total = len(set(keys))
        if open_queries:
            progress = Progress(log, what, total, "requests", done=total - len(open_queries))
            asyncio.run(self._ask_all(open_queries, progress))
        return [self.cache.values[key] for key in keys]

    def version(self) -> str:
        """Return the server's own version.

        Raises:
            TransientError: the server is lost.
        """
        try:
            with urllib.request.urlopen(f"{self.url}/version", timeout=10) as answer:
                return str(json.load(answer)["version"])
        except (OSError, ValueError, KeyError) as error:
            raise TransientError(
                f"the vLLM server at {self.url} does not tell its version: {error}", LOST_HINT
            ) from error

    async def _ask_all(self, queries: dict[str, Query], progress: Progress) -> None:
        """Send every query; the first error ends the rest, what was received stays in the cache."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        waiting = iter(queries.items())
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            workers = [self._work(session, waiting, progress) for _ in range(min(self.concurrency, len(queries)))]
            tasks = [asyncio.ensure_future(worker) for worker in workers]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(
        self, session: aiohttp.ClientSession, waiting: Iterable[tuple[str, Query]], progress: Progress
    ) -> None:
        """Send the next waiting query until none is left."""
        for key, query in waiting:
            self.cache.add(key, query.read(await self._post(session, query)))
            progress.advance()

    async def _post(self, session: aiohttp.ClientSession, query: Query) -> dict[str, Any]:
        """Return one answer; connection losses and busy answers are tried again a few times."""
        lost = ""
        for pause in (*RETRY_AFTER_S, None):
            try:
                async with session.post(self.url + query.path, json={"model": self.model, **query.body}) as answer:
                    text = await answer.text()
                    if answer.status == 200:
                        return _parse(text, query)
                    lost = f"HTTP {answer.status}: {text[:300]}"
                    if answer.status not in TRANSIENT_STATUS:
                        raise _refused(answer.status, text, query)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError) as error:
                lost = f"{type(error).__name__}: {error}"
            if pause is None or not self.alive():
                break
            await asyncio.sleep(pause)
        raise TransientError(f"the vLLM server at {self.url} is lost ({query.what}): {lost}", LOST_HINT)


def finite(value: Any, what: str) -> float:
    """Return a log-probability.

    Raises:
        DataContractError: it is missing or not a finite number; it never becomes a zero.
    """
    usable = isinstance(value, int | float) and math.isfinite(value) and LEAST_LOGPROB < value <= 1e-3
    if not usable or isinstance(value, bool):
        raise DataContractError(
            f"{what}: the server gave no usable log-probability ({value!r})",
            "look for NaN weights in the model, and for a server that does not return prompt log-probabilities",
        )
    return float(value)


def _parse(text: str, query: Query) -> dict[str, Any]:
    """Return an answer's JSON object; NaN stays visible to `finite`."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataContractError(f"{query.what}: the server's answer is not JSON: {error}", "read vLLM's log") from error
    if not isinstance(value, dict):
        raise DataContractError(f"{query.what}: the server's answer is no JSON object", "read vLLM's log")
    return value


def _refused(status: int, text: str, query: Query) -> Exception:
    """Return the error for an answer that will be the same next time."""
    if "Out of range float" in text:
        # Starlette's JSON encoder refuses NaN and infinity.
        return DataContractError(f"{query.what}: the server computed a NaN", "look for NaN weights in the model")
    if status == 400:
        return ConfigError(
            f"{query.what}: the server refuses the request: {text[:300]}",
            "if it is too long, raise serve.vllm.max_model_length_tokens",
        )
    if status in (401, 403):
        return ConfigError(
            f"{query.what}: the server refuses the API key (HTTP {status})", "give a key that may ask it"
        )
    return TransientError(f"{query.what}: HTTP {status}: {text[:300]}", "read vLLM's log, then run again")


def _read_answers(path: Path) -> Iterable[tuple[str, Any]]:
    """Yield the kept answers; a line that a kill cut short is asked again."""
    cut = 0
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in filter(str.strip, stream):
            try:
                row = json.loads(line)
                yield row["key"], row["value"]
            except (ValueError, KeyError, TypeError):
                cut += 1
    if cut:
        log.warning("%s: %d line(s) cut short; asking again", path, cut)
