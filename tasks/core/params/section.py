"""What every section is."""

from pydantic import BaseModel, ConfigDict, Field

Fraction = Field(ge=0.0, le=1.0)


class Section(BaseModel):
    """Base of every section: frozen, strict, closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())
