"""Which stage begins next: the table's order on one card, what each reads where there are cards for several."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from flows import order
from flows.clock import covered
from flows.order import gpu_places, next_to_begin, places_here
from tasks.core.layout import ADAPTER
from tasks.core.settings import load_settings
from tasks.stages.table import STAGES, built_on, find_stages, reads
from tests.unit.stand_in_nvidia_smi import stand_in_gpus

__all__ = ["stand_in_gpus"]

#: Minutes; all else takes one.
MINUTES = {"train": 40, "evaluate@base": 30, "quantize": 10}


@pytest.fixture
def project_settings():
    return load_settings(Path(__file__).parents[2] / "params.yaml")


def walked(places: int, stages=STAGES) -> dict[str, tuple[int, int]]:
    """When each stage begins and ends, were these its minutes."""
    waiting, under_way, spans, now = list(stages), [], {}, 0
    while waiting or under_way:
        if stage := next_to_begin(waiting, under_way, places):
            waiting.remove(stage)
            under_way.append(stage)
            spans[stage.name] = (now, now + MINUTES.get(stage.name, 1))
            continue
        ended = min(under_way, key=lambda stage: spans[stage.name][1])
        under_way.remove(ended)
        now = spans[ended.name][1]
    return spans


def together(spans: dict[str, tuple[int, int]], one: str, other: str) -> int:
    return min(spans[one][1], spans[other][1]) - max(spans[one][0], spans[other][0])


def test_with_one_place_stages_are_one_after_another_as_in_the_table():
    spans = walked(1)
    assert list(spans) == [stage.name for stage in STAGES]
    ends = [end for _, end in spans.values()]
    assert [begin for begin, _ in spans.values()] == [0, *ends[:-1]]


@pytest.mark.parametrize("places", [2, 3, 8])
def test_with_more_the_base_model_is_evaluated_while_training_goes_on(places):
    spans = walked(places)
    assert together(spans, "train", "evaluate@base") == 29  # all of it, but for the minute that validate takes
    for stage in STAGES:
        assert all(spans[read.name][1] <= spans[stage.name][0] for read in reads(stage)), stage.name
    on_gpu = [spans[stage.name] for stage in STAGES if stage.gpu]
    assert max(sum(begin <= now < end for begin, end in on_gpu) for now, _ in on_gpu) <= places
    assert max(end for _, end in spans.values()) < max(end for _, end in walked(1).values())


def test_a_stage_that_reads_the_adapter_is_not_begun_beside_training():
    """Planted: were the base model's evaluation to read what training makes."""
    stages = [replace(stage, inputs=MappingProxyType({**stage.inputs, "adapter": ADAPTER}))
              if stage.name == "evaluate@base" else stage for stage in STAGES]  # fmt: skip
    spans = walked(2, stages)
    assert spans["evaluate@base"][0] >= spans["train"][1]


def test_what_a_stage_is_built_on():
    asked = ("prepare", "evaluate@base", "merge")
    names = {name: [one.name for one in built_on(find_stages(name)[0])] for name in asked}
    assert names == {"prepare": [], "evaluate@base": ["prepare"], "merge": ["prepare", "validate", "train"]}
    assert len(built_on(find_stages("dossier")[0])) == len(STAGES) - 1


@pytest.mark.parametrize(
    ("cards", "processes", "places"),
    [((), 1, 0), ((70,), 1, 1), ((70, 70), 1, 2), ((70, 70), 2, 1), ((70, 70, 70, 70), 2, 2), ((70,), 2, 0)],
)
def test_a_machine_has_places_for_as_many_stages_as_its_cards_are_enough_for(
    stand_in_gpus, project_settings, cards, processes, places
):
    stand_in_gpus(*cards)
    train = project_settings.train
    parallel = train.parallel.model_copy(update={"processes": processes})
    settings = project_settings.model_copy(update={"train": train.model_copy(update={"parallel": parallel})})
    assert places_here(settings) == places
    assert gpu_places(settings, None) == max(1, places)


def test_cards_that_serve_are_no_places_to_work(stand_in_gpus, project_settings, monkeypatch):
    stand_in_gpus(70, 10, 70)
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0|1")
    assert places_here(project_settings) == 1


def test_places_elsewhere_are_asked_of_the_pool(project_settings, monkeypatch):
    monkeypatch.setattr(order, "workers_of", {"stage/gpu": 2, "stage/later": 0}.get)
    assert [gpu_places(project_settings, name) for name in ("stage/gpu", "stage/later")] == [2, 1]


def test_what_went_on_at_the_same_time_counts_once():
    assert covered([(0.0, 4.0), (1.0, 3.0), (2.0, 6.0), (8.0, 9.0)]) == 7.0
