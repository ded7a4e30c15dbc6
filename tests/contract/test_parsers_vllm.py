"""The parsers a family is served with, held to canaries in the real vLLM's own code: whole answers and streams."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tasks.chat.template import PROBE, served_tools, written_call
from tasks.chat.tokenizer import copy_tokenizer, load_tokenizer
from tasks.core.project import Project
from tasks.engine.abilities import REASONING_PLUGIN, Abilities, abilities_of
from tests.unit.families import write_family

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("parse_canaries.py")
ANSWER, THOUGHT = "关好门窗。", "先想一想"
TOOLS = served_tools([{"name": PROBE, "description": "d", "parameters": {"type": "object", "properties": {}}}])


@pytest.fixture(scope="module")
def parsed():
    """Return a function that has vLLM's parsers read cases; vLLM is imported once for all of them."""
    asking = [str(Project(ROOT).serve_python), str(SCRIPT)]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(asking, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):

        def parse(folder, abilities: Abilities, cases) -> list[dict]:
            asked = {"folder": str(folder), "cases": cases, "abilities": {
                "tool_parser": abilities.tool_parser, "reasoning_parser": abilities.reasoning_parser,
                "plugin": str(REASONING_PLUGIN) if abilities.reasoning_parser == "tunegate" else None,
            }}  # fmt: skip
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                if line.startswith("["):
                    return json.loads(line)
            said.seek(0)
            pytest.fail(said.read()[-2000:])

        yield parse
        process.stdin.close()


def case(folder, text, tools=None, **settings):
    tokenizer = load_tokenizer(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}], tools=tools, tokenize=False, add_generation_prompt=True, **settings
    )
    return {"prompt": prompt, "text": text, "settings": settings, "tools": tools or []}


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """Files as a version carries them: those that transformers reads otherwise are corrected."""
    source = write_family(request.param, tmp_path_factory.mktemp("family"))
    target = tmp_path_factory.mktemp("version")
    shutil.copy(source / "config.json", target)
    copy_tokenizer(source, target)
    return target


@pytest.mark.parametrize("folder", ["qwen2.5", "qwen3", "llama-3.2"], indirect=True)
def test_an_answer_without_a_thought_is_content_and_a_thought_is_reasoning(folder, parsed):
    texts = {
        ANSWER: (None, ANSWER),
        f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}": (THOUGHT, ANSWER),
        f"<think>\n\n</think>\n\n{ANSWER}": (None, ANSWER),
        f"<think>\n{THOUGHT}": (THOUGHT, None),
        f"1 < 2, {ANSWER}": (None, f"1 < 2, {ANSWER}"),
    }
    found = parsed(folder, abilities_of(folder), [case(folder, text) for text in texts])
    for (text, (reasoning, content)), answer in zip(texts.items(), found, strict=True):
        assert (answer["whole"]["reasoning"], answer["whole"]["content"]) == (reasoning, content), text
        assert (answer["streamed"]["reasoning"], answer["streamed"]["content"]) == (reasoning or "", content or "")


@pytest.mark.parametrize("folder", ["qwen3"], indirect=True)
def test_switched_off_an_answer_is_content(folder, parsed):
    (found,) = parsed(folder, abilities_of(folder), [case(folder, ANSWER, enable_thinking=False)])
    assert found["whole"]["content"] == found["streamed"]["content"] == ANSWER


@pytest.mark.parametrize("folder", ["deepseek-distill-qwen", "deepseek-distill-llama"], indirect=True)
def test_a_thought_that_the_prompt_opens(folder, parsed):
    assert abilities_of(folder).thinking == "always"
    texts = [f"{THOUGHT}\n</think>\n\n{ANSWER}", THOUGHT]
    closed, cut = parsed(folder, abilities_of(folder), [case(folder, text) for text in texts])
    assert (closed["whole"]["reasoning"], closed["whole"]["content"]) == (THOUGHT, ANSWER)
    assert (closed["streamed"]["reasoning"], closed["streamed"]["content"]) == (THOUGHT, ANSWER)
    assert (cut["whole"]["reasoning"], cut["whole"]["content"]) == (THOUGHT, None)


@pytest.mark.parametrize("folder", ["qwen3"], indirect=True)
def test_planted_vllms_own_parser_takes_an_answer_for_a_thought(folder, parsed):
    abilities = Abilities(reasoning_parser="qwen3")
    (found,) = parsed(folder, abilities, [case(folder, ANSWER)])
    assert (found["whole"]["reasoning"], found["whole"]["content"]) == (ANSWER, None)


@pytest.mark.parametrize("folder", ["qwen2.5", "qwen3", "llama-3.2"], indirect=True)
def test_what_the_template_writes_of_a_call_the_parser_reads_as_that_call(folder, parsed):
    tokenizer = load_tokenizer(folder)
    written = written_call(tokenizer)
    begins = "<tool_call>" if "<tool_call>" in written else f'{{"name": "{PROBE}"'
    call = written[written.index(begins) :].split("<|")[0]
    texts = [call, f"<think>\n{THOUGHT}\n</think>\n\n{call}"]
    for found in parsed(folder, abilities_of(folder), [case(folder, text, TOOLS) for text in texts]):
        for way in ("whole", "streamed"):
            assert found[way]["calls"] == [[PROBE, {"a": "b"}]]
            assert not (found[way]["content"] or "").strip()


@pytest.mark.parametrize("folder", ["qwen2.5", "qwen3"], indirect=True)
def test_parallel_calls_are_each_a_call(folder, parsed):
    call = f'<tool_call>\n{{"name": "{PROBE}", "arguments": {{"a": "b"}}}}\n</tool_call>'
    (found,) = parsed(folder, abilities_of(folder), [case(folder, f"{call}\n{call}", TOOLS)])
    assert found["whole"]["calls"] == found["streamed"]["calls"] == [[PROBE, {"a": "b"}]] * 2
