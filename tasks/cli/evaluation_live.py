"""`tunegate eval live`: hold the endpoint that is live to the evidence its version was released on."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit
from tasks.core.errors import ConfigError, GateFailedError, TransientError
from tasks.core.layout import report_of
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings
from tasks.engine.headers import LINEAGE

KEY_VARIABLE = "TUNEGATE_API_KEY"
KEY_PREFIX = "eval-live"
OUTPUT = report_of("served")
#: On the version in MLflow, `tunegate.live`: the last time its endpoint was asked.
LIVE_TAG = "live"
MODELS_TIMEOUT_S = 15.0


@click.command()
@click.option("--url", help="Gateway to ask, without /v1; by default this project's.")
@click.option("--limit", type=click.IntRange(min=1), help="First items of each subject and each kind: a quick look.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True,
              help="Requests in flight; callers want to be answered too.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help=f"Report folder.  [default: {OUTPUT}]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def live(url: str | None, limit: int | None, concurrency: int, output: Path | None, as_json: bool) -> None:
    """Ask the live endpoint what its version was evaluated on, through the gateway, and compare item by item.

    The key (role evaluator) comes from $TUNEGATE_API_KEY; without it a key is made for this call and revoked after it.
    A killed run goes on where it was. Ends with exit code 4 where the endpoint does not answer as the released version
    did.
    """
    from tasks.evaluation.live.live import Endpoint, evaluate_live, read_live_questions

    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    folder = output or project.root / OUTPUT
    address = (url or project.gateway_url).rstrip("/")
    questions = read_live_questions(settings.evaluate, project, limit)
    with _key(project) as key:
        registry, version = _live_version(project, settings, address, key)
        gateway, vllm = settings.serve.gateway, settings.serve.vllm
        endpoint = Endpoint(address, key, concurrency, vllm.max_model_length_tokens, gateway.max_completion_tokens)
        results = evaluate_live(
            settings.evaluate, questions, version, endpoint, output=folder, scratch=project.state / "live"
        )
    registry.tag(version.number, LIVE_TAG, json.dumps(_record(results, limit)))
    emit(_summary(results, folder), as_json=as_json, text=_text(results, folder))
    if problems := _problems(results):
        raise GateFailedError(f"version {version.number} live is not what was released: {'; '.join(problems)}",
                              f"tunegate status; read {folder / 'results.json'}")  # fmt: skip


@contextmanager
def _key(project: Project) -> Iterator[str]:
    """Give the key to ask with."""
    from tasks.serving.keys import KeyStore
    from tasks.serving.paths import keys_path

    if given := os.environ.get(KEY_VARIABLE):
        yield given
        return
    with KeyStore(keys_path(project)).temporary(KEY_PREFIX, "evaluator") as made:
        yield made


def _live_version(project: Project, settings: Settings, url: str, key: str) -> tuple[Any, Any]:
    """Return the registry and what is live by the gateway's own word, with its registered evidence.

    Raises:
        TransientError: the gateway does not answer, or serves nothing.
        ConfigError: the key is refused, or what is live was never registered here.
    """
    from tasks.engine.fingerprint import SERVED_HOP
    from tasks.evaluation.live.live import LiveVersion
    from tasks.release.registry import Registry
    from tasks.release.version_evidence import report_folder

    lineage_id = _lineage_id(url, key)
    registry = Registry(project, settings.register_.model_name)
    version = registry.by_lineage(lineage_id)
    if version is None:
        raise ConfigError(
            f"{lineage_id} is live but not registered in this project: there is no evidence to hold it to",
            "set MLFLOW_TRACKING_URI to the store it was registered in",
        )
    evidence = report_folder(registry, version, SERVED_HOP)
    return registry, LiveVersion(version.number, lineage_id, registry.weights(version), evidence)


def _lineage_id(url: str, key: str) -> str:
    """Return the lineage id of what is live."""
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


def _problems(results: dict[str, Any]) -> list[str]:
    """Return in words why the endpoint is not what was released."""
    canary = [f"canary: {words}" for words in results["canary"]["failures"]]
    return [*canary, *results["agreement"]["findings"]]


def _record(results: dict[str, Any], limit: int | None) -> dict[str, Any]:
    """Return what stays on the version: when its endpoint was asked last, and whether it was what was released."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "agrees": not _problems(results),
        "fingerprint": results["agreement"]["fingerprint"],
        "limit": limit,
    }


def _summary(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the result for machines."""
    agreement = results["agreement"]
    return {
        "version": results["version"],
        "lineage_id": results["model_lineage_id"],
        "agrees": not _problems(results),
        "problems": _problems(results),
        "fingerprint": agreement["fingerprint"],
        "choices": agreement["choices"],
        "texts": agreement["texts"],
        "metrics": results["metrics"],
        "not_asked": agreement["not_asked"],
        "report": str(folder),
    }


def _text(results: dict[str, Any], folder: Path) -> str:
    """Return the result for people."""
    agreement = results["agreement"]
    rows = [f"{'suite':<24}{'items':>6}{'live':>9}{'released':>10}{'better':>8}{'worse':>7}{'same answer':>13}"]
    for name, suite in sorted(agreement["suites"].items()):
        share = suite["same"] / suite["items"]
        rows.append(f"{name:<24}{suite['items']:>6}{suite['value']:>9.3f}{suite['released_value']:>10.3f}"
                    f"{suite['better']:>8}{suite['worse']:>7}{share:>13.1%}")  # fmt: skip
    if agreement["not_asked"]:
        rows.append(f"not asked: {', '.join(agreement['not_asked'])}")
    verdict = "does not answer as" if _problems(results) else "answers as"
    rows.append(
        f"version {results['version']} live {verdict} its evidence (fingerprint {agreement['fingerprint']:.0%}); "
        f"report: {folder}"
    )
    return "\n".join(rows)
