"""The table of what serves what: held to the installed vLLM, to the docs page, and used where params.yaml is read."""

import re
from pathlib import Path

import pytest
import yaml

from tasks.core.errors import ConfigError
from tasks.core.params.model import METHODS
from tasks.core.schemes import GENERATIONS, SCHEMES, serves
from tasks.core.settings import load_settings

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "quantization.md"
VLLM = "lib/python*/site-packages/vllm/model_executor/layers/quantization/compressed_tensors/schemes"


def test_every_scheme_has_a_row():
    assert set(SCHEMES) == set(METHODS)


def test_the_page_shows_the_table():
    heads = ["cards", "compute capability", *SCHEMES]
    places = [(name, f"{capability}", capability) for capability, name in GENERATIONS.items()]
    places.append(("vLLM's CPU build (x86)", "none", None))
    rows = [[name, said, *(serves(scheme, capability) for scheme in SCHEMES)] for name, said, capability in places]
    table = "\n".join("| " + " | ".join(row) + " |" for row in [heads, ["---"] * len(heads), *rows])
    assert table in PAGE.read_text("utf-8")


def least(name: str) -> int:
    """Return the least capability that vLLM's own scheme says."""
    folders = list((ROOT / ".venv-serve").glob(VLLM))
    if not folders:
        pytest.skip("no serving environment here")
    source = (folders[0] / f"compressed_tensors_{name}.py").read_text("utf-8")
    found = re.search(r"def get_min_capability\(cls\) -> int:\n(?:\s*#.*\n)*\s*return (\d+)", source)
    assert found
    return int(found[1])


def test_the_table_says_what_the_installed_vllm_says():
    assert {round(10 * SCHEMES[name].least) for name in ("W4A16", "W4A16_ASYM")} == {least("wNa16")}
    assert round(10 * SCHEMES["W8A8"].least) == least("w8a8_int8")
    assert round(10 * (SCHEMES["FP8_DYNAMIC"].whole_from or 0)) == least("w8a8_fp8")
    assert round(10 * SCHEMES["FP8_DYNAMIC"].least) == least("w8a16_fp8")


def settings_with(tmp_path, profile, capability, *schemes):
    found = yaml.safe_load((ROOT / "infra" / "profiles" / f"{profile}.yaml").read_text("utf-8"))
    found["hardware"]["compute_capability"] = capability
    found["quantize"]["candidates"] = [{"scheme": scheme} for scheme in schemes]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(found, allow_unicode=True), "utf-8")
    return load_settings(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("profile", "capability", "words"),
    [
        ("laptop", None, "CPU build does not serve FP8_DYNAMIC"),
        ("verify-7b", 10.0, r"compute capability 10\.0 does not serve W8A8"),
        ("verify-7b", 7.0, r"7\.0 does not serve W8A8, FP8_DYNAMIC"),
    ],
)
def test_what_the_card_does_not_serve_is_refused_when_settings_are_read(tmp_path, profile, capability, words):
    with pytest.raises(ConfigError, match=words):
        settings_with(tmp_path, profile, capability, "W8A8", "FP8_DYNAMIC")


@pytest.mark.parametrize("capability", [None, 7.5, 8.6, 8.9, 9.0])
def test_what_it_serves_or_what_is_not_known_passes(tmp_path, capability):
    assert len(settings_with(tmp_path, "verify-7b", capability, "W8A8", "FP8_DYNAMIC").quantize.candidates) == 2


def test_settings_from_before_the_capability_stay_valid(tmp_path):
    text = (ROOT / "infra" / "profiles" / "verify-7b.yaml").read_text("utf-8")
    lines = [line for line in text.splitlines() if "compute_capability" not in line]
    (tmp_path / "params.yaml").write_text("\n".join(lines), "utf-8")
    assert len(lines) < len(text.splitlines())
    assert load_settings(tmp_path / "params.yaml").hardware.compute_capability is None
