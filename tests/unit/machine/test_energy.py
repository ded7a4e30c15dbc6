"""Energy counters: packages are added, their parts are not; a counter that starts again is no loss."""

from pathlib import Path

import pytest

from tasks.machine.energy import joules_between, read_counters


def zone(folder: Path, name: str, counter: str, limit: int = 1_000_000) -> None:
    """Write one power zone as the kernel shows it."""
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{counter}\n", encoding="ascii")
    (folder / name / "max_energy_range_uj").write_text(f"{limit}\n", encoding="ascii")


def test_packages_are_added_and_their_cores_are_not(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        zone(tmp_path, name, "100000")
    before = read_counters(tmp_path)
    zone(tmp_path, "intel-rapl:0", "600000")
    zone(tmp_path, "intel-rapl:0:0", "900000")
    zone(tmp_path, "intel-rapl:1", "350000")
    assert joules_between(before, read_counters(tmp_path)) == pytest.approx(0.75)


def test_a_counter_that_started_again_goes_on(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "900000")
    before = read_counters(tmp_path)
    zone(tmp_path, "intel-rapl:0", "100000")
    assert joules_between(before, read_counters(tmp_path)) == pytest.approx(0.2)


def test_no_counter_or_an_unreadable_one_is_no_measurement(tmp_path: Path) -> None:
    assert read_counters(tmp_path) is None
    zone(tmp_path, "intel-rapl:0", "not a number")
    assert read_counters(tmp_path) is None
    assert joules_between(None, {"intel-rapl:0": (1, 2)}) is None
    assert joules_between({"intel-rapl:0": (1, 2)}, {"intel-rapl:1": (1, 2)}) is None
