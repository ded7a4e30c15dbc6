"""docs/gateway.md and its OpenAPI document are what the gateway checks requests by."""

import importlib.util
import json
from pathlib import Path

from jsonschema import Draft202012Validator

from tests.contract.test_gateway import CASES

ROOT = Path(__file__).parents[2]


def writer():
    spec = importlib.util.spec_from_file_location("write_gateway", ROOT / "docs" / "write_gateway.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_and_document_are_current():
    module = writer()
    assert (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8") == module.page(), "run: make docs"
    assert (ROOT / "docs" / "gateway-openapi.json").read_text(encoding="utf-8") == module.openapi(), "run: make docs"


def test_the_document_takes_what_the_gateway_takes():
    document = json.loads(writer().openapi())
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    chat = {"$ref": "#/components/schemas/chat", "components": document["components"]}
    validator = Draft202012Validator(chat)
    case = json.loads((CASES / "01-second-turn.json").read_text(encoding="utf-8"))
    assert [error.message for error in validator.iter_errors(case)] == []
    assert not validator.is_valid(case | {"temperature": 3})
    assert not validator.is_valid(case | {"ignore_eos": True})
