"""Write docs/gateway.md and docs/gateway-openapi.json from the table of fields: `make docs`."""

import json
from collections.abc import Iterator
from pathlib import Path

from tasks.core.settings import load_settings
from tasks.serving.api.caps import Caps
from tasks.serving.api.fields import FIELDS, Field, Place, fields_of
from tasks.serving.api.openapi import document

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gateway.md"
#: Written with TUNEGATE_MEASURED=docs/clients.json by tests/contract/test_clients.py.
CLIENTS = ROOT / "docs" / "clients.json"
OPENAPI = ROOT / "docs" / "gateway-openapi.json"

PLACES: dict[Place, str] = {
    "chat": "`POST /v1/chat/completions`",
    "message": "A message of a chat",
    "completion": "`POST /v1/completions`",
    "responses": "`POST /v1/responses`",
    "embedding": "`POST /v1/embeddings`",
}
ACTS = {"passed": "passed on", "read": "acted on", "dropped": "dropped", "refused": "refused"}
HEAD = """# Fields of the gateway

Written by `make docs` from the table in `tasks/serving/api/fields.py`, which the gateway checks requests by.
[gateway-openapi.json](gateway-openapi.json) is the same as an OpenAPI document, with the caps of `params.yaml`.

- A field that has no line here is refused: 400, its name in `param`.
- Null says nothing in any field, and so does a value named neutral: both are taken as if the field were not there.
- What would change the answer is honoured or refused by name. What an answer held comes back as a message of the next
  turn, whole.
- Names in code style are settings of `serve.gateway`.

Routes beside these: `GET /v1/models`, `GET /v1/models/{name}`, `GET /livez`, `/readyz` (of old `/healthz`; no key),
`GET /metrics` (this machine, or an admin's key). `/v1/embeddings` is a 404 that says so where no embedding model is
configured (`serve.embedding.model`). Every other path is a 404.

Tools and thoughts depend on the model that is live, by what its chat template writes (`tasks/engine/abilities.py`):
where it does not know tools, or no parser of vLLM reads the calls it writes, `tools` is a 400 that says which. A
thought comes as `reasoning`, the answer as `content`; an answer held to a form (`json_object`, `json_schema`, a call
that must be made) is given without a thought, but where the prompt itself opens one.

A chat under a model name that ends in `:grounded`, or with the header `x-tunegate-grounded: true`, is answered from
documents ([grounded.md](grounded.md)): `tools`, `response_format`, `logprobs` and `n` above 1 are refused, and the
answer has a field `grounded` with the passages it was held to.
"""


def page() -> str:
    """Return the page."""
    return "\n".join(_lines()) + "\n"


def openapi() -> str:
    """Return the OpenAPI document, with the caps of params.yaml."""
    serve = load_settings(ROOT / "params.yaml").serve
    caps = Caps.of(serve.gateway, serve.vllm.max_model_length_tokens)
    return json.dumps(document(caps), ensure_ascii=False, indent=1) + "\n"


def _lines() -> Iterator[str]:
    """Yield the page's lines."""
    yield HEAD
    for place, title in PLACES.items():
        yield f"## {title}"
        yield ""
        offered = [field for field in fields_of(place).values() if field.does != "refused"]
        yield "| field | what happens | bounds | neutral | |"
        yield "|---|---|---|---|---|"
        yield from map(_row, offered)
        yield ""
        yield "| refused | but as | why, or what to do |"
        yield "|---|---|---|"
        yield from (f"| `{field.name}` | {_neutral(field)} | {field.why} |"
                    for field in fields_of(place).values() if field.does == "refused")  # fmt: skip
        yield ""
    yield from _clients()
    yield f"The table of fields has {len(FIELDS)} lines."


def _clients() -> Iterator[str]:
    """Yield what real clients can do, as measured."""
    measured = json.loads(CLIENTS.read_text(encoding="utf-8"))
    features = list(dict.fromkeys(name for found in measured.values() for name in found["features"]))
    yield "## Clients, as measured"
    yield ""
    yield "By `pytest -m slow tests/contract/test_clients.py`: each client unmodified, at this version, in an"
    yield "environment of its own, against the real gateway and a stand-in that makes calls. Empty: not asked."
    yield ""
    yield f"| client | version | {' | '.join(name.replace('_', ' ') for name in features)} |"
    yield "|---" * (len(features) + 2) + "|"
    for client, found in measured.items():
        cells = (found["features"].get(name, "") for name in features)
        yield f"| {client} | {found['version']} | {' | '.join(cells)} |"
    yield ""


def _row(field: Field) -> str:
    """Return the line of a field that is offered."""
    bounds = field.check.words() if field.check else ""
    return f"| `{field.name}` | {ACTS[field.does]} | {bounds} | {_neutral(field)} | {field.why} |"


def _neutral(field: Field) -> str:
    """Return the values that say nothing."""
    return ", ".join(f"`{json.dumps(value, ensure_ascii=False)}`" for value in field.neutral)


def main() -> None:
    """Write both files."""
    PAGE.write_text(page(), encoding="utf-8")
    OPENAPI.write_text(openapi(), encoding="utf-8")


if __name__ == "__main__":
    main()
