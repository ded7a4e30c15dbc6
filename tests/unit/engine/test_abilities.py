"""What a family can do is read off what its template writes."""

import pytest

from tasks.engine.abilities import PLAIN, Abilities, abilities_of
from tests.unit.families import write_family

EXPECTED = {
    "qwen2.5": ("hermes", "never"), "qwen3": ("hermes", "switched"), "llama-3.2": ("llama3_json", "never"),
    "llama-3": (None, "never"), "deepseek-distill-qwen": (None, "always"), "yi-1.5": ("hermes", "never"),
}  # fmt: skip


@pytest.mark.parametrize("family", EXPECTED)
def test_of_each_family(family, tmp_path):
    found = abilities_of(write_family(family, tmp_path))
    assert (found.tool_parser, found.thinking) == EXPECTED[family]
    assert bool(found.why_no_tools) == (found.tool_parser is None)
    assert Abilities.of_row(found.row()) == found


def test_a_template_that_never_shows_tools_says_so(tmp_path):
    write_family("qwen2.5", tmp_path)
    plain = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(plain)
    assert "does not tell it about tools" in abilities_of(tmp_path).why_no_tools


def test_a_way_of_writing_calls_that_no_parser_reads_is_not_guessed(tmp_path):
    folder = write_family("qwen2.5", tmp_path)
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template.replace("<tool_call>", "<call>"), encoding="utf-8")
    found = abilities_of(folder)
    assert found.tool_parser is None
    assert "no parser is known" in found.why_no_tools


def test_a_folder_without_a_template_is_plain(tmp_path):
    assert abilities_of(tmp_path) == PLAIN
    assert PLAIN.flags() == []


def test_flags_are_of_what_is_there():
    flags = Abilities("hermes", "tunegate", "switched", "").flags()
    assert flags[:3] == ["--enable-auto-tool-choice", "--tool-call-parser=hermes", "--reasoning-parser=tunegate"]
    assert flags[3].endswith("thought_parser.py")
