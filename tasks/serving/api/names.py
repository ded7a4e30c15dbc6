"""Names of what is served, as the API lists them and refuses others."""

from typing import Any

from tasks.serving.api.refusal import Refusal


def model_row(name: str) -> dict[str, Any]:
    """Return one name as the API describes a model."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "tunegate"}


def no_such_model(name: str, names: tuple[str, ...]) -> Refusal:
    """Return the refusal of a name that is not what is served."""
    message = f"model {name[:200]!r} is not served here; served: {', '.join(names)}"
    return Refusal(404, "model_not_found", message, param="model")
