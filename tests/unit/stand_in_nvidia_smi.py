"""A program called nvidia-smi on the PATH that stands in for the real one: there are no GPUs where the tests run."""

import os

import pytest

VARIABLES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TUNEGATE_WORK_GPUS", "TUNEGATE_SLOT_GPUS")


@pytest.fixture
def stand_in_gpus(tmp_path, monkeypatch):
    """Return a function that makes the machine seem to have cards of 80 GiB, each with so many GiB free."""
    folder = tmp_path / "stand-in-nvidia-smi"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def have(*free_gib):
        lines = [f"{index}, GPU-{index:04x}, NVIDIA A100-SXM4-80GB, {80 * 1024}, {free * 1024}"
                 for index, free in enumerate(free_gib)]  # fmt: skip
        write(folder, "\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines or ["No devices were found"])]))

    return have


def write(folder, script):
    program = folder / "nvidia-smi"
    program.write_text(f"{script}\n")
    program.chmod(0o755)
