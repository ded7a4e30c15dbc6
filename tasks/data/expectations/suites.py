"""The expectation suites run by Great Expectations: raw files, prepared rows, each format, totals, drift."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks.core.settings import ValidateParams
from tasks.data.expectations.data_docs import FIXED_RUN, site_config
from tasks.data.expectations.drift import Drift
from tasks.data.expectations.frames import PreparedData, totals_frame
from tasks.data.expectations.ledger_counts import raw_files, raw_formats, raw_reasons
from tasks.data.expectations.outcome import Outcome, limits_in_words
from tasks.data.expectations.rules import (
    ABOUT_NULLS,
    FORMATS,
    Rule,
    drift_rules,
    format_rules,
    raw_file_rules,
    raw_format_rules,
    raw_reason_rules,
    row_rules,
    totals_rules,
    with_severities,
)

if TYPE_CHECKING:
    import pandas as pd

#: Suites of data that is always there: an empty frame breaks them. Others are left out where there is nothing.
ALWAYS = ("raw_files", "rows", "totals")
#: What the lines of a frame are, by the column that names them.
LINES = {"row_id": "rows", "source": "files", "format": "formats", "reason": "reasons", None: "values"}
#: What Great Expectations looks up unexpected lines with.
_LOOK_UP = "compute_unexpected_pandas_indices"


@dataclass(frozen=True)
class Suite:
    """Expectations about one frame.

    Args:
        name: what Data Docs and reports call it.
        frame: flat columns.
        rules: what is expected.
        key: the column that names a line in reports; None for a frame of one line.
    """

    name: str
    frame: "pd.DataFrame"
    rules: list[Rule]
    key: str | None


def build_suites(data: PreparedData, drifts: Sequence[Drift], params: ValidateParams) -> list[Suite]:
    """Return every suite that has, or should have, something to look at, with the severities of params.yaml."""
    suites = [
        Suite("raw_files", raw_files(data.ledger), raw_file_rules(params), "source"),
        Suite("raw_formats", raw_formats(data.ledger), raw_format_rules(params), "format"),
        Suite("raw_reasons", raw_reasons(data.ledger), raw_reason_rules(), "reason"),
        Suite("rows", data.rows, row_rules(), "row_id"),
        *(
            Suite(f"rows_{name}", data.rows[data.rows["format"] == name], format_rules(name, params), "row_id")
            for name in FORMATS
        ),
        Suite("totals", totals_frame(data), totals_rules(params), None),
        Suite("drift", _drift_frame(drifts), drift_rules(drifts), None),
    ]
    return [
        Suite(suite.name, suite.frame, with_severities(suite.rules, params), suite.key)
        for suite in suites
        if len(suite.frame) or suite.name in ALWAYS
    ]


def _drift_frame(drifts: Sequence[Drift]) -> "pd.DataFrame":
    """Return one line: the stability index of each distribution; no line where nothing was compared."""
    import pandas as pd

    return pd.DataFrame([{drift.name: drift.index for drift in drifts}] if drifts else [])


def run_suites(suites: Sequence[Suite], data_docs: Path) -> list[Outcome]:
    """Run every suite through a checkpoint, let Great Expectations write its pages, return the outcomes in order.

    Args:
        suites: what is expected of which frame.
        data_docs: folder of the site.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.delete_data_docs_site("local_site")
    context.add_data_docs_site("tunegate", cast(Any, site_config(data_docs)))
    with _only_reported_lines_named():
        outcomes = [outcome for suite in suites for outcome in _run(context, suite)]
    # Once, at the end: every build writes all pages anew.
    context.build_data_docs()
    return outcomes


@contextmanager
def _only_reported_lines_named() -> Iterator[None]:
    """Have Great Expectations (1.24) look up the names of those unexpected lines alone that it reports.

    It looks up all, one by one, and then cuts the list: 30 us for each of a million rows that name no concept.
    """
    from great_expectations.expectations.metrics.map_metric_provider import map_condition_auxilliary_methods as methods

    look_up = getattr(methods, _LOOK_UP)

    def first(*, domain_records_df: "pd.DataFrame", result_format: dict[str, Any], **others: Any) -> Any:
        reported = domain_records_df.head(result_format["partial_unexpected_count"])
        return look_up(domain_records_df=reported, result_format=result_format, **others)

    setattr(methods, _LOOK_UP, first)
    try:
        yield
    finally:
        setattr(methods, _LOOK_UP, look_up)


def _run(context: Any, suite: Suite) -> list[Outcome]:
    """Run one suite and return its outcomes in the order of its rules."""
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    columns = {"unexpected_index_column_names": [suite.key]} if suite.key else {}
    checkpoint = gx.Checkpoint(
        name=suite.name,
        validation_definitions=[_definition(context, suite)],
        # Counts, and the names of the first unexpected lines.
        result_format=cast(Any, {"result_format": "SUMMARY", **columns}),
    )
    run_id = RunIdentifier(run_name=FIXED_RUN.name, run_time=FIXED_RUN.time)
    result = checkpoint.run(batch_parameters={"dataframe": suite.frame}, run_id=run_id)
    found = [one for run in result.run_results.values() for one in run.results]
    place = {rule.name: number for number, rule in enumerate(suite.rules)}
    return sorted((_outcome(suite, one) for one in found), key=lambda outcome: place[outcome.name])


def _definition(context: Any, suite: Suite) -> Any:
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
        for rule in suite.rules
    ]
    source = context.data_sources.add_pandas(suite.name)
    batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    added = context.suites.add(gx.ExpectationSuite(name=suite.name, expectations=expectations))
    return context.validation_definitions.add(gx.ValidationDefinition(name=suite.name, data=batch, suite=added))


def _outcome(suite: Suite, found: Any) -> Outcome:
    """Return the result of one expectation in our words."""
    config, result = found.expectation_config, found.result
    unexpected = int(result.get("unexpected_count", 0))
    nothing = _class_of(config.type) not in ABOUT_NULLS and "element_count" in result and not _looked_at(result)
    indexes = result.get("partial_unexpected_index_list") or []
    if "observed_value" in result:
        observed: Any = _plain(result["observed_value"])
    elif nothing:
        observed = "nothing to look at"
    elif "element_count" in result:
        observed = f"{unexpected} of {result['element_count']} {LINES[suite.key]}"
    else:
        observed = f"not measurable ({_exception_message(found.exception_info)})"
    return Outcome(
        name=config.meta["name"],
        suite=suite.name,
        severity=str(config.severity.value if hasattr(config.severity, "value") else config.severity),
        success=bool(found.success) and not nothing,
        observed=observed,
        threshold=config.meta["threshold"],
        description=config.meta["description"],
        unexpected_rows=unexpected,
        examples=tuple(dict.fromkeys(str(index[suite.key]) for index in indexes)),
    )


def _looked_at(result: dict[str, Any]) -> int:
    """Return how many values an expectation looked at: Great Expectations passes over nulls."""
    return int(result["element_count"]) - int(result.get("missing_count", 0))


def _class_of(kind: str) -> str:
    """Return the class of an expectation from its name in snake case."""
    return "".join(part.capitalize() for part in kind.split("_"))


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
