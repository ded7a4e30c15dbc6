"""params.yaml as frozen models: unknown keys forbidden, no defaults for anything tunable, all errors at once."""

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tasks.core.errors import ConfigError

Fraction = Field(ge=0.0, le=1.0)


class Section(BaseModel):
    """Base of every section: frozen, strict, closed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class BaseModelParams(Section):
    """Which model is fine-tuned, and the digest it must have (null: not pinned yet)."""

    source: Literal["packaged", "huggingface", "modelscope", "local"]
    id: str
    revision: str | None
    digest: str | None


Format = Literal["alpaca", "sharegpt", "messages", "multilingual_thinking", "preference"]


class FileParams(Section):
    """What is known better about one raw file than its content shows; null: detected."""

    format: Format | None
    encoding: Literal["utf-8", "utf-16", "gb18030"] | None


class ReadParams(Section):
    """Raw files to rows."""

    on_bad_row: Literal["quarantine", "stop"]
    on_bad_file: Literal["quarantine", "stop"]
    max_row_mib: int = Field(ge=1, description="a longer line or item is quarantined unread")
    repair_mojibake: bool
    files: dict[str, FileParams] = Field(description="overrides by path under data/raw")


Policy = Literal["mask", "pseudonymize", "drop", "keep"]


class PrivacyPolicies(Section):
    """What happens to each type of personal data; `drop` drops the whole row."""

    resident_id: Policy
    mobile: Policy
    landline: Policy
    email: Policy
    bank_card: Policy
    passport: Policy
    licence_plate: Policy
    credit_code: Policy
    ip: Policy
    coordinates: Policy
    person_name: Policy
    address: Policy
    organisation: Policy

    @property
    def sought(self) -> tuple[str, ...]:
        """Types that are not kept as they are."""
        return tuple(type_ for type_, policy in self.model_dump().items() if policy != "keep")


class PrivacyParams(Section):
    """Desensitization; a pseudonym's key comes from TUNEGATE_PSEUDONYM_KEY."""

    policies: PrivacyPolicies
    organisations: str | None = Field(description="file under data/raw, one name a line; null: none")


class NearDuplicateParams(Section):
    """MinHash over n-grams; `jaccard` is the similarity from which two rows are one."""

    ngram_characters: int = Field(ge=2, description="Chinese")
    ngram_words: int = Field(ge=1, description="English")
    permutations: int = Field(ge=16)
    jaccard: float = Fraction


class EvalSetParams(Section):
    """A further evaluation set: a folder of C-Eval- or CMMLU-shaped CSVs, or a domain pack."""

    name: str
    path: str


class DecontaminateParams(Section):
    """A row is a leak when this share of an evaluation question, by the weight of its characters, stands in it."""

    containment: float = Fraction
    extra_sets: list[EvalSetParams]


class PrepareParams(Section):
    """Raw instruction rows to one chat schema; every row's fate in the ledger."""

    read: ReadParams
    privacy: PrivacyParams
    near_duplicate: NearDuplicateParams
    decontaminate: DecontaminateParams
    validation_fraction: float = Fraction
    calibration_rows: int = Field(ge=1)


class DriftParams(Section):
    """Comparison with the profile of the last released dataset (`tunegate data profile --write FILE`)."""

    reference: str | None = Field(description="file under data/raw; null: nothing to compare with")
    max_stability_index: float = Field(gt=0, description="population stability index, for each distribution")


class RawParams(Section):
    """What the raw files themselves must be."""

    min_understood_fraction: float = Fraction
    max_damaged_files: int = Field(ge=0)


class FormatParams(Section):
    """Thresholds of the rows of one format; null: those of all rows."""

    answer_characters: tuple[int, int] | None
    max_turns: int | None


class ValidateParams(Section):
    """Thresholds of the Great Expectations suites; `critical` ones stop the run, `warning` ones are reported."""

    min_train_rows: int = Field(ge=1)
    max_quarantined_fraction: float = Fraction
    max_dropped_fraction: float = Fraction
    max_too_long_fraction: float = Fraction
    min_chinese_fraction: float = Fraction
    answer_characters: tuple[int, int]
    max_turns: int = Field(ge=1)
    raw: RawParams
    formats: dict[Format, FormatParams]
    severities: dict[str, Literal["critical", "warning"]] = Field(description="by expectation, where not the usual one")
    drift: DriftParams


class LoraParams(Section):
    """Low-rank adapter (Hu et al. 2021): update = B A * alpha / rank."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Fraction
    target_modules: list[str]


class TrainParams(Section):
    """Supervised fine-tuning on completions only."""

    mode: Literal["qlora", "lora", "full"]
    lora: LoraParams
    max_steps: int = Field(ge=1)
    batch_rows: int = Field(ge=1)
    gradient_accumulation_steps: int = Field(ge=1)
    max_length_tokens: int = Field(ge=16)
    learning_rate: float = Field(gt=0)
    scheduler: Literal["cosine", "linear", "constant_with_warmup"]
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    gradient_checkpointing: bool
    checkpoint_every_steps: int = Field(ge=1)
    seed: int


class MergeParams(Section):
    """Adapter into a freshly loaded base of this type."""

    dtype: Literal["bfloat16", "float16"]


class QuantizeCandidate(Section):
    """A way to write weights in 4 bits: W4A16 is symmetric, W4A16_ASYM has a zero point for each group."""

    scheme: Literal["W4A16", "W4A16_ASYM"]
    group_size: int = Field(ge=8, description="input channels that share one scale")


class QuantizeBars(Section):
    """What the chosen model should keep; where it does not, the dossier says so and why (the gate has its own rules)."""

    bits_per_byte_kept: float = Field(gt=0, le=1, description="merged over quantized, on held-out answers")
    top1_agreement: float = Fraction


class QuantizeParams(Section):
    """AWQ (Lin et al. 2023), 4-bit weights, 16-bit activations; the candidate with the least held-out loss is kept."""

    candidates: list[QuantizeCandidate] = Field(min_length=1)
    finalists: int = Field(ge=1, description="candidates that get the full AWQ after screening by rounding to nearest")
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
        if len({(item.scheme, item.group_size) for item in candidates}) < len(candidates):
            raise ValueError("a candidate stands twice")
        return candidates


class ExamParams(Section):
    """A four-option exam of many subjects: C-Eval, CMMLU, or own questions in C-Eval's schema."""

    name: Literal["ceval", "cmmlu", "ceval_mini"]
    source: Literal["local", "modelscope", "huggingface"]
    path: str
    few_shot: int = Field(ge=0, le=5)
    chat_template: bool
    answer: Literal["loglikelihood", "generation", "both"]
    limit: int | None

    @model_validator(mode="after")
    def _stand_in_keeps_its_name(self) -> "ExamParams":
        if self.source != "local" and self.name == "ceval_mini":
            raise ValueError("a hub carries the exam proper: name must be 'ceval' or 'cmmlu'")
        return self


class DomainParams(Section):
    """A domain pack: a folder with pack.json."""

    path: str
    limit: int | None


class JudgeParams(Section):
    """A second opinion on short answers; where it is and its key come from TUNEGATE_JUDGE_URL and _API_KEY."""

    model: str
    rows: int = Field(ge=1)


class EvaluateParams(Section):
    """What every hop is asked, over HTTP, through one served path."""

    exams: list[ExamParams] = Field(min_length=1)
    domain: DomainParams
    judge: JudgeParams | None = Field(description="null: no judge")
    adapter: Literal["agreement", "full"] = Field(description="what the unmerged adapter is asked")
    max_generated_tokens: int = Field(ge=8)
    heldout_rows: int = Field(ge=1, description="validation rows scored token by token, beside the pack's references")
    concurrency: int = Field(ge=1)
    parity_rows: int = Field(ge=1)

    @field_validator("exams")
    @classmethod
    def _each_exam_once(cls, exams: list[ExamParams]) -> list[ExamParams]:
        names = [exam.name for exam in exams]
        if len(set(names)) < len(names):
            raise ValueError("an exam stands twice")
        return exams


Hop = Literal["base", "adapter", "merged", "awq"]


class Claim(Section):
    """What must be shown of a metric; what each `expect` means is told in tasks/release/gate_rules.py."""

    name: str
    metric: str
    margin: float
    alpha: float | None = Field(gt=0, lt=0.5, description="null: gate.alpha; may only be stricter")
    severity: Literal["block", "report"]


class GateRule(Claim):
    """A claim about one hop against another, on the same items; a floor looks at one hop, written twice."""

    hops: tuple[Hop, Hop]
    expect: Literal["better", "not_worse", "floor", "groups"]


class ChampionRule(Claim):
    """A claim about a candidate's last hop against the present champion's, on the same items."""

    expect: Literal["better", "not_worse"]

    @property
    def hops(self) -> tuple[str, str]:
        """The two sides, named as a report names its hop."""
        return ("champion", "awq")


class AgreementParams(Section):
    """How near two hops must be on held-out text."""

    min_top1: float = Fraction
    max_kl_nats: float = Field(gt=0, description="mean over positions; a lower bound of the true divergence")


class AgreementsParams(Section):
    """The two pairs of hops that are meant to be one model in another form."""

    adapter_merged: AgreementParams
    merged_awq: AgreementParams


class GateParams(Section):
    """Rules, error rate, and the checks that no average buys back."""

    alpha: float = Field(gt=0, lt=0.5)
    bootstrap_samples: int = Field(ge=100)
    seed: int
    rules: list[GateRule] = Field(min_length=1)
    champion_rules: list[ChampionRule]
    agreement: AgreementsParams


class DossierParams(Section):
    """What the reviewer's page is called."""

    title: str


class RegisterParams(Section):
    """Name of the registered model in MLflow."""

    model_name: str


class PromoteParams(Section):
    """Who must agree before a version goes live, and what it must answer first."""

    environment: Literal["demo", "production"]
    approvals_required: int = Field(ge=0)
    smoke_prompts: list[str] = Field(min_length=1)
    smoke_timeout_s: float = Field(gt=0)


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


class GatewayParams(Section):
    """Caps of the gateway; per-key limits can only be lower."""

    max_body_bytes: int = Field(ge=1024)
    max_completion_tokens: int = Field(ge=1)
    max_choices: int = Field(ge=1)
    requests_per_minute: int = Field(ge=1)
    tokens_per_minute: int = Field(ge=1)
    upstream_timeout_s: float = Field(gt=0)
    drain_timeout_s: float = Field(gt=0)
    audit_retention_days: int = Field(ge=1)


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


class Settings(Section):
    """The whole of params.yaml."""

    profile: str
    hardware: Hardware
    base_model: BaseModelParams
    prepare: PrepareParams
    validate_: ValidateParams = Field(alias="validate")
    train: TrainParams
    merge: MergeParams
    quantize: QuantizeParams
    evaluate: EvaluateParams
    gate: GateParams
    dossier: DossierParams
    register_: RegisterParams = Field(alias="register")
    promote: PromoteParams
    serve: ServeParams

    def section(self, name: str) -> Any:
        """Return a section by its name in params.yaml; dots go deeper (`serve.vllm`)."""
        value: Any = self
        for part in name.split("."):
            value = getattr(value, {"validate": "validate_", "register": "register_"}.get(part, part))
        return value


def load_settings(path: Path) -> Settings:
    """Read and check a params file.

    Raises:
        ConfigError: the file is absent, is not YAML, or breaks the schema; every broken key is named.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist", "tunegate profile use laptop") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}", "mend it, or tunegate profile use laptop") from error
    try:
        # JSON mode of strict validation: a YAML list is a valid tuple, a string is still not a number.
        return Settings.model_validate_json(_as_json(values, path))
    except ValidationError as error:
        problems = "\n".join(f"  {_key(item['loc'])}: {item['msg']}" for item in error.errors())
        raise ConfigError(
            f"{path}: {error.error_count()} wrong setting(s)\n{problems}", f"edit {path.name} and run again"
        ) from error


def _as_json(values: Any, path: Path) -> str:
    """Return YAML values as JSON text; YAML-only types (dates, sets) are refused."""
    try:
        return json.dumps(values)
    except TypeError as error:
        raise ConfigError(f"{path}: {error}", "quote the value: YAML read it as a date or a set") from error


def _key(location: tuple[int | str, ...]) -> str:
    """Return a pydantic location as the path of a key in the file."""
    return ".".join(str(part) for part in location) or "(whole file)"
