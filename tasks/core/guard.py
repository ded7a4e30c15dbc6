"""The border of every process of ours: an error becomes one message and an exit code."""

from collections.abc import Callable
from typing import Any

import click

from tasks.core.errors import TunegateError


def guarded(function: Callable[[], Any]) -> int:
    """Run an entry point; turn our errors into one message and their exit code.

    Any other exception is a bug of ours and keeps its traceback.
    """
    try:
        function()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("stopped by you; what was finished is kept, run the same command to go on", err=True)
        return 130
    except TunegateError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    return 0
