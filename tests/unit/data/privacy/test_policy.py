"""Policies: masked, under a pseudonym, dropped or kept; pseudonyms lead back with the key and not without."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.settings import PrivacyParams, PrivacyPolicies
from tasks.data.privacy.desensitize import ALL_TYPES, Desensitizer, mask_text
from tasks.data.privacy.organisations import OrganisationFinder, read_organisations
from tasks.data.privacy.pseudonyms import KEY_VARIABLE, environment_key, parse_key, pseudonym, reveal
from tasks.data.privacy.spans import PUBLIC_PERSON

KEY = bytes(range(64))
QUESTION = "我叫王小明，手机138-0013-8000，邮箱wang@example.com"
ANSWER = "王小明您好，已记下13800138000。"


def desensitizer(
    root: Path, key: bytes | None = None, organisations: str | None = None, **policies: str
) -> Desensitizer:
    """Return a desensitizer that masks everything but what is said otherwise."""
    fields = PrivacyPolicies.model_validate(
        {**dict.fromkeys(PrivacyPolicies.model_fields, "mask"), PUBLIC_PERSON: "keep", **policies}
    )
    return Desensitizer(PrivacyParams(policies=fields, names="balanced", organisations=organisations), root, key)


def conversation() -> list[dict[str, str]]:
    """Return a question and an answer with a name, a number and an address of e-mail."""
    return [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]


def test_types_are_those_of_the_settings() -> None:
    assert {*ALL_TYPES, PUBLIC_PERSON} == set(PrivacyPolicies.model_fields)


def test_masks_name_the_place_in_the_raw_text_and_never_the_text(tmp_path: Path) -> None:
    cleaned = desensitizer(tmp_path).clean(conversation())
    assert cleaned.messages[0]["content"] == "我叫[PERSON_NAME]，手机[MOBILE]，邮箱[EMAIL]"
    assert cleaned.messages[1] == {"role": "assistant", "content": "[PERSON_NAME]您好，已记下[MOBILE]。"}
    texts = [(QUESTION, ANSWER)[mask["message"]][mask["start"] : mask["end"]] for mask in cleaned.masks]
    assert texts == ["王小明", "138-0013-8000", "wang@example.com", "王小明", "13800138000"]
    assert all(set(mask) == {"message", "type", "start", "end", "policy"} for mask in cleaned.masks)
    assert cleaned.drop_types == ()


def test_a_row_without_personal_data_comes_back_as_it_was(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "剂量率0.12 μSv/h正常吗？"}, {"role": "assistant", "content": "正常。"}]
    cleaned = desensitizer(tmp_path).clean(messages)
    assert (cleaned.messages, cleaned.masks, cleaned.drop_types) == (tuple(messages), (), ())


def test_kept_types_stay_and_are_not_found(tmp_path: Path) -> None:
    keeper = desensitizer(tmp_path, email="keep")
    assert "wang@example.com" in keeper.clean(conversation()).messages[0]["content"]
    assert keeper.find("wang@example.com") == []


def test_a_dropped_type_is_named_and_masked_all_the_same(tmp_path: Path) -> None:
    cleaned = desensitizer(tmp_path, email="drop").clean(conversation())
    assert cleaned.drop_types == ("email",)
    assert "wang@example.com" not in cleaned.messages[0]["content"]


def test_one_number_has_one_pseudonym_however_it_is_written(tmp_path: Path) -> None:
    cleaned = desensitizer(tmp_path, KEY, mobile="pseudonymize", person_name="pseudonymize").clean(conversation())
    first, second = (message["content"] for message in cleaned.messages)
    number = pseudonym("mobile", "13800138000", KEY)
    assert number in first
    assert number in second
    assert pseudonym("person_name", "王小明", KEY) in first
    assert "[EMAIL]" in first


def test_nothing_is_found_in_what_was_cleaned(tmp_path: Path) -> None:
    cleaner = desensitizer(tmp_path, KEY, **dict.fromkeys(ALL_TYPES, "pseudonymize"))
    cleaned = cleaner.clean(conversation())
    assert all(cleaner.find(message["content"]) == [] for message in cleaned.messages)
    assert cleaner.clean(cleaned.messages).messages == cleaned.messages


@given(st.sampled_from(ALL_TYPES), st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_a_pseudonym_leads_back_and_is_no_personal_data(type_: str, value: str) -> None:
    label = pseudonym(type_, value, KEY)
    assert pseudonym(type_, reveal(label, KEY), KEY) == label
    assert mask_text(f"是{label}的", ALL_TYPES)[1] == {}


def test_a_pseudonym_is_refused_with_another_key_another_type_or_a_changed_character() -> None:
    label = pseudonym("mobile", "13800138000", KEY)
    changed = label[:-2] + ("A" if label[-2] != "A" else "B") + "]"
    for text, key in (
        (label, bytes(64)),
        (label.replace("MOBILE", "EMAIL"), KEY),
        (label[:12] + "A" + label[13:], KEY),
    ):
        if text != label or key != KEY:
            with pytest.raises(DataContractError, match="another key"):
                reveal(text, key)
    assert changed != label
    with pytest.raises(DataContractError, match="not a pseudonym"):
        reveal("13800138000", KEY)


def test_without_a_key_pseudonyms_stop_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=KEY_VARIABLE) as caught:
        desensitizer(tmp_path, None, mobile="pseudonymize")
    assert "openssl rand" in caught.value.hint
    with pytest.raises(ConfigError, match=KEY_VARIABLE):
        reveal(pseudonym("mobile", "13800138000", KEY), None)


def test_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert environment_key() is None
    monkeypatch.setenv(KEY_VARIABLE, KEY.hex())
    assert environment_key() == KEY


@pytest.mark.parametrize("text", ["", "secret", "00" * 16, "zz" * 32])
def test_what_is_no_key_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_key(text)
    assert not text or text not in str(caught.value)


def test_listed_organisations_are_found_whatever_their_width_and_case(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# ours\n示例核电\n示例核电有限公司\nAcme Nuclear\n\n", encoding="utf-8")
    finder = desensitizer(tmp_path, organisations="names.txt")
    text = "在示例核电有限公司和ＡＣＭＥ　nuclear工作，AcmeNuclear与Acme Nuclearity不是"
    assert [text[span.start : span.end] for span in finder.find(text)] == ["示例核电有限公司", "ＡＣＭＥ　nuclear"]


def test_a_long_list_of_organisations_is_found_whole() -> None:
    names = [f"示例{first}{second}公司" for first in "甲乙丙丁戊己庚辛" for second in "一二三四五六七八"]
    finder = OrganisationFinder(names)
    assert all(len(list(finder.find(f"去{name}了"))) == 1 for name in names)


@pytest.mark.parametrize("content", [None, b"", b"# nothing\n", "核\n".encode(), b"\xff\xfe\x00"])
def test_a_list_that_cannot_be_used_is_an_error_of_settings(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"prepare\.privacy\.organisations"):
        read_organisations(path)


def test_the_serving_log_pays_for_nothing_heavy() -> None:
    code = "import sys, tasks.data.privacy.desensitize; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("pydantic", "numpy", "cryptography", "yaml") if f"'{name}'" in loaded]


@pytest.mark.parametrize("text", ["86 Sycamore Court", "王小明说", "13800138000", "47.1.2.3"])
def test_what_begins_or_ends_a_message_is_found_there_as_in_a_text_of_its_own(tmp_path: Path, text: str) -> None:
    cleaner = desensitizer(tmp_path)
    own = [(span.type, span.start, span.end) for span in cleaner.find(text)]
    cleaned = cleaner.clean([{"role": "user", "content": text}, {"role": "assistant", "content": text}])
    assert own
    for number in (0, 1):
        assert [(m["type"], m["start"], m["end"]) for m in cleaned.masks if m["message"] == number] == own


def test_a_number_is_not_read_across_two_messages(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "138001"}, {"role": "assistant", "content": "38000"}]
    assert desensitizer(tmp_path).clean(messages).masks == ()


def test_ten_thousand_turns_with_a_number_each(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": f"手机{13800000000 + number}"} for number in range(10_000)]
    assert len(desensitizer(tmp_path).clean(messages).masks) == 10_000
