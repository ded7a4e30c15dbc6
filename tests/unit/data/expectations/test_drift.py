"""Profiles and drift: what counts as moved, what chance alone does, and that the reference is seen by DVC."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.manifest import write_manifest
from tasks.core.settings import DriftParams
from tasks.data.expectations.drift import chance_limit, compare, compare_with, psi, read_reference
from tasks.data.profile import (
    CHARACTER_EDGES,
    COMPARED,
    distributions,
    histogram,
    profile_of,
    read_profile,
    write_profile,
)

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 10**6), min_size=1)
REFERENCE = "reference/profile.json"


def profile(rows: int, *, seed: int, chinese: float = 0.7, typical: int = 200) -> dict[str, Any]:
    """Return the profile of random rows: share of Chinese, typical length."""
    generator = np.random.default_rng(seed)
    languages = np.where(generator.random(rows) < chinese, "zh", "en")
    lengths = generator.lognormal(np.log(typical), 0.5, rows).astype(int)
    found = distributions(
        languages=languages.tolist(),
        sources=[f"instructions/{number}.jsonl" for number in generator.integers(0, 3, rows)],
        concepts=[f"c{number}" for number in generator.integers(0, 400, rows)],
        formats=["alpaca"] * rows,
        characters=lengths,
        tokens=lengths // 2,
    )
    return profile_of({"rows": rows, **found})


def moved(reference: dict[str, Any], current: dict[str, Any], limit: float = 0.2) -> set[str]:
    """Return the distributions beyond their limit."""
    return {drift.name for drift in compare(reference, current, limit) if drift.index > drift.limit}


def test_a_worked_example() -> None:
    # p = 0.5, 0.5 and q = 0.9, 0.1: 0.4 * ln(1.8) - 0.4 * ln(0.2) = 0.8789
    assert psi({"a": 5_000_000, "b": 5_000_000}, {"a": 9_000_000, "b": 1_000_000}) == pytest.approx(0.8789, abs=1e-4)


@given(COUNTS, COUNTS)
def test_the_index_is_a_distance(one: dict[str, int], other: dict[str, int]) -> None:
    assert psi(one, one) == pytest.approx(0)
    assert psi(one, other) >= -1e-12
    assert psi(one, other) == pytest.approx(psi(other, one))


@given(st.lists(st.integers(0, 10**6), max_size=60))
def test_every_length_is_in_the_bin_that_holds_it(values: list[int]) -> None:
    counts = histogram(np.array(values, dtype=np.int64), CHARACTER_EDGES)
    ends = [*CHARACTER_EDGES[1:], 10**9]
    assert counts == [
        sum(low <= value < high for value in values) for low, high in zip(CHARACTER_EDGES, ends, strict=True)
    ]


@pytest.mark.parametrize(("rows", "rows_now"), [(60, 600), (600, 600), (20_000, 600), (20_000, 20_000)])
def test_two_samples_of_one_population_have_not_moved(rows: int, rows_now: int) -> None:
    for seed in range(8):
        assert moved(profile(rows, seed=seed), profile(rows_now, seed=seed + 100), 0.1) == set()


def test_each_kind_of_move_is_found() -> None:
    reference = profile(3000, seed=1)
    assert moved(reference, profile(3000, seed=2, chinese=0.3)) == {"languages"}
    longer = {"characters_zh", "characters_en", "tokens_zh", "tokens_en"}
    assert moved(reference, profile(3000, seed=2, typical=500)) == longer
    other_file = profile(3000, seed=2) | {"sources": {"instructions/new.jsonl": 3000}}
    assert moved(reference, other_file) == {"sources"}
    one_topic = profile(3000, seed=2) | {"concepts": {"c1": 3000}}
    assert moved(reference, one_topic) == {"concepts"}


def test_what_moved_most_is_named() -> None:
    drifts = compare(profile(3000, seed=1), profile(3000, seed=2, chinese=0.3), 0.2)
    languages = next(drift for drift in drifts if drift.name == "languages")
    assert {name for name, _, _ in languages.movers} == {"en", "zh"}
    assert [drift.name for drift in drifts] == list(COMPARED)


def test_small_datasets_get_a_wider_limit() -> None:
    assert chance_limit(10, 50, 50) > 1 > 0.01 > chance_limit(10, 10**6, 10**6)
    assert chance_limit(1, 5, 5) == 0


def test_nothing_to_compare_with_is_said() -> None:
    comparison = compare_with(DriftParams(reference=None, max_stability_index=0.2), None, {})
    assert comparison.words.startswith("Nothing to compare with: validate.drift.reference is null.")
    assert "tunegate data profile --write" in comparison.words


def test_a_profile_is_written_with_its_lineage_and_read_back(tmp_path: Path) -> None:
    prepared = tmp_path / "data/prepared"
    made = profile(50, seed=1)
    write_json(prepared / "summary.json", {**made, "rows": {"in": 60, "kept": 50}, "reasons": {}, "policy": {}})
    file = tmp_path / "data/raw" / REFERENCE
    with pytest.raises(DataContractError, match=r"has no manifest\.json"):
        write_profile(prepared, file)
    write_manifest(prepared, {"lineage_id": "tg-1"})
    assert write_profile(prepared, file) == {**made, "lineage_id": "tg-1"}
    params = DriftParams(reference=REFERENCE, max_stability_index=0.2)
    reference = read_reference(params, tmp_path / "data/raw")
    comparison = compare_with(params, reference, made)
    assert (comparison.rows, comparison.lineage_id) == (50, "tg-1")
    assert comparison.words == f"7 distributions compared with {REFERENCE} (50 rows): none has moved."


@pytest.mark.parametrize("damage", ["schema", "rows", "sources", "lengths", "edges", "short"])
def test_a_damaged_profile_is_an_error(tmp_path: Path, damage: str) -> None:
    value = json.loads(json.dumps(profile(50, seed=1)))
    if damage == "edges":
        value["lengths"]["characters"]["edges"][1] = 17
    elif damage == "short":
        value["lengths"]["tokens"]["zh"].pop()
    else:
        value[damage] = None
    write_json(tmp_path / "profile.json", value)
    with pytest.raises(DataContractError, match="is no dataset profile") as damaged:
        read_profile(tmp_path / "profile.json")
    assert "tunegate data profile --write" in (damaged.value.hint or "")


def test_a_reference_that_is_absent_or_that_dvc_does_not_see_is_an_error(tmp_path: Path) -> None:
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    with pytest.raises(ConfigError, match="does not exist"):
        read_reference(DriftParams(reference=REFERENCE, max_stability_index=0.2), raw)
    write_json(tmp_path / "elsewhere.json", profile(50, seed=1))
    with pytest.raises(ConfigError, match="is not under data/raw"):
        read_reference(DriftParams(reference="../../elsewhere.json", max_stability_index=0.2), raw)
    assert read_json(tmp_path / "elsewhere.json")["rows"] == 50
