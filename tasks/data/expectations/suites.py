"""The expectation suites: what prepared rows must be, how bad it is when they are not, and how it is measured."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks.core.settings import ValidateParams
from tasks.data.expectations.data_docs import FIXED_RUN, finish_site, site_config
from tasks.data.expectations.outcome import Outcome, Severity, limits_in_words

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

ROLES_PATTERN = r"^S?(?:UA)+$"


@dataclass(frozen=True)
class Rule:
    """One expectation before Great Expectations knows it.

    Args:
        name: what reports and messages call it.
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


def row_rules(params: ValidateParams) -> list[Rule]:
    """Return what every row of train and validation must be."""
    shortest, longest = params.answer_characters
    null, unique, between = (
        "ExpectColumnValuesToBeNull",
        "ExpectColumnValuesToBeUnique",
        "ExpectColumnValuesToBeBetween",
    )
    return [
        Rule("row_ids_unique", unique, "row_id", "critical", "every row id occurs once", {}),
        Rule("roles_in_order", "ExpectColumnValuesToMatchRegex", "roles", "critical",
             "system at most once and first, then user and assistant in turn", {"regex": ROLES_PATTERN}),
        Rule("no_empty_turn", between, "empty_turns", "critical", "no turn is empty", {"max_value": 0}),
        Rule("reasoning_well_formed", "ExpectColumnValuesToBeInSet", "reasoning_well_formed", "critical",
             "think tags pair, once, before an answer", {"value_set": [True]}),
        Rule("no_duplicates", unique, "content_sha256", "critical", "no two rows hold the same conversation", {}),
        Rule("no_personal_data", null, "personal_data", "critical", "no personal data is left in any turn", {}),
        Rule("no_eval_leak", null, "eval_leak", "critical", "no evaluation question stands in any row", {}),
        Rule("language_known", "ExpectColumnValuesToBeInSet", "language", "critical", "every row is zh or en",
             {"value_set": ["zh", "en"]}),
        Rule("answers_long_enough", between, "shortest_answer_characters", "warning",
             "no answer is shorter than allowed", {"min_value": shortest}),
        Rule("answers_short_enough", between, "longest_answer_characters", "warning",
             "no answer is longer than allowed", {"max_value": longest}),
        Rule("turns", between, "turns", "warning", "no conversation has more turns than allowed",
             {"max_value": params.max_turns}),
        Rule("concept_named", "ExpectColumnValuesToNotBeNull", "concept", "warning", "every row names its concept", {}),
    ]  # fmt: skip


def totals_rules(params: ValidateParams) -> list[Rule]:
    """Return what the data set as a whole must be."""
    limits: list[tuple[str, str, str, dict[str, Any]]] = [
        ("ledger_balances", "rows_without_fate", "every raw row has one fate", {"max_value": 0, "min_value": 0}),
        ("kept_rows_written", "rows_kept_but_not_written", "every kept row is in an output file", {"max_value": 0}),
        ("written_rows_kept", "rows_written_but_not_kept", "every row in an output file is kept in the ledger",
         {"max_value": 0}),
        ("train_rows", "train_rows", "there are enough rows to train on", {"min_value": params.min_train_rows}),
        ("chinese_fraction", "chinese_fraction", "enough train rows are Chinese",
         {"min_value": params.min_chinese_fraction}),
        ("quarantined_fraction", "quarantined_fraction", "few raw rows are unusable",
         {"max_value": params.max_quarantined_fraction}),
        ("dropped_fraction", "dropped_fraction", "few raw rows are duplicates or leaks",
         {"max_value": params.max_dropped_fraction}),
        ("calibration_from_train", "calibration_rows_outside_train", "calibration rows are train rows",
         {"max_value": 0}),
        ("eval_sets_searched", "eval_items_searched", "there were evaluation questions to keep out", {"min_value": 1}),
    ]  # fmt: skip
    return [
        # One line only: its largest value is the value, and Data Docs show it.
        Rule(name, "ExpectColumnMaxToBeBetween", column, "critical", description, arguments)
        for name, column, description, arguments in limits
    ]


def run_expectations(
    rows: "pd.DataFrame", totals: "pd.DataFrame", params: ValidateParams, data_docs: Path
) -> list[Outcome]:
    """Run both suites through one checkpoint, write the Data Docs site, and return every outcome in order.

    Args:
        rows: one line per row (`frames.row_frame`).
        totals: one line about the data set (`frames.totals_frame`).
        params: thresholds.
        data_docs: folder of the site.
    """
    import great_expectations as gx
    from great_expectations.checkpoint.actions import UpdateDataDocsAction
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.delete_data_docs_site("local_site")
    context.add_data_docs_site("tunegate", cast(Any, site_config(data_docs)))
    outcomes = []
    for suite, frame, rules in (("rows", rows, row_rules(params)), ("totals", totals, totals_rules(params))):
        checkpoint = gx.Checkpoint(
            name=suite,
            validation_definitions=[_definition(context, suite, rules)],
            actions=[UpdateDataDocsAction(name="data docs")],
            result_format=_result_format(suite),
        )
        run_id = RunIdentifier(run_name=FIXED_RUN.name, run_time=FIXED_RUN.time)
        result = checkpoint.run(batch_parameters={"dataframe": frame}, run_id=run_id)
        outcomes += [_outcome(suite, found) for run in result.run_results.values() for found in run.results]
    in_rule_order = {rule.name: number for number, rule in enumerate([*row_rules(params), *totals_rules(params)])}
    outcomes.sort(key=lambda outcome: in_rule_order[outcome.name])
    finish_site(data_docs, outcomes)
    return outcomes


def _result_format(suite: str) -> dict[str, Any]:
    """Return how much Great Expectations reports: counts, and the ids of the first unexpected rows."""
    columns = {"unexpected_index_column_names": ["row_id"]} if suite == "rows" else {}
    return {"result_format": "SUMMARY", **columns}


def _definition(context: Any, suite: str, rules: list[Rule]) -> Any:
    """Return a suite bound to a frame that is given when it runs."""
    import great_expectations as gx

    expectations = [
        getattr(gx.expectations, rule.kind)(
            column=rule.column,
            severity=rule.severity,
            description=f"{rule.name} ({rule.severity}): {rule.description}; {limits_in_words(rule.arguments)}",
            meta={"name": rule.name, "threshold": rule.arguments, "description": rule.description},
            **rule.arguments,
        )
        for rule in rules
    ]
    batch = (
        context.data_sources.add_pandas(suite).add_dataframe_asset(suite).add_batch_definition_whole_dataframe("all")
    )
    added = context.suites.add(gx.ExpectationSuite(name=suite, expectations=expectations))
    return context.validation_definitions.add(gx.ValidationDefinition(name=suite, data=batch, suite=added))


def _outcome(suite: str, found: Any) -> Outcome:
    """Return the result of one expectation in our words."""
    config, result = found.expectation_config, found.result
    unexpected = int(result.get("unexpected_count", 0))
    indexes = result.get("partial_unexpected_index_list") or []
    if "observed_value" in result:
        observed: Any = _plain(result["observed_value"])
    elif "element_count" in result:
        observed = f"{unexpected} of {result['element_count']} rows"
    else:
        observed = f"not measurable ({_exception_message(found.exception_info)})"
    return Outcome(
        name=config.meta["name"],
        suite=suite,
        severity=str(config.severity.value if hasattr(config.severity, "value") else config.severity),
        success=bool(found.success),
        observed=observed,
        threshold=config.meta["threshold"],
        description=config.meta["description"],
        unexpected_rows=unexpected,
        examples=tuple(dict.fromkeys(str(index["row_id"]) for index in indexes)),
    )


def _exception_message(info: dict[str, Any]) -> str:
    """Return why an expectation could not be measured; one report a metric, or one for all."""
    reports = [info, *(report for report in info.values() if isinstance(report, dict))]
    return "; ".join(
        dict.fromkeys(report["exception_message"] for report in reports if report.get("exception_message"))
    )


def _plain(value: Any) -> Any:
    """Return a numpy number as Python's own, rounded."""
    plain = value.item() if hasattr(value, "item") else value
    return round(plain, 4) if isinstance(plain, float) else plain
