"""The type that CPUs compute in: planted processors, with and without bf16."""

import pytest

from tasks.core.errors import ConfigError
from tasks.core.processor import cpu_dtype, cpu_has_amx


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Return a function that plants what Linux says about the processor."""
    monkeypatch.delenv("TUNEGATE_CPU_DTYPE", raising=False)

    def plant(facts: str) -> None:
        (tmp_path / "cpuinfo").write_text(facts)
        monkeypatch.setattr("tasks.core.processor.CPU_FACTS", tmp_path / "cpuinfo")

    return plant


@pytest.mark.parametrize(
    ("facts", "computes"),
    [
        ("processor : 0\nflags\t: fpu avx2\n", "float32"),
        ("flags\t: fpu avx2 avx512f avx512_vnni\n", "float32"),
        ("flags\t: fpu avx2 avx512f avx512_bf16\n", "bfloat16"),
        ("flags\t: fpu amx_bf16 amx_tile\n", "bfloat16"),
        ("Features\t: fp asimd bf16\n", "bfloat16"),
        ("Features\t: fp asimd\n", "float32"),
        ("", "bfloat16"),
    ],
)
def test_a_processor_without_bf16_computes_in_fp32(processor, facts, computes):
    processor(facts)
    assert cpu_dtype() == computes


def test_the_wanted_type_is_kept_where_the_processor_has_it(processor):
    processor("flags: avx512_bf16\n")
    assert (cpu_dtype("float16"), cpu_dtype("auto")) == ("float16", "auto")
    processor("flags: avx2\n")
    assert (cpu_dtype("float16"), cpu_dtype("auto")) == ("float32", "float32")


@pytest.mark.parametrize(
    ("setting", "computes"), [("float32", "float32"), ("16-bit", "bfloat16"), ("auto", "bfloat16")]
)
def test_the_environment_decides_where_it_says_so(processor, monkeypatch, setting, computes):
    processor("flags: avx512_bf16\n")
    monkeypatch.setenv("TUNEGATE_CPU_DTYPE", setting)
    assert cpu_dtype() == computes


def test_another_type_is_refused_with_those_there_are(processor, monkeypatch):
    monkeypatch.setenv("TUNEGATE_CPU_DTYPE", "int8")
    with pytest.raises(ConfigError, match="TUNEGATE_CPU_DTYPE='int8'") as caught:
        cpu_dtype()
    assert "16-bit" in caught.value.hint


def test_matrix_tiles_are_found_by_their_own_flag(processor):
    processor("flags: avx512f amx_bf16\n")
    assert not cpu_has_amx()
    processor("flags: amx_tile\n")
    assert cpu_has_amx()
