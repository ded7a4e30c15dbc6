"""Pseudonyms: the same person gets the same one throughout a dataset, and only the key leads back.

AES-SIV (RFC 5297) is deterministic, so equal values get equal pseudonyms without a table of who is who, and it is
authenticated, so a pseudonym made with another key or changed by hand is refused, not decrypted to nonsense. The
type is authenticated with the value: a mobile number's pseudonym cannot be passed off as a name's.
"""

import base64
import binascii
import os
import re

from tasks.core.errors import ConfigError, DataContractError
from tasks.data.privacy.spans import half_width

KEY_VARIABLE = "TUNEGATE_PSEUDONYM_KEY"
_KEY_BYTES = (32, 48, 64)
_MAKE_KEY = f"export {KEY_VARIABLE}=$(openssl rand -hex 64), and keep it where the dataset is not"
_PSEUDONYM = re.compile(r"\[([A-Z_]+):([A-Z2-7]+)\]")

#: Types written with or without spaces and hyphens: one number, one pseudonym.
_SEPARATED = frozenset(
    {"resident_id", "credit_code", "bank_card", "mobile", "landline", "passport", "licence_plate", "imei"}
)


def environment_key() -> bytes | None:
    """Return the key of the environment, or None where it is not set.

    Raises:
        ConfigError: what is set is no key.
    """
    return parse_key(os.environ[KEY_VARIABLE]) if os.environ.get(KEY_VARIABLE) else None


def parse_key(text: str) -> bytes:
    """Return the key that these hexadecimal digits write.

    Raises:
        ConfigError: they are no hexadecimal digits, or not 64, 96 or 128 of them.
    """
    try:
        key = binascii.unhexlify(text.strip())
    except ValueError:
        key = b""
    if len(key) not in _KEY_BYTES:
        # Nothing of the key in the message: messages end up in logs.
        raise ConfigError(f"{KEY_VARIABLE} must be 64, 96 or 128 hexadecimal digits", _MAKE_KEY)
    return key


def require_key(key: bytes | None) -> bytes:
    """Return the key, or say how to make one.

    Raises:
        ConfigError: there is none.
    """
    if key is None:
        raise ConfigError(f"pseudonyms need a key, and {KEY_VARIABLE} is not set", _MAKE_KEY)
    return key


def pseudonym(type_: str, value: str, key: bytes) -> str:
    """Return the pseudonym of a value, such as `[MOBILE:MFZWI…]`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    sealed = AESSIV(key).encrypt(canonical(type_, value).encode("utf-8", "surrogatepass"), [type_.encode()])
    return f"[{type_.upper()}:{base64.b32encode(sealed).decode().rstrip('=')}]"


def reveal(text: str, key: bytes | None) -> str:
    """Return the value a pseudonym stands for, in its canonical form.

    Raises:
        ConfigError: there is no key.
        DataContractError: the text is no pseudonym, or was not made with this key.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    match = _PSEUDONYM.fullmatch(text.strip())
    if not match:
        raise DataContractError("not a pseudonym: it must look like [MOBILE:MFZWI…]", "copy it with its brackets")
    cipher = AESSIV(require_key(key))
    try:
        sealed = base64.b32decode(match[2] + "=" * (-len(match[2]) % 8))
        return cipher.decrypt(sealed, [match[1].lower().encode()]).decode("utf-8", "surrogatepass")
    except (InvalidTag, binascii.Error, ValueError) as problem:
        raise DataContractError(
            "this pseudonym was made with another key, or changed since",
            f"set {KEY_VARIABLE} to the key the dataset was prepared with",
        ) from problem


def canonical(type_: str, value: str) -> str:
    """Return the one form of a value that its pseudonym is made from."""
    plain = " ".join(half_width(value).split())
    if type_ in _SEPARATED:
        return re.sub(r"[\s()·•.-]", "", plain).upper()
    return plain.casefold() if type_ in ("email", "ip", "organisation", "wechat") else plain
