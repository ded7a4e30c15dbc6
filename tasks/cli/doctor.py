"""`tunegate doctor`: check this machine against the active profile before anything is held."""

import click

from tasks.cli.main import emit
from tasks.core.errors import MissingToolError
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings
from tasks.machine.check import Check, report


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def doctor(as_json: bool) -> None:
    """Check this machine against the active profile: what was found, what is needed, what to do.

    Changes nothing. Exit code 5: something is missing; 2: params.yaml or a TUNEGATE_ variable is wrong.
    """
    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    checks = examine(settings, project)
    failed = [check for check in checks if check.outcome == "failed"]
    value = {
        "profile": settings.profile,
        "ok": not failed,
        "checks": [check.as_json() for check in checks],
    }
    emit(value, as_json=as_json, text=report(checks, settings.profile))
    if failed:
        names = ", ".join(check.name for check in failed)
        raise MissingToolError(f"{len(failed)} of {len(checks)} checks failed: {names}", "the lines marked > above")


def examine(settings: Settings, project: Project) -> list[Check]:
    """Return every check, tools first."""
    from tasks.core.gpus import find_gpus
    from tasks.core.processor import cpu_facts
    from tasks.machine import cards, columns, network, resources, tools
    from tasks.machine.base import check_base
    from tasks.machine.fit import check_fit, check_swap
    from tasks.machine.schemes import check_schemes, find_capabilities
    from tasks.machine.upstreams import check_upstreams

    need = settings.hardware
    gpus = find_gpus()
    total_gib, available_gib = resources.memory_gib()
    base = network.base_folder(settings, project)
    return [
        *tools.check_tools(),
        *tools.check_environments(project),
        resources.check_disk(need, project, resources.free_disk_gib(project)),
        resources.check_memory(need, total_gib, available_gib),
        resources.check_cpu(cpu_facts(), need.gpus),
        resources.check_gpus(need, gpus),
        *cards.check_slot_gpus(settings, gpus),
        *cards.check_work_gpus(settings, gpus),
        *check_schemes(settings, find_capabilities()),
        *check_fit(settings, base, gpus, total_gib),
        check_swap(settings, base, gpus, total_gib),
        *columns.check_columns(settings, project),
        *check_base(settings, base),
        *network.base_pin(settings),
        *network.check_ports(project),
        *check_upstreams(settings),
        *network.check_services(settings, project),
    ]
