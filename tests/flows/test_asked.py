"""Settings that a run is asked with: Prefect's form knows every key and refuses what is none."""

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate
from pydantic import ValidationError as WrongSettingsError

from flows.asked import AskedSettings
from flows.pipeline import pipeline
from tasks.core.settings import Settings, TrainParams


def test_only_what_was_given_is_passed_on():
    given = {
        "train": {"max_steps": 7, "lora": {"target_modules": ["q_proj"]}},
        "validate": {"answer_characters": [1, 2000]},
        "base_model": {"revision": None},
    }
    assert AskedSettings.model_validate(given).values() == given
    assert set(AskedSettings.model_fields) == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"train": {"max_stesp": 7}}, "max_stesp"), ({"train": {"max_steps": "七"}}, "max_steps"),
     ({"train": {"max_steps": 0}}, "max_steps"), ({"schedule": {"nightly": {"cron": "每天"}}}, "cron")],
)  # fmt: skip
def test_a_wrong_key_or_value_is_refused_where_it_is_typed(given, said):
    with pytest.raises(WrongSettingsError, match=said):
        AskedSettings.model_validate(given)


def test_every_section_says_in_the_form_what_it_is():
    silent = [key for key, field in AskedSettings.model_fields.items() if key != "profile" and not field.description]
    assert silent == []
    schema = parameter_schema(pipeline).model_dump_for_openapi()
    found = schema["definitions"]["Settings"]["properties"]["train"]
    assert found["description"] == TrainParams.__doc__.partition("\n")[0]


def test_the_server_is_told_the_types():
    schema = parameter_schema(pipeline).model_dump_for_openapi()
    validate({"params": {"train": {"max_steps": 7}}}, schema, raise_on_error=True)
    for wrong in ({"train": {"max_stesp": 7}}, {"train": {"max_steps": "seven"}}, {"训练": {}}):
        with pytest.raises(ValidationError):
            validate({"params": wrong}, schema, raise_on_error=True)
