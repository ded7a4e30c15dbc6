"""Limits on one request that the settings decide; all others stand in the table of fields."""

from dataclasses import dataclass

from tasks.core.settings import GatewayParams


@dataclass(frozen=True)
class Caps:
    """Limits on one request, from `serve.gateway` and the model's context.

    Args:
        max_completion_tokens: of one choice.
        max_choices: largest `n`.
        max_prompts: most prompts of one completion.
        clamps: a larger `max_tokens` is lowered to the cap, not refused.
        schema_bytes, schema_depth: of a JSON schema, of an answer or a function's parameters.
        max_embedding_inputs: most texts of one request for embeddings.
        schema_timeout_s: how long an answer held to a schema may take to begin.
    """

    max_completion_tokens: int
    max_choices: int
    max_prompts: int = 1
    clamps: bool = False
    schema_bytes: int = 16384
    schema_depth: int = 16
    schema_timeout_s: float = 60.0
    max_embedding_inputs: int = 1

    @classmethod
    def of(cls, params: GatewayParams, context_tokens: int) -> "Caps":
        """Return the caps of a gateway in front of a model with a context of so many tokens."""
        schema = params.json_schema
        return cls(
            min(params.max_completion_tokens, context_tokens - 1),
            params.max_choices,
            params.max_prompts,
            params.over_max_completion_tokens == "clamp",
            schema.max_bytes,
            schema.max_depth,
            schema.timeout_s,
            params.max_embedding_inputs,
        )
