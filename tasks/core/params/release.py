"""Sections of the release: `register`, `promote`, `serve`, and the `hardware` they are meant for."""

from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.core.params.door import AuditParams, DoorParams
from tasks.core.params.engine import VllmParams
from tasks.core.params.retrieval import GroundedParams
from tasks.core.params.section import Section


class RegisterParams(Section):
    """Name of the registered model in MLflow: also the `model` that callers ask the gateway for."""

    # MLflow refuses / and :, its searches quote the name, and a name of dots is a path.
    model_name: str = Field(
        pattern=r"^\w[\w.-]{0,127}$", description="letters and digits of any script, then also . _ -"
    )


class RolloutMargins(Section):
    """By how much a share of requests may differ; twice as much must not go live."""

    error: float = Field(gt=0, lt=0.5)
    slow: float = Field(gt=0, lt=0.5, description="slower to the first token than 95 % of the live version's")
    refusal: float = Field(gt=0, lt=0.5)
    unknown: float = Field(gt=0, lt=0.5, description="answers that something is not known")


class RolloutParams(Section):
    """How a version is tried on a share of the traffic: strategies `canary` and `shadow`."""

    steps_percent: list[float] = Field(min_length=1, description="the candidate's share, rising; after the last: all")
    sticky: Literal["conversation", "key"] = Field(description="what stays with one version")
    step_requests: int = Field(ge=1, description="least candidate requests in a step")
    least_requests: int = Field(ge=1, description="least candidate requests before it goes live")
    longest_s: float = Field(gt=0, description="undecided by then is taken back")
    block_s: float = Field(gt=0, description="requests so near in time are compared with each other")
    alpha: float = Field(gt=0, lt=1, description="an equal model is aborted at most so often")
    beta: float = Field(gt=0, lt=1, description="a loss of two margins goes live at most so often")
    margins: RolloutMargins
    shadow_percent: float = Field(gt=0, le=100, description="requests that are mirrored to the candidate")
    shadow_concurrency: int = Field(ge=1, description="mirrored requests under way; further ones are dropped")

    @field_validator("steps_percent")
    @classmethod
    def _rising(cls, steps: list[float]) -> list[float]:
        """Refuse steps that do not rise within 0 to 100 %."""
        if any(later <= earlier for earlier, later in pairwise([0.0, *steps])) or steps[-1] >= 100:
            raise ValueError("must rise, above 0 and below 100")
        return steps


class PromoteParams(Section):
    """Who must agree before a version goes live, and what it must answer first."""

    environment: Literal["demo", "production"]
    approvals_required: int = Field(ge=0)
    smoke_prompts: list[str] = Field(min_length=1)
    smoke_timeout_s: float = Field(gt=0)
    soak_s: float = Field(ge=0, description="how long the old version stays warm after a switch; needs room for two")
    strategy: Literal["switch", "canary", "shadow"]
    rollout: RolloutParams


class JsonSchemaParams(Section):
    """How large a caller's JSON schema may be, and how long an answer in its form may take to begin."""

    max_bytes: int = Field(ge=256)
    max_depth: int = Field(ge=1, le=64)
    timeout_s: float = Field(gt=0)


class GatewayParams(Section):
    """Caps of the gateway; per-key limits can only be lower."""

    completions: bool
    max_body_bytes: int | None = Field(ge=1024, description="null: what the context can hold")
    max_completion_tokens: int = Field(ge=1)
    over_max_completion_tokens: Literal["clamp", "refuse"]
    max_choices: int = Field(ge=1)
    max_prompts: int = Field(ge=1)
    max_embedding_inputs: int = Field(ge=1, description="texts of one request to /v1/embeddings")
    json_schema: JsonSchemaParams
    requests_per_minute: int = Field(ge=1)
    tokens_per_minute: int = Field(ge=1)
    upstream_timeout_s: float = Field(gt=0)
    probe_every_s: float = Field(gt=0, description="between two one-token questions to the live engine")
    probe_deadline_s: float = Field(gt=0, description="an idle engine that takes longer for one token hangs")
    drain_timeout_s: float = Field(gt=0)
    audit_retention_days: int = Field(ge=1)
    audit: AuditParams
    door: DoorParams


class EmbeddingParams(Section):
    """The model behind /v1/embeddings."""

    model: str | None = Field(description="its folder (safetensors), from the project's root; null: the route is a 404")
    name: str = Field(pattern=r"^\w[\w.-]{0,127}$", description="what callers ask for; its id in /v1/models")
    max_length_tokens: int = Field(ge=16, description="longest input")
    gpu_memory_utilization: float = Field(gt=0, le=1, description="its share of a card, beside the chat model's")


class ServeParams(Section):
    """The serving plane."""

    vllm: VllmParams
    gateway: GatewayParams
    embedding: EmbeddingParams
    grounded: GroundedParams
    swap: Literal["beside", "hold", "sleep"] = Field(
        description="a new version beside the old one, or in its place: the old one stopped, or asleep (CUDA)"
    )
    hold_s: float = Field(gt=0, description="how long a request waits while a version takes another's place,"
                                            " or one that was lost is started again")  # fmt: skip
    reconcile_every_s: float = Field(gt=0)

    @property
    def one_at_a_time(self) -> bool:
        """Whether a new version takes the old one's place while requests wait."""
        return self.swap != "beside"


class Hardware(Section):
    """What the profile is meant for; `tunegate doctor` checks it."""

    cpu_memory_gib: float = Field(gt=0)
    disk_gib: float = Field(gt=0)
    gpus: int = Field(ge=0)
    gpu_memory_gib: float = Field(ge=0)
    compute_capability: float | None = Field(
        ge=7.0, description="of the cards that serve, e.g. 8.9; null or left out: not said, so not checked"
    )
    parameters_billion: float = Field(gt=0, description="size of the base model, for the memory estimate")

    @model_validator(mode="before")
    @classmethod
    def _capability_left_out(cls, given: Any) -> Any:
        # It changes nothing that comes out, so a params.yaml from before it was there stays valid.
        return {"compute_capability": None} | given if isinstance(given, dict) else given
