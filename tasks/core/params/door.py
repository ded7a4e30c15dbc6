"""What the gateway's door and its log may take: section `serve.gateway`, parts `door` and `audit`."""

from pydantic import Field

from tasks.core.params.section import Section


class AuditParams(Section):
    """The audit log's own disk, and how much of a flood of refusals it writes down one by one."""

    reserve_mib: int = Field(ge=1, description="set aside for the answers under way when the disk is full")
    min_free_mib: int = Field(ge=0, description="with less free space callers are refused; 0 does not look")
    refusals_per_minute: int = Field(ge=1, description="of one key or address; the rest of a minute is one record")
    anchor_every_minutes: float = Field(gt=0, description="how often the signed head leaves the machine")
