"""Who is told of what: the message a robot gets, and a real server that sends it."""

import json

import pytest

from flows.notices import NOTICES, SHAPES, VARIABLE, payload
from tasks.core.errors import ConfigError

FAILED = NOTICES[0]


@pytest.mark.parametrize("host", [*SHAPES, "hooks.slack.com", "10.0.0.7:8065"])
def test_every_receiver_gets_json_of_its_own_shape(host, monkeypatch):
    from jinja2 import Environment

    monkeypatch.setenv("TUNEGATE_PROJECT", "ward-7")
    rooms = Environment()
    rooms.filters["ui_url"] = lambda run: "http://prefect/runs/1"
    state = {"name": "Failed", "message": '训练 "第三行"\n不是 JSON'}
    said = rooms.from_string(payload(f"https://{host}/send?key=k", FAILED)).render(
        flow_run={"name": "laptop, brave-otter", "state": state}
    )
    text = str(json.loads(said))
    assert "[tunegate ward-7] failed: laptop, brave-otter: 训练" in text
    assert "http://prefect/runs/1" in text


def test_a_state_without_a_message_is_told_by_its_name():
    """Prefect's Suspended has none: the approval that is waited for would never be told."""
    from jinja2 import Environment

    rooms = Environment()
    rooms.filters["ui_url"] = lambda run: ""
    waits = next(notice for notice in NOTICES if "approval" in notice.rule)
    run = {"name": "version 3 lacks 2 approvals, 水獭", "state": {"name": "Suspended", "message": None}}
    said = json.loads(rooms.from_string(payload("https://example.org/x", waits)).render(flow_run=run))
    assert "waits for approval: version 3 lacks 2 approvals, 水獭: Suspended" in said["text"]


@pytest.mark.parametrize("address", ["", "robot", "ftp://robot/x", "https://"])
def test_what_is_no_address_is_refused_without_being_shown(address):
    with pytest.raises(ConfigError, match=VARIABLE) as caught:
        payload(address, FAILED)
    assert not address or address not in caught.value.message
