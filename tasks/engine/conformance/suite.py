"""The conformance suite: every check of one server."""

import asyncio

import aiohttp

from tasks.core.errors import ConfigError, TransientError
from tasks.engine.access import OWN, Access
from tasks.engine.conformance.findings import Conformance
from tasks.engine.conformance.model_checks import ModelChecks
from tasks.engine.conformance.openai_checks import OpenAiChecks
from tasks.engine.conformance.subject import Subject
from tasks.engine.drivers.known import driver_named, driver_of, served_models

TIMEOUT_S = 120.0


def check_engine(
    url: str, subject: Subject, *, model: str | None = None, engine: str | None = None, access: Access = OWN
) -> Conformance:
    """Ask a server everything, and return what it may be used for.

    Args:
        url: base URL without /v1.
        subject: the model it should be.
        model: the name it serves; may be left out where it serves one alone.
        engine: its driver's name; told by the server itself where it is left out.
        access: how it is asked.

    Raises:
        ConfigError: it serves no such name, or several and none was named.
        DataContractError: it answers something that no engine would.
        TransientError: it does not answer.
    """
    try:
        return asyncio.run(_checked(url.rstrip("/"), subject, model, engine, access))
    except (aiohttp.ClientError, TimeoutError) as error:
        words = str(error) or "no answer in time"
        raise TransientError(f"{url} broke off: {words}", "read the server's log") from error


async def _checked(url: str, subject: Subject, model: str | None, engine: str | None, access: Access) -> Conformance:
    """Return what a server may be used for."""
    # A connection a question: servers close idle ones while tokens are compared here.
    timeout, connector = aiohttp.ClientTimeout(total=TIMEOUT_S), aiohttp.TCPConnector(force_close=True)
    async with access.session(timeout=timeout, connector=connector) as session:
        rows = await served_models(session, url)
        names = [str(row["id"]) for row in rows]
        if model is None and len(names) > 1:
            raise ConfigError(f"{url} serves {', '.join(names)}", "name one with --name")
        name = model or names[0]
        if name not in names:
            raise ConfigError(f"{url} serves {', '.join(names)}, not {name}", "--name one of them")
        kind = driver_named(engine) if engine else driver_of(rows, name)
        findings = await OpenAiChecks(session, url, name, subject.tokenizer).run()
        findings += await ModelChecks(kind(session, url, name), subject).run()
    return Conformance(kind.name, kind.run, url, name, tuple(findings))
