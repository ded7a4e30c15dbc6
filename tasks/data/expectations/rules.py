"""What raw files and prepared rows must be, how bad it is when they are not, and how Great Expectations measures it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from tasks.chat.conversation import ROLE_ORDER
from tasks.core.errors import ConfigError
from tasks.core.settings import Format, ValidateParams
from tasks.data.expectations.drift import Drift
from tasks.data.expectations.outcome import Severity
from tasks.data.profile import COMPARED

ROLES_PATTERN: Final = rf"^S?{ROLE_ORDER}$"
FORMATS: Final[tuple[str, ...]] = get_args(Format)
#: Formats whose conversations can call tools.
WITH_TOOLS: Final = ("sharegpt", "messages")

_NULL, _NOT_NULL, _UNIQUE = (
    "ExpectColumnValuesToBeNull",
    "ExpectColumnValuesToNotBeNull",
    "ExpectColumnValuesToBeUnique",
)
_BETWEEN, _IN_SET, _REGEX = (
    "ExpectColumnValuesToBeBetween",
    "ExpectColumnValuesToBeInSet",
    "ExpectColumnValuesToMatchRegex",
)
#: For frames of one line: its largest value is the value, and Data Docs show it.
_VALUE = "ExpectColumnMaxToBeBetween"


#: Of these nulls are the point; the others pass over nulls, so a column of nulls would please them.
ABOUT_NULLS: Final = (_NULL, _NOT_NULL)


@dataclass(frozen=True)
class Rule:
    """One expectation before Great Expectations knows it.

    Args:
        name: what reports, messages and `validate.severities` call it.
        kind: class in great_expectations.expectations.
        column: flat column it looks at.
        severity: `critical` stops the run, `warning` is reported.
        description: what it expects, for people.
        arguments: thresholds as Great Expectations takes them.
    """

    name: str
    kind: str
    column: str
    severity: Severity
    description: str
    arguments: dict[str, Any]


def row_rules() -> list[Rule]:
    """Return what every row of train and validation must be, whatever format it came in."""
    return [
        Rule("row_ids_unique", _UNIQUE, "row_id", "critical", "every row id occurs once", {}),
        Rule("types_unchanged", _BETWEEN, "wrong_types", "critical",
             "every field has the type prepare writes, and none that must be there is null", {"max_value": 0}),
        Rule("roles_in_order", _REGEX, "roles", "critical",
             "system at most once and first, then user and assistant in turn, tool results after a call",
             {"regex": ROLES_PATTERN}),
        Rule("no_empty_turn", _BETWEEN, "empty_turns", "critical", "no turn is empty", {"max_value": 0}),
        Rule("reasoning_well_formed", _BETWEEN, "malformed_reasoning", "critical",
             "think tags pair, once, before an answer", {"max_value": 0}),
        Rule("no_duplicates", _UNIQUE, "content_digest", "critical",
             "no two rows hold the same conversation, masked ones aside", {}),
        Rule("no_personal_data", _NULL, "personal_data", "critical", "no personal data is left in any turn", {}),
        Rule("no_eval_leak", _NULL, "eval_leak", "critical", "no evaluation question stands in any row", {}),
        Rule("language_known", _IN_SET, "language", "critical", "every row is zh or en", {"value_set": ["zh", "en"]}),
        Rule("concept_named", _NOT_NULL, "concept", "warning", "every row names its concept", {}),
    ]  # fmt: skip


def format_rules(name: str, params: ValidateParams) -> list[Rule]:
    """Return what the rows of one format must be; thresholds are the format's own where params.yaml gives some."""
    own = params.formats.get(name)  # type: ignore[call-overload]
    shortest, longest = (own and own.answer_characters) or params.answer_characters
    most_turns = (own and own.max_turns) or params.max_turns
    return [
        Rule(f"{name}.answers_long_enough", _BETWEEN, "shortest_answer_characters", "warning",
             "no answer is shorter than allowed", {"min_value": shortest}),
        Rule(f"{name}.answers_short_enough", _BETWEEN, "longest_answer_characters", "warning",
             "no answer is longer than allowed", {"max_value": longest}),
        Rule(f"{name}.turns", _BETWEEN, "turns", "warning", "no conversation has more turns than allowed",
             {"max_value": most_turns}),
        *_shape_rules(name),
    ]  # fmt: skip


def _shape_rules(name: str) -> list[Rule]:
    """Return what only the rows of this format must be."""
    if name == "alpaca":
        return [Rule("alpaca.no_tool_turns", _REGEX, "roles", "critical", "an Alpaca row has no tool turns",
                     {"regex": r"^[^T]*$"})]  # fmt: skip
    if name in WITH_TOOLS:
        return [Rule(f"{name}.tools_declared", _BETWEEN, "undeclared_tool_turns", "warning",
                     "a row with tool results says which tools there are", {"max_value": 0})]  # fmt: skip
    if name == "multilingual_thinking":
        return [Rule(f"{name}.reasoning_kept", _BETWEEN, "reasoned_answers", "warning",
                     "every row has reasoning before an answer", {"min_value": 1})]  # fmt: skip
    return [
        Rule(f"{name}.rejected_kept", _NOT_NULL, "rejected", "critical", "every row has a rejected answer", {}),
        Rule(f"{name}.rejected_differs", _IN_SET, "rejected", "warning", "the rejected answer is not the chosen one",
             {"value_set": ["given"]}),
    ]  # fmt: skip


def totals_rules(params: ValidateParams) -> list[Rule]:
    """Return what the data set as a whole must be."""
    limits: list[tuple[str, str, str, dict[str, Any]]] = [
        ("ledger_balances", "rows_without_fate", "every raw row has one fate", {"max_value": 0, "min_value": 0}),
        ("kept_rows_written", "rows_kept_but_not_written", "every kept row is in an output file", {"max_value": 0}),
        ("written_rows_kept", "rows_written_but_not_kept", "every row in an output file is kept in the ledger",
         {"max_value": 0}),
        ("train_rows", "train_rows", "there are enough rows to train on", {"min_value": params.min_train_rows}),
        ("no_empty_split", "empty_splits", "no split is empty that should have rows", {"max_value": 0}),
        ("chinese_in_splits", "splits_without_chinese", "every split that should have Chinese rows has some",
         {"max_value": 0}),
        ("chinese_fraction", "chinese_fraction", "enough train rows are Chinese",
         {"min_value": params.min_chinese_fraction}),
        ("quarantined_fraction", "quarantined_fraction", "few raw rows are unusable",
         {"max_value": params.max_quarantined_fraction}),
        ("dropped_fraction", "dropped_fraction", "few raw rows are duplicates or leaks",
         {"max_value": params.max_dropped_fraction}),
        ("too_long_fraction", "too_long_fraction", "few raw rows have more tokens than training takes",
         {"max_value": params.max_too_long_fraction}),
        ("damaged_files", "damaged_files", "few raw files are damaged", {"max_value": params.raw.max_damaged_files}),
        ("calibration_from_train", "calibration_rows_outside_train", "calibration rows are train rows",
         {"max_value": 0}),
        ("eval_sets_searched", "eval_items_searched", "there were evaluation questions to keep out", {"min_value": 1}),
    ]  # fmt: skip
    return [
        Rule(name, _VALUE, column, "critical", description, arguments)
        for name, column, description, arguments in limits
    ]


def raw_file_rules(params: ValidateParams) -> list[Rule]:
    """Return what each raw file must be."""
    return [
        Rule("raw.files_understood", _BETWEEN, "understood_fraction", "warning",
             "enough rows of each raw file are understood", {"min_value": params.raw.min_understood_fraction}),
        Rule("raw.files_undamaged", _BETWEEN, "damaged", "warning", "no raw file is damaged", {"max_value": 0}),
    ]  # fmt: skip


def raw_format_rules(params: ValidateParams) -> list[Rule]:
    """Return what the raw rows of each format must be."""
    return [
        Rule("raw.formats_understood", _BETWEEN, "understood_fraction", "warning",
             "enough raw rows of each format can be used", {"min_value": params.raw.min_understood_fraction}),
    ]  # fmt: skip


def raw_reason_rules() -> list[Rule]:
    """Return what the reasons in the ledger must be."""
    return [
        Rule("raw.reasons_known", _IN_SET, "known", "critical", "every row left out has a documented reason",
             {"value_set": [True]}),
    ]  # fmt: skip


def drift_rules(drifts: Iterable[Drift]) -> list[Rule]:
    """Return what the distributions must be beside those of the last released dataset."""
    return [
        Rule(f"drift.{drift.name}", _VALUE, drift.name, "warning",
             f"{drift.name.replace('_', ' ')} are distributed as in the last released dataset (stability index)",
             {"max_value": drift.limit})
        for drift in drifts
    ]  # fmt: skip


def with_severities(rules: Sequence[Rule], params: ValidateParams) -> list[Rule]:
    """Return the rules with the severities that params.yaml sets."""
    return [replace(rule, severity=params.severities.get(rule.name, rule.severity)) for rule in rules]


def require_known_severities(params: ValidateParams) -> None:
    """Refuse a severity for an expectation that does not exist.

    Raises:
        ConfigError: `validate.severities` names one.
    """
    rules = [*row_rules(), *totals_rules(params), *raw_file_rules(params), *raw_format_rules(params)]
    rules += [*raw_reason_rules(), *(rule for name in FORMATS for rule in format_rules(name, params))]
    known = {rule.name for rule in rules} | {f"drift.{name}" for name in COMPARED}
    if unknown := sorted(set(params.severities) - known):
        raise ConfigError(
            f"validate.severities: no expectation is called {', '.join(unknown)}", f"one of: {', '.join(sorted(known))}"
        )
