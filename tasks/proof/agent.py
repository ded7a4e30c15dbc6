"""Signatures by an ssh-agent: the private key stays in it (or on the token behind it).

Source: the agent's protocol, draft-ietf-sshm-ssh-agent; forms of keys and signatures, RFC 4253, 5656 and 8709.
"""

import base64
import os
import socket
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tasks.core.errors import ConfigError, TransientError
from tasks.proof.keys import PublicKey

REQUEST_IDENTITIES, IDENTITIES = 11, 12
SIGN_REQUEST, SIGN_RESPONSE = 13, 14
ACCEPTED = (b"ssh-ed25519", b"ecdsa-sha2-nistp256")
TIMEOUT_S = 30.0
_HINT = "eval $(ssh-agent); ssh-add; then try again"


@dataclass(frozen=True)
class AgentSigner:
    """A key that an ssh-agent holds.

    Args:
        blob: the public key as the agent names it.
        comment: what its owner called it.
    """

    blob: bytes
    comment: str

    @property
    def public(self) -> PublicKey:
        """The public half."""
        kind, _ = _string(self.blob)
        return PublicKey(f"{kind.decode()} {base64.b64encode(self.blob).decode()}")

    def sign(self, message: bytes) -> bytes:
        """Return the agent's signature of a message."""
        answer = _ask(bytes([SIGN_REQUEST]) + _packed(self.blob) + _packed(message) + struct.pack(">I", 0))
        if answer[:1] != bytes([SIGN_RESPONSE]):
            raise TransientError(f"the ssh-agent did not sign with {self.comment}", "confirm it, or ssh-add again")
        signature, _ = _string(answer[1:])
        kind, rest = _string(signature)
        body, _ = _string(rest)
        if kind == ACCEPTED[0]:
            return body
        first, rest = _string(body)
        second, _ = _string(rest)
        return encode_dss_signature(int.from_bytes(first), int.from_bytes(second))


def find_agent_signer(wanted: str) -> AgentSigner:
    """Return the agent's key with this comment or fingerprint; without one, its only usable key.

    Raises:
        ConfigError: there is no agent, or not exactly one such key.
    """
    answer = _ask(bytes([REQUEST_IDENTITIES]))
    if answer[:1] != bytes([IDENTITIES]):
        raise ConfigError("the ssh-agent names no keys", _HINT)
    held, rest = [], answer[5:]
    for _ in range(struct.unpack(">I", answer[1:5])[0]):
        blob, rest = _string(rest)
        comment, rest = _string(rest)
        held.append(AgentSigner(blob, comment.decode("utf-8", "replace")))
    usable = [key for key in held if _string(key.blob)[0] in ACCEPTED]
    found = [key for key in usable if not wanted or wanted in (key.comment, key.public.key_id)]
    if len(found) != 1:
        names = ", ".join(key.comment for key in usable) or "none"
        raise ConfigError(f"the ssh-agent has {len(found)} keys {wanted or 'to sign with'} (there are: {names})",
                          "agent:COMMENT names one; ssh-add adds one")  # fmt: skip
    return found[0]


def _ask(message: bytes) -> bytes:
    """Send the agent a message and return its answer."""
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise ConfigError("there is no ssh-agent: SSH_AUTH_SOCK is not set", _HINT)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(TIMEOUT_S)
            sock.connect(path)
            sock.sendall(_packed(message))
            return _received(sock, struct.unpack(">I", _received(sock, 4))[0])
    except OSError as error:
        raise ConfigError(f"the ssh-agent does not answer: {error}", _HINT) from error


def _received(sock: socket.socket, length: int) -> bytes:
    """Return so many bytes of a socket."""
    data = b""
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise ConnectionResetError("it hung up")
        data += piece
    return data


def _packed(data: bytes) -> bytes:
    """Return bytes behind their length."""
    return struct.pack(">I", len(data)) + data


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Return the first string of a message, and what follows it."""
    length = struct.unpack(">I", data[:4])[0]
    return data[4 : 4 + length], data[4 + length :]
