"""params.yaml as frozen models: unknown keys forbidden, no defaults for anything tunable, all errors at once."""

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from tasks.core.errors import ConfigError
from tasks.core.params.data import (
    DecontaminateParams,
    DriftParams,
    EvalSetParams,
    FileParams,
    Format,
    FormatParams,
    NearDuplicateParams,
    Policy,
    PrepareParams,
    PrivacyParams,
    PrivacyPolicies,
    RawParams,
    ReadParams,
    ValidateParams,
)
from tasks.core.params.engine import VllmParams
from tasks.core.params.evaluate import DomainParams, EvaluateParams, ExamParams, JudgeParams
from tasks.core.params.gate import (
    AgreementParams,
    AgreementsParams,
    ChampionRule,
    Claim,
    DossierParams,
    GateParams,
    GateRule,
    Hop,
)
from tasks.core.params.model import (
    BaseModelParams,
    LoraParams,
    MergeParams,
    ParallelParams,
    QuantizeBars,
    QuantizeCandidate,
    QuantizeParams,
    TrainParams,
)
from tasks.core.params.monitor import MonitorParams
from tasks.core.params.orchestration import HandOverParams, LimitsParams, ScheduledParams, ScheduleParams
from tasks.core.params.release import GatewayParams, Hardware, PromoteParams, RegisterParams, ServeParams
from tasks.core.params.retrieval import GroundedParams, IndexParams, VectorParams
from tasks.core.params.section import Section
from tasks.core.schemes import not_served

__all__ = [
    "AgreementParams",
    "AgreementsParams",
    "BaseModelParams",
    "ChampionRule",
    "Claim",
    "DecontaminateParams",
    "DomainParams",
    "DossierParams",
    "DriftParams",
    "EvalSetParams",
    "EvaluateParams",
    "ExamParams",
    "FileParams",
    "Format",
    "FormatParams",
    "GateParams",
    "GateRule",
    "GatewayParams",
    "GroundedParams",
    "HandOverParams",
    "Hardware",
    "Hop",
    "IndexParams",
    "JudgeParams",
    "LimitsParams",
    "LoraParams",
    "MergeParams",
    "MonitorParams",
    "NearDuplicateParams",
    "ParallelParams",
    "Policy",
    "PrepareParams",
    "PrivacyParams",
    "PrivacyPolicies",
    "PromoteParams",
    "QuantizeBars",
    "QuantizeCandidate",
    "QuantizeParams",
    "RawParams",
    "ReadParams",
    "RegisterParams",
    "ScheduleParams",
    "ScheduledParams",
    "Section",
    "ServeParams",
    "Settings",
    "TrainParams",
    "ValidateParams",
    "VectorParams",
    "VllmParams",
    "load_settings",
    "wrong_settings",
]


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
    index: IndexParams
    serve: ServeParams
    limits: LimitsParams
    hand_over: HandOverParams
    monitor: MonitorParams
    schedule: ScheduleParams

    @model_validator(mode="after")
    def _what_is_written_is_served(self) -> "Settings":
        capability = self.hardware.compute_capability
        if self.hardware.gpus and capability is None:
            return self
        card = f"a card of compute capability {capability}" if self.hardware.gpus else "vLLM's CPU build"
        schemes: list[str] = [item.scheme for item in self.quantize.candidates]
        if refused := not_served(schemes, capability if self.hardware.gpus else None):
            raise ValueError(
                f"quantize.candidates: {card} does not serve {', '.join(refused)} "
                "(docs/quantization.md has the table); leave them out, or say in hardware what serves"
            )
        return self

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
        problems = "\n".join(f"  {problem}" for problem in _problems(error))
        raise ConfigError(
            f"{path}: {error.error_count()} wrong setting(s)\n{problems}", f"edit {path.name} and run again"
        ) from error


def wrong_settings(values: Any) -> list[str]:
    """Return what is wrong with the JSON values of a params file, each with its key; nothing where they are sound."""
    try:
        Settings.model_validate_json(json.dumps(values))
    except ValidationError as error:
        return _problems(error)
    return []


def _problems(error: ValidationError) -> list[str]:
    """Return pydantic's problems as keys of the file and what is wrong with them."""
    return [f"{_key(item['loc'])}: {item['msg']}" for item in error.errors()]


def _as_json(values: Any, path: Path) -> str:
    """Return YAML values as JSON text; YAML-only types (dates, sets) are refused."""
    try:
        return json.dumps(values)
    except TypeError as error:
        raise ConfigError(f"{path}: {error}", "quote the value: YAML read it as a date or a set") from error


def _key(location: tuple[int | str, ...]) -> str:
    """Return a pydantic location as the path of a key in the file."""
    return ".".join(str(part) for part in location) or "(whole file)"
