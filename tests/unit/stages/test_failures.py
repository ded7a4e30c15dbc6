"""Why a stage failed, as the process above DVC reads it: our errors as they were, others under their own name."""

import pytest

from tasks.core.errors import DataContractError, TunegateError
from tasks.core.project import Project
from tasks.stages.failures import clear_failure, record_failure, recorded_failure


class OutOfMemoryError(RuntimeError):
    """Called like torch's."""


def _raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_our_own_error_comes_back_as_it_was(tmp_path):
    record_failure(Project(tmp_path), "prepare", DataContractError("第 3 行", "mend it"))
    found = recorded_failure(Project(tmp_path), "prepare")
    assert type(found) is DataContractError
    assert (found.message, found.hint) == ("第 3 行", "mend it")
    clear_failure(Project(tmp_path), "prepare")
    assert recorded_failure(Project(tmp_path), "prepare") is None


@pytest.mark.parametrize(
    ("error", "name", "hint"),
    [(ValueError("形状不符"), "ValueError: 形状不符", "finished stages are kept"),
     (MemoryError("no more"), "MemoryError: no more", "train.batch_rows"),
     (OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of memory", "train.batch_rows")],
)  # fmt: skip
def test_an_error_that_is_not_ours_says_its_name_and_where(tmp_path, error, name, hint):
    record_failure(Project(tmp_path), "train", _raised(error))
    found = recorded_failure(Project(tmp_path), "train")
    assert type(found) is TunegateError
    assert found.message.startswith("stage train ended with ")
    assert name in found.message
    assert "stages/test_failures.py:" in found.message
    assert "in _raised: raise error" in found.message
    assert str(tmp_path) not in found.message
    assert hint in found.hint


def test_mlflow_says_its_own_name(tmp_path):
    from mlflow.exceptions import MlflowException

    record_failure(Project(tmp_path), "train", _raised(MlflowException("the table is gone")))
    found = recorded_failure(Project(tmp_path), "train")
    assert "mlflow.exceptions.MlflowException: the table is gone" in found.message
