"""Stage `dossier`: one HTML page a reviewer can sign, and a model card, from the same facts and without a clock."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from tasks.core.files import write_text
from tasks.core.layout import HOPS
from tasks.core.settings import BaseModelParams, DossierParams, Hardware, PromoteParams
from tasks.dossier.charts import interval_chart, loss_chart, rate_chart
from tasks.dossier.data_charts import bar, length_charts
from tasks.dossier.facts import Folders, collect
from tasks.dossier.format import FILTERS
from tasks.dossier.reviews import MEASURES_ZH, SEVERITIES_ZH
from tasks.gate.words import HOP_TITLES, OUTCOME_ZH, claim

log = logging.getLogger(__name__)

TEMPLATES = Path(__file__).with_name("templates")


def dossier(
    params: DossierParams,
    *,
    output: Path,
    profile: str,
    hardware: Hardware,
    base_model: BaseModelParams,
    eval_base: Path,
    eval_adapter: Path,
    eval_merged: Path,
    eval_awq: Path,
    gate: Path,
    prepared: Path,
    validation: Path,
    adapter: Path,
    awq: Path,
    promote: PromoteParams | None = None,
    runs: Sequence[Path] = (),
    reviews: Path | None = None,
) -> dict[str, Any]:
    """Write index.html (opens from disk, fetches nothing) and model_card.md (Hugging Face format).

    Args:
        params: title.
        output: directory to fill.
        profile: name of the active profile.
        hardware: what the profile is meant for.
        base_model: what was fine-tuned.
        eval_base: report of the base model.
        eval_adapter: report of the base model with the adapter beside it.
        eval_merged: report of the merged model.
        eval_awq: report of the quantized model.
        gate: verdict and its words.
        prepared: ledger and summary of the data.
        validation: what Great Expectations found.
        adapter: training facts and loss curve.
        awq: the quantized model: its manifest carries the lineage.
        promote: approvals that a promotion asks for.
        runs: how long each stage before took, a file each, in order; not part of the evidence.
        reviews: folder of what people said of answers; those of this model are shown.

    Returns:
        {"verdict", "page"}.

    Raises:
        DataContractError: a file that every finished run has is absent or damaged.
    """
    reports = {"base": eval_base, "adapter": eval_adapter, "merged": eval_merged, "awq": eval_awq}
    facts = collect(
        Folders(reports, gate, prepared, validation, adapter, awq, runs, reviews),
        title=params.title, profile=profile, hardware=hardware, base_model=base_model, promote=promote,
    )  # fmt: skip
    write_text(output / "index.html", render_page(facts))
    write_text(output / "model_card.md", render_card(facts))
    log.info("dossier: %s, open %s in a browser", facts["verdict"]["verdict"], "data/reports/dossier/index.html")
    return {"verdict": facts["verdict"]["verdict"], "page": "index.html"}


def render_page(facts: dict[str, Any]) -> str:
    """Return the HTML page; every text from data is escaped, and the page's own policy forbids scripts and fetches."""
    style = (TEMPLATES / "dossier.css").read_text(encoding="utf-8")
    charts = {rule["name"]: interval_chart(rule) for rule in facts["verdict"]["rules"]}
    summary = facts["data"]["summary"]
    lengths = length_charts(summary["lengths"], summary["tokens"]["max_length_tokens"])
    return _environment(escape=True).get_template("dossier.html.j2").render(
        **facts, style=style, charts=charts, loss_chart=loss_chart(facts["losses"]),
        rate_chart=rate_chart(facts["rates"]), lengths=lengths,
    )  # fmt: skip


def render_card(facts: dict[str, Any]) -> str:
    """Return the model card: YAML front matter, then Markdown."""
    front = yaml.safe_dump(_front_matter(facts), allow_unicode=True, sort_keys=False, width=1000)
    body = _environment(escape=False).get_template("model_card.md.j2").render(**facts)
    return f"---\n{front}---\n\n{body}"


def _front_matter(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata that the Hugging Face Hub reads."""
    base = facts["base_model"]
    front: dict[str, Any] = {"license": base["licence"]}
    if base["licence"] == "other":
        front |= {"license_name": "licence-of-the-base-model"}
    front |= {"language": sorted(facts["data"]["summary"]["languages"], reverse=True)}
    if base["source"] != "local":
        front |= {"base_model": base["hub_id"], "base_model_relation": "quantized"}
    front |= {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["tunegate", "awq", "compressed-tensors", "nuclear-emergency-response"],
        "model-index": [{"name": facts["lineage"]["id"], "results": _results(facts["verdict"]["hops"])}],
    }
    return front


def _results(hops: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the metrics of the quantized model as the Hub's model index takes them; what has no number is left out."""
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": row["suite"], "type": row["suite"]},
            "metrics": [{"type": row["kind"], "value": row["hops"]["awq"]["value"], "name": row["title"]}],
        }
        for row in hops
        if row["hops"]["awq"]["value"] is not None
    ]


def _environment(*, escape: bool) -> jinja2.Environment:
    """Return the template engine; an unknown name is an error, not an empty string."""
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=escape, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    engine.globals |= {"HOPS": HOPS, "HOP_TITLES": HOP_TITLES, "OUTCOME_ZH": OUTCOME_ZH, "claim": claim, "bar": bar}
    engine.globals |= {"MEASURES_ZH": MEASURES_ZH, "SEVERITIES_ZH": SEVERITIES_ZH}
    engine.filters |= FILTERS
    return engine
