"""Sections of the data: `prepare` and `validate`."""

from typing import Literal, get_args

from pydantic import Field

from tasks.core.params.section import Fraction, Section

Format = Literal["alpaca", "sharegpt", "messages", "multilingual_thinking", "preference"]


#: Fields of a row that a column of a file may be; `role` and `content` are those of each turn.
Column = Literal[
    "messages", "role", "content", "system", "instruction", "input", "output", "history", "thinking", "tools",
    "concept", "prompt", "chosen", "rejected", "label", "kto_tag", "kto_label", "weight", "loss", "train", "trainable",
    "loss_mask",
]  # fmt: skip
COLUMNS: tuple[str, ...] = get_args(Column)


class FileParams(Section):
    """What is known better about one raw file than its content shows; what is not said is detected."""

    format: Format | None = None
    encoding: Literal["utf-8", "utf-16", "gb18030"] | None = None
    columns: dict[Column, str | None] = Field(
        default_factory=dict, description="field -> column of the file; null: the file has no such field"
    )
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] = Field(
        default_factory=dict, description="what the file calls a speaker -> role"
    )


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
    imei: Policy
    qq: Policy
    wechat: Policy
    passport: Policy
    licence_plate: Policy
    credit_code: Policy
    ip: Policy
    coordinates: Policy
    person_name: Policy
    public_person: Policy
    address: Policy
    organisation: Policy

    @property
    def sought(self) -> tuple[str, ...]:
        """Types that are not kept as they are."""
        return tuple(type_ for type_, policy in self.model_dump().items() if policy != "keep")


class PrivacyParams(Section):
    """Desensitization; a pseudonym's key comes from TUNEGATE_PSEUDONYM_KEY."""

    policies: PrivacyPolicies
    names: Literal["careful", "balanced", "sparing"] = Field(
        description="how readily Chinese and English names are found"
    )
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
