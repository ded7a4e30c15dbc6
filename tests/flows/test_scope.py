"""Whose a name on a shared Prefect server is."""

import pytest

from flows.scope import VARIABLE, owner, project_name, scoped, scoped_deployment, scoped_parameters
from tasks.core.errors import ConfigError
from tasks.core.project import Project


def test_without_a_name_everything_is_called_as_in_the_file(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert (scoped("gpu"), scoped_deployment("stage/gpu")) == ("gpu", "stage/gpu")


def test_a_name_stands_before_pools_and_deployments_once(monkeypatch):
    monkeypatch.setenv(VARIABLE, "ward-7")
    assert scoped("gpu") == "ward-7-gpu"
    assert scoped_deployment("stage/gpu") == "stage/ward-7-gpu" == scoped_deployment("stage/ward-7-gpu")
    parameters = {"keep_serving": True, "gpu_deployment": "stage/gpu", "release_deployment": None}
    assert scoped_parameters(parameters) == parameters | {"gpu_deployment": "stage/ward-7-gpu"}


@pytest.mark.parametrize("name", ["病房", "Ward", "a/b", "-a", "a-", "a" * 33, "a b"])
def test_what_is_no_name_is_refused(monkeypatch, name):
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ConfigError, match=VARIABLE):
        project_name()


def test_a_checkout_draws_its_id_once_and_two_checkouts_differ(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    one, two = Project(tmp_path / "一"), Project(tmp_path / "二")
    assert owner(one) == owner(one) != owner(two)
    monkeypatch.setenv(VARIABLE, "ward-7")
    assert owner(one) == owner(two) == "project:ward-7"
