"""The errors a user can meet: one message (what, where), one hint (the next command), one exit code."""

from collections.abc import Mapping


class TunegateError(Exception):
    """Base of every error Tunegate raises on purpose.

    Args:
        message: what happened and where.
        hint: the next command or edit that helps.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        # Both arguments, or an error that crosses a process border loses its hint.
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class ConfigError(TunegateError):
    """A setting, an argument or a precondition is wrong; nothing was started."""

    exit_code = 2


class DataContractError(TunegateError):
    """Data is not what its contract says: a broken critical expectation, a damaged or stale input."""

    exit_code = 3


class GateFailedError(TunegateError):
    """The gate's verdict is not PASS; the evidence is kept."""

    exit_code = 4


class MissingToolError(TunegateError):
    """A compiler, package, GPU or free port that is needed is not there."""

    exit_code = 5


class TransientError(TunegateError):
    """Something outside may work next time: a lost server, a timeout. The only error that is retried."""

    exit_code = 75


class StoppedError(TunegateError):
    """Somebody asked this process to end; what was finished is kept. Its code is 128 and the signal's number."""

    exit_code = 143


#: The errors by name, as they cross the border of a process.
KINDS: dict[str, type[TunegateError]] = {
    kind.__name__: kind
    for kind in (
        TunegateError, ConfigError, DataContractError, GateFailedError, MissingToolError, TransientError, StoppedError,
    )
}  # fmt: skip


def error_record(error: TunegateError) -> dict[str, str]:
    """Return an error as JSON, for a process that only sees an exit code."""
    return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}


def recorded_error(record: Mapping[str, str]) -> TunegateError:
    """Return an error from its record, as the exception it was; of a kind not known here, as the base of all."""
    return KINDS.get(record["kind"], TunegateError)(record["message"], record["hint"])
