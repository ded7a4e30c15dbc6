"""The head of the chain, signed, kept where this machine cannot change it: then a rewritten log is seen, too.

A statement goes to what TUNEGATE_AUDIT_ANCHOR names: an address that takes it by POST, or a command that gets it on its
standard input (a line to a log of another machine, a commit elsewhere, a time-stamping service).
"""

import asyncio
import json
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from tasks.core.errors import TransientError
from tasks.proof.keys import PublicKey, Signer
from tasks.serving.audit.chain import HEAD, Link, day_files, read_kept, read_link, whole_lines
from tasks.serving.audit.head import genuine_statement, signed_statement

VARIABLE = "TUNEGATE_AUDIT_ANCHOR"
TIMEOUT_S = 30.0


def target() -> str | None:
    """Return where statements go, None where nowhere."""
    return os.environ.get(VARIABLE) or None


def statement(folder: Path, signer: Signer) -> dict[str, Any]:
    """Return the signed head of a log, as far as the disk has confirmed it."""
    head = asdict(read_link(folder / HEAD))
    return signed_statement({**head, "time": datetime.now(UTC).isoformat(timespec="seconds")}, signer)


async def send(where: str, value: dict[str, Any]) -> None:
    """Hand a statement to a command or an address.

    Raises:
        TransientError: it was not taken.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await (_post(where, value) if where.startswith(("http://", "https://")) else _hand(where, value))
    except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
        # An address may hold a password: the message does not hold the address.
        raise TransientError(f"the anchor was not taken: {type(error).__name__}", f"look at ${VARIABLE}") from error


async def _post(url: str, value: dict[str, Any]) -> None:
    """Send a statement to an address."""
    async with aiohttp.ClientSession() as session, session.post(url, json=value) as answer:
        answer.raise_for_status()


async def _hand(command: str, value: dict[str, Any]) -> None:
    """Give a statement to a command, one line."""
    process = await asyncio.create_subprocess_exec(*shlex.split(command), stdin=asyncio.subprocess.PIPE)
    try:
        await process.communicate(json.dumps(value, sort_keys=True).encode() + b"\n")
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise TransientError(f"the anchor was not taken: exit code {process.returncode}", f"look at ${VARIABLE}")


def check(
    folder: Path, statements: Iterable[dict[str, Any]], trusted: Mapping[str, PublicKey], secret: bytes = b""
) -> list[str]:
    """Hold a log to statements kept elsewhere and return what does not agree.

    What retention has removed is not asked for: its last record is part of the chain that is left.

    Args:
        trusted: public keys by id: who verifies cannot forge.
        secret: of statements from before there were such keys.
    """
    problems, wanted = [], []
    for number, value in enumerate(statements, start=1):
        if not genuine_statement(value, trusted, secret):
            problems.append(f"statement {number} was not signed with a key that is known here, or was changed")
        else:
            wanted.append(Link(int(value["sequence"]), str(value["hash"])))
    lost = [f"record {link.sequence} was in the log when it was anchored and is not, or is another one"
            for link in absent(folder, wanted)]  # fmt: skip
    return problems + lost


def absent(folder: Path, wanted: Iterable[Link]) -> list[Link]:
    """Return the links that a log should have and does not."""
    there, kept = _links(folder), read_kept(folder)
    return [
        link
        for link in wanted
        if link.sequence
        and link not in there
        and link not in kept.ends
        and link.sequence >= kept.start.sequence
        and not any(first.sequence < link.sequence < last.sequence for first, last in kept.gaps)
    ]


def _links(folder: Path) -> set[Link]:
    """Return the links of all records in a log."""
    found = set()
    for path in day_files(folder):
        for _, line in whole_lines(path):
            try:
                value = json.loads(line)
                found.add(Link(value["sequence"], value["hash"]))
            except (ValueError, KeyError, TypeError):
                continue
    return found
