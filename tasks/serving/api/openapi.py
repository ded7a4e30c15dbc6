"""The gateway's OpenAPI document, made from the table of fields."""

from typing import Any

from tasks.serving.api.caps import Caps
from tasks.serving.api.fields import Field, Place, fields_of

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["message", "type", "param", "code"], "properties": {
        "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]},
        "code": {"type": ["string", "null"]},
    },
}}}  # fmt: skip
REFUSALS = {
    "400": "a field is outside its bounds, or not supported; named in `param`", "401": "no key, or not a known one",
    "403": "a revoked key", "404": "a model or a route that is not served", "413": "the body is too large",
    "429": "over the key's limits; `Retry-After` says when to come back",
    "503": "nothing is live, the model server is lost, or the request cannot be recorded",
}  # fmt: skip
_REQUIRED: dict[Place, list[str]] = {
    "chat": ["model", "messages"], "completion": ["model", "prompt"], "responses": ["model", "input"],
    "embedding": ["model", "input"], "message": ["role"],
}  # fmt: skip
_ROUTES: dict[str, tuple[Place, str]] = {
    "/v1/chat/completions": ("chat", "Answer a conversation"),
    "/v1/completions": ("completion", "Continue a text"),
    "/v1/responses": ("responses", "Answer a conversation, the Responses API: stateless, text and calls"),
    "/v1/embeddings": ("embedding", "Make vectors of texts, where an embedding model is configured"),
}


def document(caps: Caps) -> dict[str, Any]:
    """Return the OpenAPI document of a gateway with these caps."""
    paths: dict[str, Any] = {path: {"post": _asking(place, title)} for path, (place, title) in _ROUTES.items()}
    paths["/v1/models"] = {"get": _looking("List the names of what is served")}
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    paths["/v1/models/{name}"] = {"get": _looking("Describe one of them"), "parameters": [name]}
    paths["/readyz"] = paths["/healthz"] = {"get": {
        "summary": "Say whether chats can be answered", "security": [],
        "responses": {"200": {"description": "they can"}, "503": {"description": "they cannot"}},
    }}  # fmt: skip
    alive = {"200": {"description": "it does"}}
    paths["/livez"] = {"get": {"summary": "Say that the gateway runs", "security": [], "responses": alive}}
    schemas = {place: _body(place, caps) for place in _REQUIRED} | {"error": ERROR}
    key = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tunegate gateway", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": key},
        "security": [{"key": []}],
    }


def _asking(place: Place, title: str) -> dict[str, Any]:
    """Return the operation of a route that is asked something."""
    body = {"required": True, "content": {"application/json": {"schema": _reference(place)}}}
    answer = {"description": "the answer; a stream of events where `stream` is true", "content": {
        "application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {"type": "string"}},
    }}  # fmt: skip
    return {"summary": title, "operationId": place, "requestBody": body, "responses": {"200": answer} | _refusals()}


def _looking(title: str) -> dict[str, Any]:
    """Return the operation of a route that is only read."""
    answer = {"description": "what there is", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"summary": title, "responses": {"200": answer} | _refusals()}


def _refusals() -> dict[str, Any]:
    """Return every way a request is refused."""
    content = {"application/json": {"schema": _reference("error")}}
    return {status: {"description": why, "content": content} for status, why in REFUSALS.items()}


def _reference(name: str) -> dict[str, str]:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _body(place: Place, caps: Caps) -> dict[str, Any]:
    """Return the schema of what may be asked in one place."""
    properties = {name: _property(field, caps) for name, field in fields_of(place).items()}
    if place == "chat":
        properties["messages"] = {"type": "array", "minItems": 1, "items": _reference("message")}
    required = _REQUIRED[place]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _property(field: Field, caps: Caps) -> dict[str, Any]:
    """Return the schema of a field; what is refused may stand there as the values that say nothing."""
    if field.check is None:
        said: dict[str, Any] = {"enum": [None, *field.neutral]}
        return said | {"description": f"not supported: {field.why}"}
    forms = [field.check.schema(caps), {"enum": [None, *field.neutral]}]
    described = {"description": field.why} if field.why else {}
    if field.name in ("model", "messages", "prompt", "input", "role"):
        return field.check.schema(caps) | described
    return {"anyOf": forms} | described
