"""Out of memory is said only where the kernel's count or the memory itself says so."""

from tasks.machine import out_of_memory
from tasks.machine.out_of_memory import MemoryWatch, kernel_kills


def test_nothing_is_claimed_where_nothing_says_so(monkeypatch):
    monkeypatch.setattr(out_of_memory, "memory_gib", lambda: (24.0, 12.0))
    watch = MemoryWatch()
    watch.look()
    assert watch.verdict() is None


def test_the_kernels_count_is_believed(tmp_path, monkeypatch):
    events = tmp_path / "memory.events"
    monkeypatch.setattr(out_of_memory, "CGROUP_EVENTS", events)
    events.write_text("low 0\noom 1\noom_kill 1\n")
    watch = MemoryWatch()
    assert watch.verdict() is None
    events.write_text("low 0\noom 2\noom_kill 2\n")
    assert "kernel" in watch.verdict()


def test_memory_near_its_limit_is_believed(monkeypatch):
    watch = MemoryWatch()
    for available in (12.0, 0.2, 20.0):
        monkeypatch.setattr(out_of_memory, "memory_gib", lambda left=available: (24.0, left))
        watch.look()
    assert "0.8%" in watch.verdict()


def test_a_machine_that_counts_nothing_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(out_of_memory, "CGROUP_EVENTS", tmp_path / "none")
    monkeypatch.setattr(out_of_memory, "VMSTAT", tmp_path / "none")
    assert kernel_kills() == 0
