"""The weights of a version as OpenSSF's model-signing signs them, for people who have its tool and not ours.

One in-toto statement over the files of a model folder, in a DSSE envelope, in a Sigstore bundle; verified with
`model_signing verify key`. It says which bytes and by whom, nothing else: verdict, rules and approvals are in the
record.

Source: OpenSSF Model Signing 1.0 as model-signing 1.1.1 reads it, https://github.com/sigstore/model-transparency
"""

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tasks.core.errors import ConfigError
from tasks.proof.envelope import IN_TOTO, sign
from tasks.proof.keys import PublicKey, Signer
from tasks.proof.record import STATEMENT

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PREDICATE = "https://model_signing/signature/v1.0"


def model_signature(name: str, files: Mapping[str, str], signer: Signer) -> dict[str, Any]:
    """Return the signature of a model folder.

    Args:
        name: what the model is called; the tool shows it and compares it with nothing.
        files: {path in the folder: SHA-256}, all of them: none is passed over, and one more is refused.
        signer: a P-256 key.

    Raises:
        ConfigError: it is of another kind; the tool takes no Ed25519.
    """
    hint = hashlib.sha256(public_pem(signer.public)).hexdigest()
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": sign(IN_TOTO, _statement(name, files), signer),
    }


def public_pem(key: PublicKey) -> bytes:
    """Return a public key as the tool reads it.

    Raises:
        ConfigError: it is no P-256 key.
    """
    loaded = key.loaded()
    if not isinstance(loaded, ec.EllipticCurvePublicKey):
        raise ConfigError(f"key {key.key_id} is Ed25519, and model-signing takes P-256 alone",
                          "tunegate sign-key new FILE --algorithm p256, then --key FILE")  # fmt: skip
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = loaded.public_bytes(serialization.Encoding.PEM, form)
    return pem


def _statement(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """Return what is signed: each file, and one digest over the digests in their order."""
    ordered = sorted(files.items(), key=lambda item: PurePosixPath(item[0]))
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in ordered)).hexdigest()
    # No ignore_paths: the tool passes over whatever a signature names there.
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": path, "algorithm": "sha256", "digest": digest} for path, digest in ordered],
        },
    }
