"""Chat templates of the families as one regular form, and that form as a Go template, rendered by Go itself."""

import json
import shutil
import subprocess

import pytest

from tasks.chat.shapes import built_in
from tasks.chat.tokenizer import load_tokenizer
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.export.modelfile import modelfile
from tasks.export.template import form_of, go_template
from tests.debian import unpacked
from tests.unit.families import FAMILIES, write_family

REGULAR = ("qwen2.5", "qwen3", "llama-3", "yi-1.5", "deepseek-distill-qwen", "deepseek-distill-llama")
#: Debian 12's Go: compiler and standard library.
GO_PACKAGES = ("golang-1.19-go", "golang-1.19-src")
#: What Ollama does with a template that names .Messages: template/template.go, Execute.
GO_PROGRAM = """package main

import (
	"encoding/json"
	"os"
	"text/template"
)

type Message struct{ Role, Content string }

func main() {
	var asked []struct {
		Template string
		Messages []*Message
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	for _, one := range asked {
		parsed := template.Must(template.New("").Option("missingkey=zero").Parse(one.Template))
		var text stringWriter
		if err := parsed.Execute(&text, map[string]any{"Messages": one.Messages, "Response": ""}); err != nil {
			panic(err)
		}
		out.Encode(string(text))
	}
}

type stringWriter []byte

func (w *stringWriter) Write(part []byte) (int, error) {
	*w = append(*w, part...)
	return len(part), nil
}
"""


def asked(shapes=("single", "system", "multi_turn", "rare_characters", "short", "long")):
    """Conversations up to the last question."""
    return [one.messages[:-1] for one in built_in() if one.shape in shapes and not one.tools]


def without_bos(tokenizer, messages):
    """What the model's own template writes, without the bos that Ollama's engine adds."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text.removeprefix(tokenizer.bos_token or "")


def looped(turn):
    """A template that writes a turn for each message, and the opening of an answer."""
    return f"{{% for m in messages %}}{turn}{{% endfor %}}{{% if add_generation_prompt %}}<assistant>{{% endif %}}"


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    return {name: load_tokenizer(write_family(name, folder / name)) for name in REGULAR}


@pytest.mark.parametrize("family", REGULAR)
def test_the_form_writes_conversations_as_the_template_does(tokenizers, family):
    form = form_of(tokenizers[family], adds_bos=True)
    for messages in asked():
        assert form.render(messages) == without_bos(tokenizers[family], messages)


def test_a_default_system_message_stands_where_none_is_given(tokenizers):
    form = form_of(tokenizers["qwen2.5"], adds_bos=False)
    assert "You are Qwen" in form.default_system
    assert "You are Qwen" not in form.render([{"role": "system", "content": "值班"}, {"role": "user", "content": "？"}])
    assert form.turns["user"] == ("<|im_start|>user\n", "<|im_end|>\n")


def test_a_bos_that_the_engine_adds_is_not_in_the_template(tokenizers):
    assert form_of(tokenizers["llama-3"], adds_bos=True).head == ""
    assert form_of(tokenizers["llama-3"], adds_bos=False).head == "<|begin_of_text|>"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        # Every turn has its number.
        ("<{{ m.role }}{{ loop.index }}>{{ m.content }}</s>", "no"),
        # Long texts are cut.
        ("<{{ m.role }}>{{ m.content[:12] }}</s>", "conversation .* shows it|alike"),
        # The role of an assistant is written as a user's where it is the second turn.
        ("<{{ 'user' if loop.index == 4 else m.role }}>{{ m.content }}</s>", "conversation parity-multi_turn"),
        ("", "no regular form"),
    ],
)
def test_a_template_that_is_not_regular_is_refused(tmp_path, template, said):
    folder = write_family("qwen2.5", tmp_path / "made")
    (folder / "chat_template.jinja").write_text(looped(template), encoding="utf-8")
    with pytest.raises(DataContractError, match=said):
        modelfile(folder, "model.gguf", 2048, "tg-1")


def test_signs_of_go_in_a_template_are_refused(tmp_path):
    folder = write_family("qwen2.5", tmp_path / "made")
    text = looped("{{ '{{' + m.role }}>{{ m.content }}</s>")
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")
    with pytest.raises(DataContractError, match=r"signs that a Go template reads"):
        modelfile(folder, "model.gguf", 2048, "tg-1")


def test_what_ollama_does_otherwise_is_said(tmp_path):
    folder = write_family("llama-3", tmp_path / "llama")
    _, facts = modelfile(folder, "model.gguf", 2048, "tg-1")
    assert facts["stops"] == ["<|eot_id|>"]
    assert any("cuts it off" in line for line in facts["differs"])


def test_sampling_that_is_off_becomes_temperature_0(tmp_path):
    folder = write_family("qwen3", tmp_path / "qwen")
    path = folder / "generation_config.json"
    write_json(path, read_json(path) | {"do_sample": False})
    text, _ = modelfile(folder, "model.gguf", 2048, "tg-1")
    assert "PARAMETER temperature 0\n" in text


@pytest.mark.slow
def test_go_writes_the_same_text_as_the_models_own_template(tokenizers, tmp_path):
    """Go's own text/template, which Ollama renders with."""
    environment = unpacked("Go", GO_PACKAGES, tmp_path)
    # The packages meet by links below /usr; here they are put together.
    root = tmp_path / "go"
    shutil.copytree(tmp_path / "usr/lib/go-1.19", root, symlinks=False, ignore_dangling_symlinks=True)
    for part in ("src", "test", "api", "misc"):
        if (tmp_path / f"usr/share/go-1.19/{part}").is_dir() and not (root / part).is_dir():
            (root / part).symlink_to(tmp_path / f"usr/share/go-1.19/{part}")
    program = tmp_path / "program"
    program.mkdir()
    (program / "main.go").write_text(GO_PROGRAM)
    questions, expected = [], []
    for family, tokenizer in tokenizers.items():
        template = go_template(form_of(tokenizer, adds_bos=bool(FAMILIES[family].bos)))
        for messages in asked():
            questions.append({"Template": template, "Messages": messages})
            expected.append(without_bos(tokenizer, messages))
    done = subprocess.run(
        [root / "bin/go", "run", "main.go"], cwd=program, input=json.dumps(questions), capture_output=True, text=True,
        env=environment | {"GOROOT": str(root), "GOCACHE": str(tmp_path / "cache"), "GOPATH": str(tmp_path / "path"),
                           "GO111MODULE": "off", "CGO_ENABLED": "0", "GOFLAGS": ""},
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.strip().split("\n")] == expected
