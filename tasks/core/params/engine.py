"""Section `serve.vllm`: the flags of a model server."""

from typing import Literal

from pydantic import Field

from tasks.core.params.section import Section


class VllmParams(Section):
    """Flags of every vLLM server, in evaluation and in serving alike."""

    dtype: Literal["bfloat16", "float16", "auto"]
    max_model_length_tokens: int = Field(ge=128)
    max_concurrent_sequences: int = Field(ge=1)
    kv_cache_gib: int = Field(ge=1, description="CPU build: VLLM_CPU_KVCACHE_SPACE")
    gpu_memory_utilization: float = Field(gt=0, le=1)
    tensor_parallel: int = Field(ge=1)
    enforce_eager: bool
    startup_timeout_s: float = Field(gt=0)
