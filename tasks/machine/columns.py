"""Whether raw files have the columns that the settings name."""

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.layout import RAW
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.machine.check import Check


def check_columns(settings: Settings, project: Project) -> list[Check]:
    """Return one check of `prepare.read.files`, none where it says nothing."""
    from tasks.data.reading.raw import instruction_files, require_known_files

    read = settings.prepare.read
    if not read.files:
        return []
    raw = project.root / RAW
    named = sum(len(known.columns) for known in read.files.values())
    needed = f"{len(read.files)} files, {named} columns named"
    try:
        require_known_files({path.relative_to(raw).as_posix(): path for path in instruction_files(raw)}, raw, read)
    except (ConfigError, DataContractError) as error:
        return [Check("raw files", "failed", str(error), needed, error.hint)]
    return [Check("raw files", "ok", "as prepare.read.files says", needed)]
