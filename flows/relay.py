"""What a run prints goes to its worker through a process between them: a worker that is killed takes no run with it.

A worker reads its runs' output from pipes. Where it was killed, the next line is a write to a pipe that nobody reads:
Prefect's console (rich) answers that with SystemExit, and the run ended hours into its work for a line of its log.

Run as a file, with the standard library alone: `python -I -S relay.py` carries its standard input to its standard
output, and goes on reading where nobody takes that any more; a command after it is run with a relay behind its output.
"""

import os
import stat
import subprocess
import sys
from contextlib import suppress

CHUNK_BYTES = 65536
OUTPUTS = (1, 2)

#: As long as this process: nobody waits for them.
_relays: list["subprocess.Popen[bytes]"] = []


def behind_relay(command: list[str]) -> list[str]:
    """Return the command line that runs `command`, in the same process, behind a relay."""
    return [sys.executable, "-I", "-S", __file__, *command]


def keep_output() -> None:
    """Have a relay behind this process's standard output and error where these are pipes; exec keeps it."""
    for output in OUTPUTS:
        if stat.S_ISFIFO(os.fstat(output).st_mode):
            # A session of its own: who ends the run by its group still hears what it said last.
            relay = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
            )  # fmt: skip
            _relays.append(relay)
            if relay.stdin:
                os.dup2(relay.stdin.fileno(), output)
                relay.stdin.close()


def carry() -> None:
    """Carry standard input to standard output until it ends; what nobody reads is dropped."""
    while data := os.read(0, CHUNK_BYTES):
        with suppress(OSError):
            while data:
                data = data[os.write(1, data) :]


if __name__ == "__main__":
    if sys.argv[1:]:
        keep_output()
        os.execvp(sys.argv[1], sys.argv[1:])
    carry()
