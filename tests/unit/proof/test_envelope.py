"""What a signature holds, and the forms in which a document is refused."""

import base64
import json

import pytest

from tasks.core.errors import DataContractError
from tasks.proof.envelope import APPROVAL, IN_TOTO, document_sha256, genuine, opened, sign, signed
from tests.unit.proof.conftest import signer

VALUE = {"b": 1, "a": {"说明": "核应急", "list": [1, 2]}}
TRUSTED = {signer(1).public.key_id: signer(1).public}


def payload(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_signed_document_opens_for_whoever_has_the_public_half():
    envelope = sign(IN_TOTO, VALUE, signer(2), signer(1))
    assert opened(json.loads(json.dumps(envelope)), IN_TOTO, TRUSTED) == (VALUE, [signer(1).public.key_id])


def test_keys_in_another_order_are_the_same_document():
    envelope = sign(IN_TOTO, VALUE, signer(1))
    other = {name: envelope[name] for name in sorted(envelope, reverse=True)}
    other["payload"] = payload(json.dumps({"a": {"list": [1, 2], "说明": "核应急"}, "b": 1}, indent=3))
    value, _ = opened(other, IN_TOTO, TRUSTED)
    assert document_sha256(value) == document_sha256(VALUE)


@pytest.mark.parametrize(("change", "why"), [
    ({"signatures": []}, "is not signed"),
    ({"signatures": [{"keyid": signer(1).public.key_id, "sig": payload("short")}]}, "does not hold"),
    ({"signatures": [{"keyid": signer(1).public.key_id, "sig": "AAA"}]}, "cannot be read"),
    ({"signatures": [{"keyid": signer(1).public.key_id}]}, "cannot be read"),
    ({"signatures": "x"}, "cannot be read"),
    ({"payload": payload(json.dumps(VALUE | {"b": 2}))}, "does not hold"),
    ({"payload": payload('{"b":1,"b":1,"a":{}}')}, "no signed envelope"),
    ({"payload": payload('{"b":NaN}')}, "no signed envelope"),
    ({"payload": "%%"}, "no signed envelope"),
    ({"payload": payload("[" * 100_000)}, "no signed envelope"),
    ({"payloadType": APPROVAL}, "envelope of"),
])  # fmt: skip
def test_a_forged_envelope_is_refused(change, why):
    with pytest.raises(DataContractError, match=why):
        opened(sign(IN_TOTO, VALUE, signer(1)) | change, IN_TOTO, TRUSTED)


def test_another_key_and_another_kind_of_document_are_refused():
    with pytest.raises(DataContractError, match="not listed"):
        opened(sign(IN_TOTO, VALUE, signer(2)), IN_TOTO, TRUSTED)
    # The signature of one kind of document is none of another kind.
    moved = sign(APPROVAL, VALUE, signer(1)) | {"payloadType": IN_TOTO}
    with pytest.raises(DataContractError, match="does not hold"):
        opened(moved, IN_TOTO, TRUSTED)
    named = sign(IN_TOTO, VALUE, signer(2))
    named["signatures"][0]["keyid"] = signer(1).public.key_id
    with pytest.raises(DataContractError, match="does not hold"):
        opened(named, IN_TOTO, TRUSTED)


def test_a_document_that_carries_its_signature():
    document = signed(APPROVAL, VALUE, signer(1))
    assert genuine(APPROVAL, dict(reversed(document.items())), TRUSTED)
    for change in ({"b": 2}, {"signature": "%"}, {"key_id": signer(2).public.key_id}, {"signature": ""}):
        assert not genuine(APPROVAL, document | change, TRUSTED)
    assert not genuine(IN_TOTO, document, TRUSTED)
