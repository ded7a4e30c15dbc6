"""Who may ask the host: its own account, root, and the members of $TUNEGATE_CONTROL_GROUP where one is named.

The kernel keeps others from the socket by its mode. The host asks it once more who is at the other end: a mode that
somebody has widened opens nothing.
"""

import grp
import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

from tasks.core.errors import ConfigError

GROUP_VARIABLE = "TUNEGATE_CONTROL_GROUP"
#: Others may pass through the folder to the socket, and not list what else is in it.
PASS, PRIVATE = 0o710, 0o700
#: linux/asm-generic/socket.h; Python has no name for it.
SO_PEERGROUPS = 59
#: As much as Python's getsockopt takes: 256 groups.
GROUPS_BYTES = 1024


def control_group() -> int | None:
    """Return the id of the group that may ask the host, None where its own account alone may.

    Raises:
        ConfigError: this machine has no group of that name.
    """
    value = os.environ.get(GROUP_VARIABLE, "")
    if not value or value.isdigit():
        return int(value) if value else None
    try:
        return grp.getgrnam(value).gr_gid
    except KeyError as error:
        raise ConfigError(f"{GROUP_VARIABLE}: there is no group {value!r}", "getent group; a number will do") from error


def open_for_group(folder: Path, path: Path) -> None:
    """Let the group reach the socket, or its owner alone again where no group is named.

    Args:
        folder: the socket's; what else is in it stays as it is.
        path: the socket.

    Raises:
        ConfigError: this account may not give them to the group.
    """
    group, mode = control_group(), stat.S_IMODE(folder.stat().st_mode)
    if group is None:
        if mode == PASS:
            folder.chmod(PRIVATE)
        return
    try:
        # A folder that was mounted is another account's, and has the group already or never will.
        if folder.stat().st_gid != group:
            os.chown(folder, -1, group)
        if mode & PASS != PASS:
            folder.chmod(PASS)
        os.chown(path, -1, group)
    except PermissionError as error:
        raise ConfigError(
            f"{GROUP_VARIABLE}: this account may not open {folder} for group {group}",
            f"make this account a member of the group, and the owner of {folder}",
        ) from error
    path.chmod(0o660)


def peer_of(sock: socket.socket) -> tuple[int, int, set[int]]:
    """Return process, user and groups at the other end of a unix socket, by the kernel's word.

    Of a member of more than 256 groups, and by a kernel before 4.13, only the first group is known.
    """
    pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    raw = b""
    with suppress(OSError):
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES)
    return pid, uid, {gid, *struct.unpack(f"{len(raw) // 4}I", raw)}


def may_ask(uid: int, groups: set[int]) -> bool:
    """Return whether somebody with these ids may ask the host of this process."""
    return uid in (0, os.geteuid()) or control_group() in groups
