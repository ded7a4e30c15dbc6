"""What the gateway's door and its log may take: section `serve.gateway`, parts `door` and `audit`."""

from pydantic import Field, model_validator

from tasks.core.params.section import Section


class AuditParams(Section):
    """The audit log's own disk, and how much of a flood of refusals it writes down one by one."""

    reserve_mib: int = Field(ge=1, description="set aside for the answers under way when the disk is full")
    min_free_mib: int = Field(ge=0, description="with less free space callers are refused; 0 does not look")
    refusals_per_minute: int = Field(ge=1, description="of one key or address; the rest of a minute is one record")
    anchor_every_minutes: float = Field(gt=0, description="how often the signed head leaves the machine")


class DoorParams(Section):
    """How many requests at once, how long each may take to arrive and leave, and what a key may use up."""

    max_in_flight: int = Field(ge=1)
    max_in_flight_per_key: int = Field(ge=1)
    reserved_for_emergency: int = Field(ge=0, description="places that only keys of priority emergency get")
    max_queued: int = Field(ge=0)
    max_queued_per_key: int = Field(ge=0)
    queue_timeout_s: float = Field(gt=0)
    header_timeout_s: float = Field(gt=0)
    body_timeout_s: float = Field(gt=0)
    write_timeout_s: float = Field(gt=0, description="a reader that takes nothing for this long is let go")
    evaluator_prompt_tokens: int = Field(ge=1, description="longest prompt whose log-probabilities may be asked for")
    evaluator_cost: int = Field(ge=1, description="times that such a prompt's tokens are charged")
    tokens_per_day: int | None = Field(ge=1, description="of each key; null: no budget")
    tokens_per_month: int | None = Field(ge=1, description="of each key; null: no budget")

    limits_lost_grace_s: float = Field(
        ge=0, description="how long all keys go on by each gateway's part while the shared count is lost"
    )

    @model_validator(mode="after")
    def _leave_places(self) -> "DoorParams":
        """Refuse a reserve that leaves nobody else a place."""
        if self.reserved_for_emergency >= self.max_in_flight:
            raise ValueError("reserved_for_emergency must be below max_in_flight")
        return self
