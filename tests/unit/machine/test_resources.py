"""Memory, disk, processor, GPUs: each shortage planted and seen."""

import pytest

from tasks.core.gpus import Gpu
from tasks.machine import resources
from tasks.machine.resources import check_cpu, check_disk, check_gpus, check_memory

A100 = Gpu("NVIDIA A100-SXM4-80GB", 80.0, 79.0)


@pytest.mark.parametrize(
    ("total", "available", "outcome"), [(23.5, 19.0, "ok"), (23.5, 5.0, "warning"), (4.0, 3.0, "failed")]
)
def test_memory(laptop, total, available, outcome):
    check = check_memory(laptop.hardware, total, available)
    assert check.outcome == outcome
    assert (check.todo == "") == (outcome == "ok")


def test_memory_of_a_container_is_its_limit(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{3 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{1 << 30}\n")
    monkeypatch.setattr(resources, "CGROUP_LIMIT", tmp_path / "memory.max")
    assert resources.memory_gib() == (3.0, 2.0)


def test_disk_too_small_for_a_new_clone(laptop, project):
    check = check_disk(laptop.hardware, project, 5.0)
    assert (check.outcome, check.todo.startswith("free 7 GiB")) == ("failed", True)


def test_disk_of_a_clone_that_holds_its_models_already_is_a_warning(laptop, project):
    (project.root / ".venv").mkdir()
    project.state.mkdir()
    assert check_disk(laptop.hardware, project, 5.0).outcome == "warning"
    assert check_disk(laptop.hardware, project, 2.0).outcome == "failed"


def test_the_real_disk_and_memory_can_be_read(project):
    assert resources.free_disk_gib(project) > 0
    total, available = resources.memory_gib()
    assert total >= available > 0


def test_a_processor_with_bf16_and_one_without():
    assert check_cpu("flags\t: fpu avx2 avx512f avx512_bf16\n", 0).outcome == "ok"
    assert "AMX" in check_cpu("flags\t: fpu avx512f amx_bf16\n", 0).found
    without = check_cpu("flags\t: fpu avx2\n", 0)
    assert without.outcome == "warning"
    assert check_cpu("", 8).outcome == "ok"


def test_no_gpu_needed_none_found(laptop):
    assert check_gpus(laptop.hardware, []).outcome == "ok"


@pytest.mark.parametrize(
    ("gpus", "outcome"),
    [
        ([], "failed"),
        ([A100] * 4, "failed"),
        ([Gpu("NVIDIA L4", 22.5, 22.0)] * 8, "failed"),
        ([*[A100] * 7, Gpu("NVIDIA A100-SXM4-80GB", 80.0, 10.0)], "warning"),
        ([A100] * 8, "ok"),
        ([Gpu("NVIDIA H100", 79.6, 79.0)] * 8, "ok"),
    ],
)
def test_number_memory_and_free_memory_of_gpus(large, gpus, outcome):
    assert check_gpus(large.hardware, gpus).outcome == outcome
