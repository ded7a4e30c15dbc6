"""Sections of the release: `register`, `promote`, `serve`, and the `hardware` they are meant for."""

from typing import Literal

from pydantic import Field

from tasks.core.params.door import AuditParams, DoorParams
from tasks.core.params.engine import VllmParams
from tasks.core.params.section import Section


class RegisterParams(Section):
    """Name of the registered model in MLflow: also the `model` that callers ask the gateway for."""

    # MLflow refuses / and :, its searches quote the name, and a name of dots is a path.
    model_name: str = Field(
        pattern=r"^\w[\w.-]{0,127}$", description="letters and digits of any script, then also . _ -"
    )


class PromoteParams(Section):
    """Who must agree before a version goes live, and what it must answer first."""

    environment: Literal["demo", "production"]
    approvals_required: int = Field(ge=0)
    smoke_prompts: list[str] = Field(min_length=1)
    smoke_timeout_s: float = Field(gt=0)
    soak_s: float = Field(ge=0, description="how long the old version stays warm after a switch; needs room for two")


class GatewayParams(Section):
    """Caps of the gateway; per-key limits can only be lower."""

    max_body_bytes: int | None = Field(ge=1024, description="null: what the context can hold")
    max_completion_tokens: int = Field(ge=1)
    max_choices: int = Field(ge=1)
    requests_per_minute: int = Field(ge=1)
    tokens_per_minute: int = Field(ge=1)
    upstream_timeout_s: float = Field(gt=0)
    drain_timeout_s: float = Field(gt=0)
    audit_retention_days: int = Field(ge=1)
    audit: AuditParams
    door: DoorParams


class ServeParams(Section):
    """The serving plane."""

    vllm: VllmParams
    gateway: GatewayParams
    reconcile_every_s: float = Field(gt=0)


class Hardware(Section):
    """What the profile is meant for; `tunegate doctor` checks it."""

    cpu_memory_gib: float = Field(gt=0)
    disk_gib: float = Field(gt=0)
    gpus: int = Field(ge=0)
    gpu_memory_gib: float = Field(ge=0)
    parameters_billion: float = Field(gt=0, description="size of the base model, for the memory estimate")
