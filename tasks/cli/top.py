"""`tunegate top`: what the gateway does just now, in a terminal."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from tasks.core.errors import ConfigError
from tasks.core.project import Project

if TYPE_CHECKING:
    from rich.console import Group

ALARMS = 6


@click.command()
@click.option("--every", "every_s", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Show one interval and end; so it is where the output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="One JSON value an interval, a line each.")
def top(every_s: float, once: bool, as_json: bool) -> None:
    """Show requests and tokens a second, slots, keys and the last alarms of the gateway on this machine.

    Ctrl-C ends it; nothing else does, not even a gateway that restarts.
    """
    from rich.console import Console
    from rich.live import Live

    project = Project.here()
    watch = _Watch(project, every_s)
    if as_json or once or not sys.stdout.isatty():
        while True:
            found = watch.next()
            click.echo(json.dumps(found, ensure_ascii=False)) if as_json else Console(width=110).print(_drawn(found))
            if once or not as_json:
                return
    with Live(_drawn({"status": None}), screen=True, auto_refresh=False) as screen:
        try:
            while True:
                screen.update(_drawn(watch.next()), refresh=True)
        except KeyboardInterrupt:
            return


class _Watch:
    """One interval after the other.

    Raises:
        ConfigError: nothing is served when it begins.
    """

    def __init__(self, project: Project, every_s: float) -> None:
        from tasks.serving import control

        self.project, self.every_s = project, every_s
        if control.host_status(project) is None:
            raise ConfigError("nothing is served here", "tunegate serve")
        self.before: Any = None

    def next(self) -> dict[str, Any]:
        """Wait for one interval and return what happened in it; only the reason where the gateway was away."""
        from tasks.core.errors import TransientError
        from tasks.serving import control, snapshot

        try:
            if self.before is None:
                self.before = snapshot.read(self.project, time.monotonic())
            time.sleep(self.every_s)
            after = snapshot.read(self.project, time.monotonic())
            status = control.host_status(self.project)
        except TransientError as error:
            self.before = None
            time.sleep(self.every_s)
            return {"status": None, "away": error.message, "alarms": snapshot.last_alarms(self.project, ALARMS)}
        found = snapshot.between(self.before, after)
        self.before = after
        return {"status": status, **found, "alarms": snapshot.last_alarms(self.project, ALARMS)}


def _drawn(found: dict[str, Any]) -> "Group":
    """Return one interval as what a terminal shows."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    status = found.get("status")
    if status is None:
        return Group(Panel(Text(found.get("away", "waiting for the first interval")), title="tunegate top"))
    alarms = "\n".join(found["alarms"]) or "none"
    return Group(
        Panel(Text(_headline(status)), title=f"tunegate top  {status['url']}"),
        _table("requests a second", found["requests_per_s"], "nobody asks"),
        _table("tokens a second", found["tokens_per_s"] | _of_keys(found["keys"]), "none"),
        Text(f"first token, p95: {_seconds(found['first_token_p95_s'])}"),
        _table("requests under way", found["in_flight"], "no slot"),
        Panel(Text(alarms), title="last alarms of the host"),
    )


def _headline(status: dict[str, Any]) -> str:
    """Return in words what is live."""
    if not status["version"]:
        return f"no version is live; wanted: {status['wanted'] or 'none'}"
    state = "works" if status["healthy"] else "does NOT answer"
    parts = [f"version {status['version']} in slot {status['slot']} {state}"]
    if status["deploying"]:
        parts.append(f"starting version {status['deploying']}")
    if not status["audit_healthy"]:
        parts.append("the audit log can NOT be written")
    if status.get("canary"):
        parts.append(f"canary: {status['canary']}")
    return "; ".join(parts)


def _of_keys(keys: dict[str, float]) -> dict[str, float]:
    """Return the busiest keys, by name."""
    busiest = sorted(keys.items(), key=lambda item: -item[1])[:5]
    return {f"key {name}": rate for name, rate in busiest if rate > 0}


def _seconds(value: float | None) -> str:
    """Return a bucket's end in words."""
    return "no stream began" if value is None else f"at most {value:g} s"


def _table(title: str, values: dict[str, float], nothing: str) -> Any:
    """Return names and numbers as a table."""
    from rich.table import Table
    from rich.text import Text

    if not values:
        return Text(f"{title}: {nothing}")
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in sorted(values.items()):
        table.add_row(Text(name), f"{value:g}")
    return table
