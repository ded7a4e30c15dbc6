"""Sections of the model: `base_model`, `train`, `merge`, `quantize`."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tasks.core.params.section import Fraction, Section


class BaseModelParams(Section):
    """Which model is fine-tuned, and the digest it must have (null: not pinned yet)."""

    source: Literal["packaged", "huggingface", "modelscope", "local"]
    id: str
    revision: str | None
    digest: str | None


class LoraParams(Section):
    """Low-rank adapter (Hu et al. 2021): update = B A * alpha / rank."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Fraction
    target_modules: list[str]


class ParallelParams(Section):
    """How many processes train one model, and what each of them holds."""

    strategy: Literal["single", "ddp", "fsdp", "zero3"]
    processes: int = Field(ge=1, description="one GPU each")

    @property
    def parts(self) -> int:
        """Into how many parts weights, gradients and optimizer states are divided; 1: each process holds them whole."""
        return self.processes if self.strategy in ("fsdp", "zero3") else 1

    @model_validator(mode="after")
    def _one_process_is_single(self) -> "ParallelParams":
        if (self.strategy == "single") != (self.processes == 1):
            raise ValueError("single means one process, every other strategy two or more")
        return self


class TrainParams(Section):
    """Supervised fine-tuning on completions only; one step is batch_rows x gradient_accumulation_steps rows."""

    mode: Literal["qlora", "lora", "full"]
    lora: LoraParams
    parallel: ParallelParams
    max_steps: int = Field(ge=1)
    batch_rows: int = Field(ge=1, description="rows that a process holds at once")
    gradient_accumulation_steps: int = Field(ge=1, description="batches in a step, dealt out to the processes")
    max_length_tokens: int = Field(ge=16)
    learning_rate: float = Field(gt=0)
    scheduler: Literal["cosine", "linear", "constant_with_warmup"]
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    gradient_checkpointing: bool
    checkpoint_every_steps: int = Field(ge=1)
    seed: int

    @model_validator(mode="after")
    def _batches_deal_out_evenly(self) -> "TrainParams":
        if self.gradient_accumulation_steps % self.parallel.processes:
            raise ValueError(
                f"{self.parallel.processes} processes cannot share gradient_accumulation_steps "
                f"{self.gradient_accumulation_steps}: make it a multiple, and batch_rows smaller in proportion"
            )
        return self


class MergeParams(Section):
    """Adapter into a freshly loaded base of this type."""

    dtype: Literal["bfloat16", "float16"]


#: Schemes of 8 bits, weights and inputs both: one scale an output and a token, no groups.
EIGHT_BITS = ("W8A8", "FP8_DYNAMIC")
#: Methods that write a scheme; the first is taken where a candidate names none.
METHODS = {
    "W4A16": ("awq", "gptq"),
    "W4A16_ASYM": ("awq", "gptq"),
    "W8A8": ("smoothquant", "gptq", "rtn"),
    "FP8_DYNAMIC": ("rtn",),
}
#: What people call a method.
METHOD_NAMES = {"awq": "AWQ", "gptq": "GPTQ", "smoothquant": "SmoothQuant", "rtn": "rounding"}


class QuantizeCandidate(Section):
    """A way to write weights: W4A16 is symmetric, W4A16_ASYM has a zero point for each group, W8A8 and FP8_DYNAMIC are
    8-bit integers and floats whose inputs are rounded too. `method` and `group_size` may be left out: see METHODS.
    """

    scheme: Literal["W4A16", "W4A16_ASYM", "W8A8", "FP8_DYNAMIC"]
    method: Literal["awq", "gptq", "smoothquant", "rtn"]
    group_size: int | None = Field(ge=8, description="input channels that share one scale; 8-bit schemes have none")

    @property
    def bits(self) -> int:
        """Bits of a written weight."""
        return 8 if self.scheme in EIGHT_BITS else 4

    @model_validator(mode="before")
    @classmethod
    def _left_out(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        scheme = given.get("scheme")
        own = {"method": METHODS[scheme][0]} if scheme in METHODS else {}
        return own | ({"group_size": None} if scheme in EIGHT_BITS else {}) | given

    @model_validator(mode="after")
    def _method_writes_the_scheme(self) -> "QuantizeCandidate":
        if self.method not in METHODS[self.scheme]:
            raise ValueError(f"{self.scheme} is written by {' or '.join(METHODS[self.scheme])}, not by {self.method}")
        if (self.group_size is None) != (self.scheme in EIGHT_BITS):
            raise ValueError(f"{self.scheme} {'has no' if self.scheme in EIGHT_BITS else 'needs a'} group_size")
        return self


class QuantizeBars(Section):
    """What the chosen model should keep; where it does not, the dossier says why (the gate has its own rules)."""

    bits_per_byte_kept: float = Field(gt=0, le=1, description="merged over quantized, on held-out answers")
    top1_agreement: float = Fraction


class QuantizeParams(Section):
    """Fewer bits by AWQ, GPTQ, SmoothQuant or rounding; kept is the least held-out loss among those of 4 bits, and an
    8-bit candidate only where that does not hold the bars.
    """

    candidates: list[QuantizeCandidate] = Field(min_length=1)
    finalists: int = Field(ge=1, description="of each method and width, made in full after screening by rounding")
    calibration_rows: int = Field(ge=1)
    calibration_chinese_fraction: float = Fraction
    heldout_rows: int = Field(ge=1, description="validation rows by which candidates are compared")
    heldout_length_tokens: int = Field(ge=16, description="longer validation rows are left out whole")
    max_length_tokens: int = Field(ge=16)
    grid_points: int = Field(ge=3, description="llm-compressor 0.14 divides by grid points - 2")
    ignore: list[str]
    bars: QuantizeBars
    seed: int

    @field_validator("candidates")
    @classmethod
    def _each_candidate_once(cls, candidates: list[QuantizeCandidate]) -> list[QuantizeCandidate]:
        if len({(item.scheme, item.method, item.group_size) for item in candidates}) < len(candidates):
            raise ValueError("a candidate stands twice")
        return candidates
