"""What a version must answer before it goes live."""

from typing import Any

import aiohttp

from tasks.core.errors import DataContractError, TransientError
from tasks.core.settings import PromoteParams
from tasks.serving.slots import Deployment

SMOKE_TOKENS = 64
#: How a good answer ends: by the model's own stop token, or by our length limit.
GOOD_ENDINGS = frozenset({"stop", "length"})


async def smoke_test(url: str, deployment: Deployment, params: PromoteParams) -> None:
    """Ask a started server every smoke prompt.

    Raises:
        DataContractError: it serves another name than the lineage id, or an answer is empty or ends oddly.
        TransientError: it does not answer in `smoke_timeout_s`.
    """
    timeout = aiohttp.ClientTimeout(total=params.smoke_timeout_s)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await _require_name(session, url, deployment)
            for prompt in params.smoke_prompts:
                await _require_answer(session, url, deployment, prompt)
    except (TimeoutError, aiohttp.ClientError) as error:
        reason = str(error) or f"no answer in {params.smoke_timeout_s:g} s"
        raise TransientError(
            f"smoke test of version {deployment.version}: {reason}", "read the slot's log in .tunegate/serving"
        ) from error


async def _require_name(session: aiohttp.ClientSession, url: str, deployment: Deployment) -> None:
    """Refuse a server that serves something else."""
    async with session.get(f"{url}/v1/models") as answer:
        names = [model["id"] for model in (await answer.json())["data"]]
    if names != [deployment.lineage_id]:
        raise _failed(deployment, f"it serves {', '.join(names)} instead of {deployment.lineage_id}")


async def _require_answer(session: aiohttp.ClientSession, url: str, deployment: Deployment, prompt: str) -> None:
    """Refuse a server whose answer to a prompt is an error, empty, by another model, or ends oddly."""
    request = {
        "model": deployment.lineage_id,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": SMOKE_TOKENS,
        "temperature": 0,
    }
    async with session.post(f"{url}/v1/chat/completions", json=request) as answer:
        if answer.status != 200:
            raise _failed(deployment, f"{prompt!r} gave HTTP {answer.status}: {(await answer.text())[:300]}")
        value: dict[str, Any] = await answer.json()
    choice = value["choices"][0]
    if value["model"] != deployment.lineage_id:
        raise _failed(deployment, f"{prompt!r} was answered by {value['model']!r}, not by {deployment.lineage_id}")
    if not (choice["message"]["content"] or "").strip():
        raise _failed(deployment, f"{prompt!r} got an empty answer")
    if choice["finish_reason"] not in GOOD_ENDINGS:
        raise _failed(deployment, f"the answer to {prompt!r} ended with {choice['finish_reason']!r}")


def _failed(deployment: Deployment, reason: str) -> DataContractError:
    """Return the error of a failed smoke test."""
    return DataContractError(
        f"version {deployment.version} failed its smoke test: {reason}",
        "the old version goes on serving; mend the model, tunegate run",
    )
