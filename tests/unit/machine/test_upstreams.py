"""`tunegate doctor` on model servers behind URLs."""

import pytest

from tasks.core.settings import load_settings
from tasks.machine.network import check_ports
from tasks.machine.upstreams import check_upstreams
from tests.unit.serving.test_upstream import serves, small_server


@pytest.fixture
def checks(project, monkeypatch):
    def look(addresses: str, token: str = "secret"):
        monkeypatch.setenv("TUNEGATE_UPSTREAMS", addresses)
        monkeypatch.setenv("TUNEGATE_UPSTREAM_TOKEN", token)
        return check_upstreams(load_settings(project.root / "params.yaml"))

    return look


def test_nothing_is_asked_without_an_address(checks):
    assert checks("") == []


def test_what_each_serves(checks, project):
    with small_server(serves("tg-1")) as one, small_server(serves("tg-2")) as other:
        found = checks(f"{one}|{other}")
        assert [(check.outcome, check.found) for check in found] == [
            ("ok", f"{one} serves tg-1"), ("ok", f"{other} serves tg-2")]  # fmt: skip
        # Ports of slots of our own are not needed.
        assert not any("slot" in check.needed for check in check_ports(project))


def test_what_is_wrong(checks):
    with small_server(serves("tg-1")) as one:
        assert [check.outcome for check in checks(one, token="another")] == ["failed", "warning"]
        assert "HTTP 401" in checks(one, token="another")[0].found


def test_a_token_in_the_clear(checks, monkeypatch):
    with small_server(serves("tg-1")) as one:
        monkeypatch.setattr("tasks.machine.upstreams.LOOPBACK", frozenset())
        check = checks(one)[0]
    assert (check.outcome, "crosses the network" in check.found) == ("warning", True)
