"""`tunegate models list | recommend | bakeoff`: which base model to start from."""

from typing import Any

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.errors import ConfigError
from tasks.core.settings import Settings
from tasks.core.table import table
from tasks.models.catalogue import USES, Catalogue, Model, choose, load_catalogue, memory, recommend

#: How many `recommend` names.
NAMED = 3


def filters(command: Any) -> Any:
    """Add the options that narrow the catalogue."""
    options = (
        click.option("--family", help="Part of the family's name: qwen, llama, yi."),
        click.option("--language", type=click.Choice(["zh", "en"]), help="Supported by the maker's own statement."),
        click.option("--licence", help="Part of the licence's name: apache."),
        click.option("--reasoning/--no-reasoning", default=None, help="Thinks before it answers."),
        click.option("--memory", "memory_gib", type=click.FloatRange(min=0, min_open=True), help="Room in GiB."),
        click.option("--use", type=click.Choice(USES), default="qlora", show_default=True, help="What for."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def models() -> None:
    """List base models, recommend some, compare a few before training."""


@models.command("list")
@filters
@json_option
def list_models(as_json: bool, **wanted: Any) -> None:
    """List the catalogue: size, context, licence, published Chinese scores, memory in GiB by use.

    "pads with": the token that fills short rows in training; chosen: the base has none of its own that can.
    Memory is an estimate (one conversation of 8,192 tokens when served, one row of 2,048 in training).
    """
    _, settings = project_and_settings()
    catalogue = load_catalogue()
    found = choose(catalogue, settings.train, **wanted)
    emit([_facts(model, catalogue, settings) for model in found], as_json=as_json, text=_listed(found, settings))


@models.command("recommend")
@filters
@json_option
def recommend_models(as_json: bool, memory_gib: float | None, **wanted: Any) -> None:
    """Name the best few that fit, and what to write into params.yaml.

    Without --memory: the memory of this machine (of one GPU where there is one). Without --language: Chinese.
    """
    _, settings = project_and_settings()
    catalogue = load_catalogue()
    room = memory_gib or _room()
    wanted["language"] = wanted["language"] or "zh"
    found = recommend(choose(catalogue, settings.train, memory_gib=room, **wanted))[:NAMED]
    if not found:
        raise ConfigError(
            f"no model of the catalogue fits {room:.1f} GiB for {wanted['use']} with these filters",
            "tunegate models list --language zh; raise --memory or choose --use qlora",
        )
    value = {"memory_gib": round(room, 1), "use": wanted["use"],
             "models": [_facts(model, catalogue, settings) for model in found]}  # fmt: skip
    emit(value, as_json=as_json, text=_recommended(found, catalogue, settings, room, wanted["use"]))


@models.command()
@click.argument("candidates", nargs=-1, required=True)
@click.option("--by", default="overall", show_default=True, help="The metric that ranks.")
@click.option("--limit", type=click.IntRange(min=1), help="Items of each exam and kind; the settings' own by default.")
@json_option
def bakeoff(candidates: tuple[str, ...], by: str, limit: int | None, as_json: bool) -> None:
    """Ask several base models everything `evaluate` asks, and rank them with intervals.

    CANDIDATES: ids of the catalogue, packaged models, or folders. A candidate that was finished is not asked again.
    """
    from tasks.core.gpus import working_on
    from tasks.evaluation.bakeoff import compare, ranked_text, run_bakeoff

    project, settings = project_and_settings()
    each = settings.serve.vllm.tensor_parallel
    with working_on(each, each):
        reports = run_bakeoff(candidates, settings, project, limit=limit)
    ranking = compare(reports, by=by, gate=settings.gate)
    emit(ranking, as_json=as_json, text=ranked_text(ranking))


def _room() -> float:
    """Return the memory training would have here, in GiB."""
    from tasks.core.gpus import find_gpus
    from tasks.machine.resources import memory_gib

    return min((gpu.total_gib for gpu in find_gpus()), default=memory_gib()[0])


def _facts(model: Model, catalogue: Catalogue, settings: Settings) -> dict[str, Any]:
    """Return everything known of a model."""
    family = catalogue.family_of(model)
    return model.model_dump(mode="json") | {
        "languages": family.languages,
        "languages_source": family.languages_source,
        "note": family.note,
        "chinese": model.chinese,
        "memory_gib": {use: round(estimate.gib, 1) for use, estimate in memory(model, settings.train).items()},
    }


def _listed(found: list[Model], settings: Settings) -> str:
    """Return models as a table."""
    head = [
        "model",
        "B",
        "context",
        "licence",
        "serve 16/8/4 bit",
        "QLoRA/LoRA/full",
        "pads with",
        "Chinese, as published",
    ]
    rows = []
    for model in found:
        gib = {use: f"{estimate.gib:.0f}" for use, estimate in memory(model, settings.train).items()}
        serve, train = "/".join(gib[use] for use in USES[:3]), "/".join(gib[use] for use in USES[3:])
        name = f"{model.id} *" if model.reasoning else model.id
        rows.append(
            [name, f"{model.parameters_billion:g}", str(model.context_tokens), model.licence, serve, train,
             model.padding, model.chinese]
        )  # fmt: skip
    return f"{table(head, rows)}\n{len(found)} models; memory in GiB; * thinks before it answers"


def _recommended(found: list[Model], catalogue: Catalogue, settings: Settings, room: float, use: str) -> str:
    """Return a recommendation in words, with the lines for params.yaml."""
    first = found[0]
    lines = [f"for {use} in {room:.1f} GiB:"]
    for number, model in enumerate(found, start=1):
        need = memory(model, settings.train)[use].gib
        note = catalogue.family_of(model).note
        lines.append(
            f"  {number}. {model.id}: about {need:.1f} GiB, {model.licence}, Chinese: {model.chinese}"
            + (f"; {note}" if note else "")
        )
    source = catalogue.family_of(first).source
    lines += ["", "params.yaml:", f"  base_model: {{source: {source}, id: {first.id}, revision: null, digest: null}}",
              "", f"next: tunegate models bakeoff {' '.join(model.id for model in found)}"]  # fmt: skip
    return "\n".join(lines)
