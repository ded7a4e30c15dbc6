"""What people are told of without looking: a run that failed, a gate that said no, an approval that is waited for.

`TUNEGATE_NOTIFY_URL` is the address of a group's robot (WeCom, DingTalk, Feishu, Slack) or of anything that takes JSON;
`make workers` writes one automation a kind of event, and the server sends them: also where every worker is gone.
"""

import logging
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flows.automations import have_automation, named, runs_of
from flows.monitor import ALARM
from flows.outcome import GATE_FAILED
from flows.scope import project_name, scoped
from tasks.core.errors import ConfigError

log = logging.getLogger(__name__)

VARIABLE = "TUNEGATE_NOTIFY_URL"
RUN = "prefect.flow-run"
#: The page of a run, where the server knows the address of its UI (PREFECT_UI_URL).
PAGE = '(" " ~ (flow_run|ui_url) if flow_run|ui_url else "")'
#: A state need not have a message: Prefect's Suspended has none.
SAID = 'flow_run.name ~ ": " ~ (flow_run.state.message or flow_run.state.name)|truncate(600)'


@dataclass(frozen=True)
class Notice:
    """A kind of event people are told of.

    Args:
        rule: name of its automation.
        events: Prefect's names; any of them.
        words: Jinja expression of the message.
        subject: what the event is of: runs of our deployments, or our work pools.
    """

    rule: str
    events: tuple[str, ...]
    words: str
    subject: str = RUN


NOTICES = (
    Notice("a run failed", tuple(f"{RUN}.{end}" for end in ("Failed", "Crashed", "TimedOut")), f'"failed: " ~ {SAID}'),
    Notice("the gate said no", (f"{RUN}.{GATE_FAILED}",), f'"not passed by the gate: " ~ {SAID}'),
    Notice("a version waits for approval", (f"{RUN}.Suspended",), f'"waits for approval: " ~ {SAID}'),
    Notice("what is live is not as released", (ALARM,), '"alarm: " ~ event.payload.what', "tunegate.version"),
    Notice("no worker", ("prefect.work-pool.not-ready",), '"no worker of pool " ~ work_pool.name', "prefect.work-pool"),
)

#: Host of a robot's address -> what it takes; {{}} stands for the text as JSON.
SHAPES = {
    "qyapi.weixin.qq.com": '{"msgtype": "text", "text": {"content": {{}}}}',
    "oapi.dingtalk.com": '{"msgtype": "text", "text": {"content": {{}}}}',
    "open.feishu.cn": '{"msg_type": "text", "content": {"text": {{}}}}',
}
#: Slack, Mattermost, Teams' workflows, and whatever a site builds itself.
OTHER_SHAPE = '{"text": {{}}}'


def have_notices(client: Any, deployments: list[Any], pools: list[str]) -> None:
    """Have the server tell people, where the environment says whom; else leave what there is.

    Args:
        client: Prefect's sync client.
        deployments: ids of this project's.
        pools: its work pools, by their plain names.

    Raises:
        ConfigError: the address is none.
    """
    from prefect.events.actions import CallWebhook
    from prefect.events.schemas.automations import AutomationCore

    address = os.environ.get(VARIABLE)
    if not address:
        log.info("nobody is told of failures and waiting approvals: %s is not set", VARIABLE)
        return
    block = _have_block(address)
    for notice in NOTICES:
        action = CallWebhook(block_document_id=block, payload=payload(address, notice))
        trigger = _trigger(client, notice, deployments, pools)
        said = (
            f"Sends a message to {VARIABLE} at {', '.join(event.removeprefix('prefect.') for event in notice.events)}"
        )
        automation = AutomationCore(name=named(notice.rule), description=said, trigger=trigger, actions=[action])
        have_automation(client, automation)


def payload(address: str, notice: Notice) -> str:
    """Return the template of what is sent: JSON, in the shape that the receiver takes.

    Raises:
        ConfigError: the address is no http(s) address.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{VARIABLE} is no http(s) address", f"export {VARIABLE}=https://<your group's robot>")
    page = f" ~ {PAGE}" if notice.subject == RUN else ""
    who = f"tunegate {project_name()}".strip()
    text = f'{{{{ ("[{who}] " ~ {notice.words}{page})|tojson }}}}'
    return SHAPES.get(parts.hostname, OTHER_SHAPE).replace("{{}}", text)


def _have_block(address: str) -> Any:
    """Keep the address on the server, encrypted, and return the block's id."""
    from prefect.blocks.webhook import Webhook
    from pydantic import SecretStr

    headers: Any = {"Content-Type": "application/json; charset=utf-8"}
    return Webhook(url=SecretStr(address), headers=headers).save(scoped("tunegate-notify"), overwrite=True)


def _trigger(client: Any, notice: Notice, deployments: list[Any], pools: list[str]) -> Any:
    """Return when a notice is sent: at every such event of what is this project's."""
    from datetime import timedelta

    from prefect.events.schemas.automations import EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    of_pools = notice.subject == "prefect.work-pool"
    ids = [f"prefect.work-pool.{client.read_work_pool(scoped(pool)).id}" for pool in pools] if of_pools else []
    return EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": sorted(ids) or f"{notice.subject}.*"}),
        match_related=ResourceSpecification({}) if of_pools else runs_of(deployments),
        expect=set(notice.events),
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
