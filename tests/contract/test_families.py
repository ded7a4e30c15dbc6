"""Every family of the catalogue in small goes through train, merge and quantize, and three of them through vLLM."""

import socket
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from tasks.chat.rows import IGNORED, encode_rows
from tasks.chat.shapes import Conversation
from tasks.chat.tokenizer import load_tokenizer, tokenizer_sha256
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, read_jsonl, write_json, write_jsonl
from tasks.core.processor import cpu_has_amx
from tasks.core.project import Project
from tasks.core.settings import BaseModelParams, MergeParams, TrainParams, load_settings
from tasks.engine.client import AnswerCache, ServedClient
from tasks.engine.queries import continuation_query
from tasks.engine.server import VllmServer
from tasks.models.architecture import require_served_on_cpu
from tasks.models.base import materialize
from tasks.models.files import tensor_shapes
from tasks.models.tokenizer_files import PROBES
from tests.unit.families import FAMILIES, write_family

# llm-compressor leaves its offload hooks on the model; everything is in memory all the same.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("vllm_imported"),
    pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded modules"),
]

ROOT = Path(__file__).parents[2]
HOPS = ("adapter", "merged", "awq")
ALL_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ASKED = [{"role": "user", "content": "何时服用碘片？"}, {"role": "assistant", "content": "照射前。"}]
OWN = [Conversation("r-1", "single", ASKED)]


@dataclass(frozen=True)
class Chain:
    """The folders of one family: the base as it enters, the rows, and what each stage wrote."""

    root: Path
    base: Path

    def __getattr__(self, hop: str) -> Path:
        return self.root / hop


def rows(count):
    """Chat rows of unequal length, Chinese and English, some of two turns."""
    made = []
    for number in range(count):
        question, words = f"第{number}问：how to shelter?", "关好门窗，听通知。" * (1 + number % 3)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": words}]
        messages += [{"role": "user", "content": "再说一遍？"}, {"role": "assistant", "content": "好。"}] * (number % 2)
        made.append({"row_id": f"r-{number}", "language": "zh" if number % 2 else "en", "messages": messages})
    return made


def train_params(**changes):
    values = load_settings(ROOT / "params.yaml").train.model_dump()
    lora = values["lora"] | {"rank": 4, "target_modules": ALL_LAYERS} | changes.pop("lora", {})
    return TrainParams(**values | {"max_steps": 3, "batch_rows": 4, "max_length_tokens": 1024, "lora": lora} | changes)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def entered(project):
    """Return a function that gives a family's base as `materialize` hands it to every stage."""

    def enter(name):
        folder = project.root / "models" / name
        if not folder.is_dir():
            write_family(name, folder, model=True)
        params = BaseModelParams(source="local", id=f"models/{name}", revision=None, digest=None)
        return materialize(params, project).path

    return enter


@pytest.fixture(scope="module")
def chain(project, entered):
    """Return a function that gives a family's folders after all stages; each family runs once."""
    from tasks.quantization.quantize import quantize
    from tasks.training.merge import merge
    from tasks.training.train import train

    done = {}

    def run(name):
        if name in done:
            return done[name]
        made = Chain(project.root / "chains" / name, entered(name))
        for split, part in (("train", rows(12)), ("calibration", rows(6)), ("validation", rows(4))):
            write_jsonl(made.prepared / f"{split}.jsonl", part)
        for hop in (*HOPS, "scratch"):
            (made.root / hop).mkdir()
        train(train_params(), output=made.adapter, prepared=made.prepared, validation=made.prepared, base=made.base,
              scratch=made.scratch, lineage_id=f"tg-{name}", project=project)  # fmt: skip
        merge(MergeParams(dtype="bfloat16"), output=made.merged, adapter=made.adapter, base=made.base)
        shipped = load_settings(ROOT / "params.yaml").quantize
        few = {"grid_points": 3, "calibration_rows": 4, "heldout_rows": 3, "candidates": shipped.candidates[:1]}
        quantize(shipped.model_copy(update=few), output=made.awq, merged=made.merged, prepared=made.prepared)
        done[name] = made
        return made

    return run


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_goes_through_train_merge_and_quantize(chain, project, name):
    made, family = chain(name), FAMILIES[name]
    record, merged = read_json(made.adapter / "training.json"), read_json(made.merged / "merge.json")
    assert record["pad_token"]["token"] == family.pads_with
    assert merged["changed"] == merged["modules"]
    assert merged["tied_embeddings"] == family.tied
    assert ("lm_head.weight" in tensor_shapes(made.merged)) != family.tied
    report = read_json(made.awq / "quantization.json")
    experts = 4 * 3 * 2 if name == "qwen3-moe" else 0  # of two blocks: four experts of three layers
    assert report["layers"] == (8 + experts if experts else 14)
    packed = [key for key in tensor_shapes(made.awq) if key.endswith(".weight_packed")]
    assert len(packed) == report["layers"]
    published = project.root / "models" / name / "generation_config.json"
    for hop in (made.merged, made.awq):
        found = hop / published.name
        assert found.read_bytes() == published.read_bytes() if published.is_file() else not found.exists()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_hop_has_the_tokens_of_the_base(chain, name):
    made = chain(name)
    digests = {tokenizer_sha256(folder) for folder in (made.base, *(made.root / hop for hop in HOPS))}
    assert digests == {read_json(made.adapter / "training.json")["tokenizer_sha256"]}
    base = load_tokenizer(made.base)
    evidence = list(read_jsonl(made.adapter / "parity.jsonl"))
    assert {"trained", "built_in"} == {row["origin"] for row in evidence}
    assert all(base.pad_token_id not in row["input_ids"] for row in evidence)
    for hop in HOPS:
        tokenizer = load_tokenizer(made.root / hop)
        assert (tokenizer.pad_token, tokenizer.eos_token) == (FAMILIES[name].pads_with, FAMILIES[name].eos)
        assert [tokenizer.encode(text) for text in PROBES] == [base.encode(text) for text in PROBES]


@pytest.mark.parametrize("name", ["llama-3.2", "deepseek-distill-qwen"])
def test_the_chosen_pad_token_carries_no_loss(entered, chain, name):
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from tasks.models.weights import load_weights
    from tasks.training.loss import score_completions

    tokenizer = load_tokenizer(entered(name))
    encoded = encode_rows(chain(name).prepared / "train.jsonl", tokenizer, 1024).rows[:4]
    model = load_weights(entered(name), dtype=torch.float32).eval()
    score_completions(model)
    collate = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    examples = [{"input_ids": row.input_ids, "labels": row.labels} for row in encoded]
    batch = collate(examples)
    padding = batch["input_ids"] == tokenizer.pad_token_id
    assert padding.any()
    assert set(batch["labels"][padding].tolist()) == {IGNORED}
    with torch.no_grad():
        together = model(**batch)["loss_sum"]
        alone = sum(model(**collate([example]))["loss_sum"] for example in examples)
    assert together.item() == pytest.approx(alone.item(), rel=1e-4)


def test_experts_are_trained_and_merged_as_the_adapter_says(chain, tmp_path):
    """In float16: after three steps what bfloat16 rounds off is a fifth of what training changed."""
    import torch
    from peft import PeftModel

    from tasks.models.weights import load_weights
    from tasks.training.experts import adapting_experts
    from tasks.training.merge import merge

    made, ids = chain("qwen3-moe"), torch.arange(20, 60).unsqueeze(0)
    names = set(read_json(made.merged / "merge.json")["relative_delta_norms"])
    assert {name.rpartition(".")[2] for name in names} >= {"gate_up_proj", "down_proj", "q_proj"}
    merge(MergeParams(dtype="float16"), output=tmp_path, adapter=made.adapter, base=made.base)
    base = load_weights(made.base, dtype=torch.float32)
    with torch.no_grad(), adapting_experts():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, made.adapter)(ids).logits
        ours = load_weights(tmp_path, dtype=torch.float32)(ids).logits
    assert (ours - adapted).abs().max() < 0.1 * (plain - adapted).abs().max()


def test_dropout_on_experts_is_refused_in_words_of_the_settings(entered):
    from tasks.training.model import load_trainable

    with pytest.raises(ConfigError, match=r"train\.lora\.dropout"):
        load_trainable(entered("qwen3-moe"), train_params(mode="lora", lora={"dropout": 0.1}))


def test_vllms_cpu_build_is_not_asked_for_experts_it_cannot_serve(chain, tmp_path, monkeypatch):
    made = chain("qwen3-moe")
    require_served_on_cpu(made.merged, None)
    require_served_on_cpu(chain("qwen3").base, chain("qwen3").adapter)
    with pytest.raises(DataContractError, match="adapter on a mixture"):
        require_served_on_cpu(made.base, made.adapter)
    for flags, serves in (("avx512f", False), ("avx512f amx_tile", True)):
        (tmp_path / "cpuinfo").write_text(f"flags: {flags}\n")
        monkeypatch.setattr("tasks.core.processor.CPU_FACTS", tmp_path / "cpuinfo")
        assert cpu_has_amx() == serves
        if not serves:
            with pytest.raises(DataContractError, match="AMX"):
                require_served_on_cpu(made.awq, None)
    require_served_on_cpu(made.awq, None)


@pytest.mark.parametrize(("name", "hop"), [("qwen3", "awq"), ("llama-3.2", "adapter"), ("qwen3-moe", "merged")])
def test_vllm_reads_and_answers_as_training_does(chain, tmp_path, name, hop):
    from tasks.evaluation.parity.check import check_parity

    made = chain(name)
    folder, adapter = (made.base, made.adapter) if hop == "adapter" else (made.root / hop, None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    vllm = load_settings(ROOT / "params.yaml").serve.vllm
    with VllmServer(Project(ROOT).serve_python) as server:
        server.start(folder, port, vllm, "m", tmp_path / "vllm.log", adapter=adapter, spare_cores=0)
        server.wait_ready()
        client = ServedClient(server.url, "m", model_digest=name, concurrency=4, cache=AnswerCache(None))
        tokenizer, base = load_tokenizer(made.root / hop), load_tokenizer(made.base)
        found = check_parity(OWN, model=folder, base=made.base, tokenizer=tokenizer, base_tokenizer=base, client=client,
                             trained=made.adapter)  # fmt: skip
        ids = tokenizer.encode("碘片何时服用？ go inside and close the windows.", add_special_tokens=False)
        (scored,) = client.ask([continuation_query(ids[:4], ids[4:], "text")], "text")[0]
    assert [item["words"] for item in found["mismatches"]] == []
    assert found["rows"] > 3
    apart = [abs(one - other) for one, other in zip(_logprobs(folder, adapter, ids), scored["logprobs"], strict=True)]
    # Not the largest: rounding sends a few tokens of a mixture to another expert.
    assert median(apart) < 0.15


def _logprobs(folder, adapter, ids):
    """Return the log-probabilities of all tokens after the fourth by transformers."""
    import torch
    from peft import PeftModel

    from tasks.models.weights import load_weights
    from tasks.quantization.written import read_back

    packed = "quantization_config" in read_json(folder / "config.json")
    model = read_back(folder) if packed else load_weights(folder, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    with torch.no_grad():
        logits = torch.log_softmax(model(torch.tensor([ids])).logits[0, 3:-1].float(), -1)
    return logits[range(len(ids) - 4), ids[4:]].tolist()


def test_a_lost_expert_adapter_is_caught(chain, tmp_path):
    from safetensors.torch import load_file, save_file

    from tasks.training.merge import merge

    made, broken = chain("qwen3-moe"), tmp_path / "adapter"
    broken.mkdir()
    for path in made.adapter.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(made.adapter / "adapter_model.safetensors")
    save_file({name: value * ("lora_B" not in name) for name, value in weights.items()},
              broken / "adapter_model.safetensors")  # fmt: skip
    write_json(broken / "training.json", read_json(made.adapter / "training.json"))
    (tmp_path / "merged").mkdir()
    with pytest.raises(DataContractError, match="changes none"):
        merge(MergeParams(dtype="bfloat16"), output=tmp_path / "merged", adapter=broken, base=made.base)


def test_recorded_rows_render_to_the_tokens_that_were_trained(chain):
    """Tools and arguments keep the order of their keys in the record: another order is other tokens."""
    made = chain("qwen3")
    tokenizer = load_tokenizer(made.base)
    recorded = [row for row in read_jsonl(made.adapter / "parity.jsonl") if row["tools"]]
    assert recorded
    for row in recorded:
        rendered = tokenizer.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
        assert tokenizer.encode(rendered, add_special_tokens=False) == row["input_ids"], row["row_id"]
