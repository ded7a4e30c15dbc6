"""Settings that a run is asked with: every key of params.yaml, typed, each of them optional.

Prefect makes its form and its check of them, so that a wrong key or type is refused where it is typed. Whether they go
together is decided on the whole file, as always.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from tasks.core.settings import Settings


class Asked(BaseModel):
    """What all of them have in common; not strict: JSON knows no tuples."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    def values(self) -> dict[str, Any]:
        """Return what was given, by its names in params.yaml."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)


def optional(model: type[BaseModel], name: str) -> type[Asked]:
    """Return a model of the same keys that may all be left out, those of sections inside it too.

    Args:
        model: a section of the settings.
        name: what the form calls it.
    """
    fields: dict[str, Any] = {}
    for key, field in model.model_fields.items():
        kind: Any = field.annotation
        said = field.description
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            said = said or first_line(kind)
            kind = optional(kind, f"{name}_{field.alias or key}")
        elif field.metadata:
            kind = _with(kind, field.metadata)
        fields[key] = (kind | None, Field(default=None, alias=field.alias, description=said))
    return create_model(name, __base__=Asked, **fields)


def first_line(model: type[BaseModel]) -> str | None:
    """Return what a section says of itself: the form shows it below the section's name."""
    return (model.__doc__ or "").strip().partition("\n")[0] or None


def _with(kind: Any, metadata: list[Any]) -> Any:
    """Return a type with its limits."""
    for one in metadata:
        kind = Annotated[kind, one]
    return kind


if TYPE_CHECKING:
    AskedSettings = Asked
else:
    AskedSettings = optional(Settings, "Settings")
