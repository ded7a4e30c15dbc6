"""A tokenizer as llama.cpp reads it: vocabulary, merges, the way text is split, special tokens, chat template.

llama.cpp knows ways of splitting text by name alone, so what a tokenizer.json says is looked up; one that is not known
is refused, as another would give other tokens. Byte-level BPE only: pieces of SentencePiece are merged by score there.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.chat.tokenizer import load_tokenizer
from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.core.files import read_json
from tasks.models.files import chat_template_text, stop_ids

log = logging.getLogger(__name__)

HINT = "export safetensors instead; the ways that are known stand in tasks/export/vocabulary.py"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
#: (pattern that splits text, whether whole words are looked up before merging) -> llama.cpp's name of the way.
#: Source: llama.cpp, src/llama-vocab.cpp; the patterns as the makers' tokenizer.json have them.
SPLITS: dict[tuple[str, bool], str] = {
    (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}", True): "llama-bpe",
    (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}", False): "dbrx",
    (rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}", False): "qwen2",
}
#: What ByteLevel's own pattern is called here, alone and after single digits.
GPT2, DIGITS_THEN_GPT2 = "gpt-2", "smollm"

#: Kinds of tokens. Source: llama.cpp, include/llama.h, enum llama_token_type.
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


@dataclass(frozen=True)
class Vocabulary:
    """What is written of a tokenizer.

    Args:
        split: llama.cpp's name of the way text is split.
        tokens: text of each id, as many as the embedding has rows.
        kinds: kind of each id.
        merges: pairs with a blank between, in order.
        ids: `bos`, `eos`, `pad`, `unk` -> id, where there is one.
        stops: further ids that end an answer.
        adds_bos: whether text gets a bos in front.
        template: chat template.
    """

    split: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    ids: dict[str, int]
    stops: list[int]
    adds_bos: bool
    template: str


def vocabulary_of(folder: Path, rows: int) -> Vocabulary:
    """Return the tokenizer of a model folder in llama.cpp's terms.

    Args:
        folder: of the model.
        rows: of its embedding.

    Raises:
        DataContractError: llama.cpp would make other tokens of the same text.
    """
    file = read_json(folder / "tokenizer.json")
    model = file["model"]
    if model.get("type") != "BPE" or (file.get("decoder") or {}).get("type") != "ByteLevel":
        raise DataContractError(f"{folder}: its tokenizer is no byte-level BPE ({model.get('type')})", HINT)
    tokenizer = load_tokenizer(folder)
    tokens, kinds = _tokens(file, rows, folder)
    ids = {kind: getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad", "unk")}
    known = {kind: int(number) for kind, number in ids.items() if number is not None}
    return Vocabulary(
        split=_split(file, folder),
        tokens=tokens,
        kinds=kinds,
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
        ids=known,
        stops=sorted(stop_ids(folder) - {known["eos"]}),
        adds_bos=tokenizer.encode("a") != tokenizer.encode("a", add_special_tokens=False),
        template=chat_template_text(folder),
    )


def write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    """Write a tokenizer.

    Args:
        writer: a `gguf.GGUFWriter`.
        vocabulary: from `vocabulary_of`.
    """
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.split)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)
    for kind, number in vocabulary.ids.items():
        getattr(writer, f"add_{kind}_token_id")(number)
    # llama.cpp ends at three tokens by name: the eos, one that ends a turn, one that ends a message.
    for add, number in zip((writer.add_eot_token_id, writer.add_eom_token_id), vocabulary.stops, strict=False):
        add(number)
    writer.add_add_bos_token(vocabulary.adds_bos)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(vocabulary.template)


def _split(file: dict[str, Any], folder: Path) -> str:
    """Return llama.cpp's name of the way a tokenizer splits text."""
    _require_plain_text(file, folder)
    steps = file.get("pre_tokenizer") or {}
    found = [dict(step) for step in steps.get("pretokenizers", [steps])]
    kinds = [step.get("type") for step in found]
    whole = bool(file["model"].get("ignore_merges"))
    byte_level = found[-1] if kinds and kinds[-1] == "ByteLevel" else {}
    plain = byte_level and not byte_level.get("add_prefix_space")
    if plain and byte_level.get("use_regex", True) and not whole:
        if kinds == ["ByteLevel"]:
            return GPT2
        if kinds == ["Digits", "ByteLevel"] and found[0].get("individual_digits"):
            return DIGITS_THEN_GPT2
    if plain and not byte_level.get("use_regex", True) and kinds == ["Split", "ByteLevel"]:
        step = found[0]
        pattern = (step.get("pattern") or {}).get("Regex", "")
        if step.get("behavior") == "Isolated" and not step.get("invert") and (pattern, whole) in SPLITS:
            return SPLITS[pattern, whole]
    digest = sha256_json([steps, whole])[:12]
    raise DataContractError(f"{folder}: llama.cpp's name of its way to split text is not known ({digest})", HINT)


def _require_plain_text(file: dict[str, Any], folder: Path) -> None:
    """Refuse what changes text before it is split; that llama.cpp does not compose characters is said."""
    normalizer = file.get("normalizer") or {}
    steps = [step.get("type") for step in normalizer.get("normalizers", [normalizer] if normalizer else [])]
    if set(steps) - {"NFC"}:
        raise DataContractError(f"{folder}: llama.cpp does not change text as its normalizer does ({steps})", HINT)
    if steps:
        log.info("gguf: llama.cpp does not compose characters (NFC): send it text in composed form")


def _tokens(file: dict[str, Any], rows: int, folder: Path) -> tuple[list[str], list[int]]:
    """Return the text and the kind of each id; rows of the embedding without a token are named and marked unused."""
    vocab: dict[str, int] = file["model"]["vocab"]
    tokens = {number: (text, NORMAL) for text, number in vocab.items()}
    for added in file.get("added_tokens", []):
        tokens[added["id"]] = (added["content"], CONTROL if added["special"] else USER_DEFINED)
    if max(tokens) >= rows:
        raise DataContractError(f"{folder}: token {max(tokens)} has no row in the embedding ({rows})", "check the base")
    texts = [tokens.get(number, (f"[PAD{number}]", UNUSED)) for number in range(rows)]
    return [text for text, _ in texts], [kind for _, kind in texts]
