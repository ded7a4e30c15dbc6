"""params.yaml: every wrong key named at once, nothing filled in, units and types kept."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from tasks.core.errors import ConfigError
from tasks.core.settings import Section, Settings, load_settings

SHIPPED = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def values():
    return yaml.safe_load(SHIPPED.read_text("utf-8"))


@pytest.fixture
def load(tmp_path):
    def write(values) -> Settings:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(values, allow_unicode=True), "utf-8")
        return load_settings(path)

    return write


def sections(model: type[Section]) -> list[type[Section]]:
    found = [model]
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found += sections(field.annotation)
    return found


def test_the_shipped_file_is_valid():
    settings = load_settings(SHIPPED)
    assert settings.profile == "laptop"
    assert settings.section("validate") is settings.validate_
    assert settings.section("register") is settings.register_
    assert settings.section("serve.vllm") is settings.serve.vllm


@pytest.mark.parametrize("model", sections(Settings), ids=lambda model: model.__name__)
def test_nothing_tunable_has_a_default(model):
    # A default would change what comes out without DVC seeing a changed parameter.
    assert all(field.default is PydanticUndefined for field in model.model_fields.values())
    assert model.model_config["extra"] == "forbid"


def test_all_problems_are_named_at_once(values, load):
    values["train"]["max_stepz"] = values["train"].pop("max_steps")
    values["serve"]["gateway"]["max_choices"] = 0
    values["prepare"]["privacy"]["policies"]["mobile"] = "遮盖"
    with pytest.raises(ConfigError) as caught:
        load(values)
    for key in ("train.max_steps", "train.max_stepz", "serve.gateway.max_choices", "prepare.privacy.policies.mobile"):
        assert key in caught.value.message
    assert "4 wrong setting(s)" in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("wrong", ["8", 8.5, None, True])
def test_types_are_not_bent(values, load, wrong):
    values["train"]["batch_rows"] = wrong
    with pytest.raises(ConfigError, match=r"train\.batch_rows"):
        load(values)


def test_a_whole_number_is_a_valid_fraction_of_time(values, load):
    values["serve"]["reconcile_every_s"] = 30
    assert load(values).serve.reconcile_every_s == 30.0


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings(SHIPPED).train.seed = 7


def test_a_missing_section_is_named(values, load):
    del values["gate"]
    with pytest.raises(ConfigError, match=r"  gate: Field required"):
        load(values)


def test_a_hub_source_may_not_be_called_by_the_stand_in_s_name(values, load):
    values["evaluate"]["exams"][0]["source"] = "modelscope"
    with pytest.raises(ConfigError, match="the exam proper"):
        load(values)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "纯文本", "profile: [unclosed"])
def test_a_file_that_is_no_mapping(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError):
        load_settings(tmp_path / "params.yaml")


def test_a_date_is_refused_with_advice(values, load):
    values["base_model"]["revision"] = __import__("datetime").date(2026, 1, 2)
    with pytest.raises(ConfigError) as caught:
        load(values)
    assert "quote the value" in caught.value.hint


def test_a_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_bytes("profile: 笔记本".encode("gbk"))
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_settings(tmp_path / "params.yaml")


def test_an_absent_file_names_the_next_command(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path / "params.yaml")
    assert caught.value.hint == "tunegate profile use laptop"


def test_an_exam_is_asked_once(values, load):
    values["evaluate"]["exams"] *= 2
    with pytest.raises(ConfigError, match="an exam stands twice"):
        load(values)


@pytest.mark.parametrize("name", ["emergency", "核应急-7b", "tunegate.v2_final", "模型", "A1"])
def test_a_model_name_that_mlflow_and_a_path_can_hold(values, load, name):
    assert load(values | {"register": {"model_name": name}}).register_.model_name == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "核/应急", "a:b", "o'brien", 'a"b', "a b", "-x", ".hidden", "x\n", "x" * 129, "a\\b", "a%2Fb"],
)
def test_case_18_a_model_name_is_refused_when_settings_are_read(values, load, name):
    with pytest.raises(ConfigError, match=r"register\.model_name"):
        load(values | {"register": {"model_name": name}})
