"""The live endpoint asked again what its version was evaluated on, with whose key, and what stays on record of it."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, TransientError
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.engine.fingerprint import SERVED_HOP
from tasks.engine.headers import LINEAGE
from tasks.evaluation.live import live
from tasks.release.registry import Registry, Version
from tasks.release.version_evidence import report_folder
from tasks.serving.keys import KeyStore
from tasks.serving.paths import keys_path

KEY_VARIABLE = "TUNEGATE_API_KEY"
KEY_PREFIX = "eval-live"
#: On the version in MLflow, `tunegate.live`: the last time its endpoint was asked.
LIVE_TAG = "live"
MODELS_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Asking:
    """How the endpoint is asked.

    Args:
        url: of the gateway, without /v1.
        limit: first items of each subject and each kind; None for those of params.yaml.
        concurrency: requests in flight.
        output: folder of the report.
    """

    url: str
    limit: int | None
    concurrency: int
    output: Path


def ask_released(project: Project, settings: Settings, asking: Asking) -> dict[str, Any]:
    """Hold what is live to the evidence of its version, and write on the version that it was.

    Returns:
        The endpoint's report; `problems` says in words why it is not what was released.

    Raises:
        TransientError: the gateway does not answer, serves nothing, or another version went live meanwhile.
        ConfigError: the key is refused, or what is live was never registered here.
    """
    questions = live.read_live_questions(settings.evaluate, project, asking.limit)
    with caller_key(project) as key:
        registry, version = version_live(project, settings, asking.url, key)
        evidence = report_folder(registry, version, SERVED_HOP)
        given = live.LiveVersion(version.number, version.lineage_id, registry.weights(version), evidence)
        gateway, vllm = settings.serve.gateway, settings.serve.vllm
        endpoint = live.Endpoint(
            asking.url, key, asking.concurrency, vllm.max_model_length_tokens, gateway.max_completion_tokens
        )
        results = live.evaluate_live(
            settings.evaluate, questions, given, endpoint, output=asking.output, scratch=project.state / "live"
        )
    registry.tag(version.number, LIVE_TAG, json.dumps(_record(results, asking.limit)))
    return results


def problems(results: dict[str, Any]) -> list[str]:
    """Return in words why the endpoint is not what was released."""
    canary = [f"canary: {words}" for words in results["canary"]["failures"]]
    return [*canary, *results["agreement"]["findings"]]


@contextmanager
def caller_key(project: Project) -> Iterator[str]:
    """Give a key to ask with: $TUNEGATE_API_KEY, or one that ends with the block."""
    if given := os.environ.get(KEY_VARIABLE):
        yield given
        return
    with KeyStore(keys_path(project)).temporary(KEY_PREFIX, "evaluator") as made:
        yield made


def version_live(project: Project, settings: Settings, url: str, key: str) -> tuple[Registry, Version]:
    """Return the registry and what is live by the gateway's own word.

    Raises:
        TransientError: the gateway does not answer, or serves nothing.
        ConfigError: the key is refused, or what is live was never registered here.
    """
    lineage_id = lineage_live(url, key)
    registry = Registry(project, settings.register_.model_name)
    version = registry.by_lineage(lineage_id)
    if version is None:
        raise ConfigError(
            f"{lineage_id} is live but not registered in this project: there is no evidence to hold it to",
            "set MLFLOW_TRACKING_URI to the store it was registered in",
        )
    return registry, version


def lineage_live(url: str, key: str) -> str:
    """Return the lineage id of what is live.

    Raises:
        TransientError: the gateway does not answer, or serves nothing.
        ConfigError: the key is refused, or this is no gateway of Tunegate.
    """
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=MODELS_TIMEOUT_S) as answer:
            lineage_id = answer.headers.get(LINEAGE)
    except urllib.error.HTTPError as error:
        words = _words(error)
        if error.code in (401, 403):
            raise ConfigError(
                f"the gateway at {url} refuses the key: {words}", f"set {KEY_VARIABLE} to one of its keys"
            ) from error
        raise TransientError(f"the gateway at {url} serves nothing: {words}", "tunegate status") from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise TransientError(f"the gateway at {url} does not answer: {error}", "tunegate serve") from error
    if not lineage_id:
        raise ConfigError(f"{url} is no gateway of Tunegate: it names no lineage", "check --url")
    return str(lineage_id)


def _words(error: urllib.error.HTTPError) -> str:
    """Return what the gateway says about a refusal."""
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def _record(results: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """Return what stays on the version: when its endpoint was asked last, and whether it was what was released."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "agrees": not problems(results),
        "fingerprint": results["agreement"]["fingerprint"],
        "limit": limit,
    }
