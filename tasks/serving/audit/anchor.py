"""The head of the chain, signed, kept where this machine cannot change it: then a rewritten log is seen, too.

A statement goes to what TUNEGATE_AUDIT_ANCHOR names: an address that takes it by POST, or a command that gets it on its
standard input (a line to a log of another machine, a commit elsewhere, a time-stamping service).
"""

import asyncio
import hmac
import json
import os
import shlex
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from tasks.core.errors import TransientError
from tasks.serving.audit.chain import HEAD, Link, day_files, read_kept, read_link, whole_lines

VARIABLE = "TUNEGATE_AUDIT_ANCHOR"
TIMEOUT_S = 30.0


def target() -> str | None:
    """Return where statements go, None where nowhere."""
    return os.environ.get(VARIABLE) or None


def statement(folder: Path, key: bytes) -> dict[str, Any]:
    """Return the signed head of a log, as far as the disk has confirmed it."""
    head = asdict(read_link(folder / HEAD))
    return signed({**head, "time": datetime.now(UTC).isoformat(timespec="seconds")}, key)


def signed(value: dict[str, Any], key: bytes) -> dict[str, Any]:
    """Return a JSON value with its signature: HMAC-SHA256 with the log's secret."""
    return {**value, "signature": f"hmac-sha256:{_signature(value, key)}"}


def genuine(value: dict[str, Any], key: bytes) -> bool:
    """Return whether a value was signed with this key and is unchanged."""
    rest = {name: item for name, item in value.items() if name != "signature"}
    return hmac.compare_digest(str(value.get("signature")), f"hmac-sha256:{_signature(rest, key)}")


def _signature(value: dict[str, Any], key: bytes) -> str:
    """Return the signature of a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hmac.new(key, b"tunegate audit statement\0" + text.encode(), "sha256").hexdigest()


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


def check(folder: Path, statements: Iterable[dict[str, Any]], key: bytes) -> list[str]:
    """Hold a log to statements kept elsewhere and return what does not agree.

    What retention has removed is not asked for: its last record is part of the chain that is left.
    """
    problems, wanted = [], []
    for number, value in enumerate(statements, start=1):
        if not genuine(value, key):
            problems.append(f"statement {number} was not signed with this key, or was changed")
        else:
            wanted.append(Link(int(value["sequence"]), str(value["hash"])))
    there = _links(folder)
    kept = read_kept(folder)
    for link in wanted:
        gone = link.sequence < kept.start.sequence or any(
            first.sequence < link.sequence < last.sequence for first, last in kept.gaps
        )
        if link not in there and link not in kept.ends and not gone and link.sequence:
            problems.append(f"record {link.sequence} was in the log when it was anchored and is not, or is another one")
    return problems


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
