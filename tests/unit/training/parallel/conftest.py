import pytest


@pytest.fixture
def start_ranks(project, prepared, tiny, tmp_path, train_params):
    """Run a function of ranks.py in processes of their own; the scratch stays between calls."""
    from tasks.training.parallel.launch import train_together

    def run(function, *, scratch="scratch", output="out", strategy="ddp", processes=2, **changes):
        (tmp_path / output).mkdir(exist_ok=True)
        params = train_params(
            parallel={"strategy": strategy, "processes": processes}, gradient_accumulation_steps=2, **changes
        )
        return train_together(
            f"tests.unit.training.parallel.ranks:{function}", params, scratch=tmp_path / scratch,
            paths={"output": tmp_path / output, "prepared": prepared, "base": tiny},
            lineage_id=f"tg-{tmp_path.name}", project=project,
        )  # fmt: skip

    return run


@pytest.fixture
def root_params(tmp_path):
    """Write the shipped params.yaml with another train section."""
    import yaml

    from tests.unit.training.conftest import ROOT

    def write(**changes):
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        values["train"] |= changes
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        return tmp_path / "params.yaml"

    return write
