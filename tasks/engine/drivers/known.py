"""Which driver an engine gets: told by what its /v1/models says who made the list."""

from typing import Any

import aiohttp

from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.engine.drivers.driver import Driver
from tasks.engine.drivers.llamacpp import LlamaCpp
from tasks.engine.drivers.others import Ollama, Sglang, TensorRtLlm, TextOnly
from tasks.engine.drivers.vllm import Vllm

DRIVERS: dict[str, type[Driver]] = {kind.name: kind for kind in (Vllm, LlamaCpp, Sglang, TensorRtLlm, Ollama, TextOnly)}


def driver_named(name: str) -> type[Driver]:
    """Return a driver by its name.

    Raises:
        ConfigError: there is none.
    """
    if name not in DRIVERS:
        raise ConfigError(f"no engine is called {name!r}", f"one of: {', '.join(DRIVERS)}")
    return DRIVERS[name]


async def served_models(session: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    """Return what a server lists at /v1/models.

    Raises:
        TransientError: nobody answers.
        DataContractError: what answers is no list of models.
    """
    try:
        async with session.get(f"{url}/v1/models") as answer:
            value = await answer.json(content_type=None) if answer.status == 200 else None
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise TransientError(f"{url} does not answer: {error}", "start the server, or check the address") from error
    except ValueError:
        value, status = None, 200
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise DataContractError(f"{url}/v1/models is no list of models (HTTP {status})", "name a server's base URL")
    return rows


def driver_of(rows: list[dict[str, Any]], model: str) -> type[Driver]:
    """Return the driver of the engine that lists a model; the one that only speaks OpenAI's routes where none is known.

    Args:
        rows: of /v1/models.
        model: one of them.
    """
    owner = next((str(row.get("owned_by", "")) for row in rows if row["id"] == model), "")
    return next((kind for kind in DRIVERS.values() if kind.owner and kind.owner == owner), TextOnly)
