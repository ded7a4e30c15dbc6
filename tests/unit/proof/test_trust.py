"""infra/approvers.yaml: whose signature counts, and lists that cannot be relied on."""

import pytest

from tasks.core.errors import ConfigError
from tasks.proof.trust import APPROVERS, read_trust
from tests.unit.proof.conftest import person, signer, write_approvers
from tests.unit.release.conftest import ROOT


def test_the_shipped_list_is_empty_and_reads():
    assert read_trust(ROOT / APPROVERS).people == ()
    assert read_trust(ROOT / "no such file").people == ()


def test_one_person_is_known_by_every_key_and_spelling(trust):
    assert trust.person_of(signer(1).public.key_id) is trust.person_of(signer(2).public.key_id)
    assert trust.person_of(signer(4).public.key_id) is None
    li = trust.person_of(signer(3).public.key_id)
    assert all(li.is_called(name) for name in ("li  wei", "LI WEI", "Ｌｉ Wei", "liwei"))
    assert not li.is_called("李审")


def test_a_machines_own_key_counts_for_a_demo_alone(trust, tmp_path):
    own = read_trust(tmp_path / "approvers.yaml", own={"release": (signer(8).public,)})
    assert set(own.keys_for("release", "production")) == {signer(9).public.key_id}
    assert set(own.keys_for("release", "demo")) == {signer(9).public.key_id, signer(8).public.key_id}


@pytest.mark.parametrize(("people", "why"), [
    ([person("Li Wei", signer(1)), person("li  wei", signer(2))], "same name"),
    ([person("甲", signer(1)), person("乙", signer(2), logins=["甲"])], "same name"),
    ([person("甲", signer(1)), person("乙", signer(1))], "is listed for 甲 and for 乙"),
    ([person("甲") | {"keys": ["ssh-rsa AAAA"]}], "is no ssh-ed25519"),
    ([person(" ", signer(1))], "needs a name"),
    ([person("甲", signer(1)) | {"role": "safety"}], "no other fields"),
    (["甲"], "needs a name"),
])  # fmt: skip
def test_a_list_with_a_mistake_is_refused(tmp_path, people, why):
    with pytest.raises(ConfigError, match=why):
        read_trust(write_approvers(tmp_path / "a.yaml", people))


@pytest.mark.parametrize("text", ["people: [", "- a", "peoples: []", "machines: [{name: a, uses: [x], keys: []}]"])
def test_a_file_that_is_no_list_is_refused(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError):
        read_trust(tmp_path / "a.yaml")
