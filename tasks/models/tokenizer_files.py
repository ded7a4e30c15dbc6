"""The tokenizer files of a base, completed: a pad token of their own, and a class that reads tokenizer.json as it is.

Rule of the pad token. A base keeps its own where that is a token of the vocabulary and ends no turn. Otherwise it is
chosen among the added tokens that have a row in the embedding, stop no generation, begin no text and stand neither in
the chat template nor among the words of it, in this order:
    1. a token made for padding (`<|finetune_right_pad_id|>`, `<｜▁pad▁｜>`), the lowest id first;
    2. a token that pads what no text holds (`<|vision_pad|>`, `<|fim_pad|>`), the lowest id first;
    3. a token reserved by the maker (`<|reserved_special_token_N|>`), the highest id first: makers use up low ones;
    4. the unknown token, where the vocabulary knows every byte, so that no text holds it.
Nothing is added to the vocabulary. Rows whose text spells the chosen token are refused, as with any special token.

Rule of the class. Some published `tokenizer_class` values make transformers 5 build another tokenizer than
tokenizer.json says (LlamaTokenizerFast of the DeepSeek distills: spaces lost, another split of words), depending on
the name of the folder and on config.json beside it, which an adapter's folder lacks. Where any of these readings
differs, the class becomes PreTrainedTokenizerFast, which reads the file as it is: in training, in every hop and in vLLM
alike. Where transformers insists on a class of its own (model_type qwen2), that class is named, if its only difference
is the Unicode form.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from unicodedata import is_normalized, normalize

from tasks.core.digest import sha256_file, sha256_json
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.models.files import chat_template_text, model_config

#: Files that make a tokenizer and its chat template; a folder holds some of them.
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
#: Raise when the rules choose otherwise than before: it names the folders of completed bases.
RECIPE = 1

PLAIN_CLASS = "PreTrainedTokenizerFast"
#: What the readings of a tokenizer are compared on: scripts, digits, runs of blanks and lines, marks, composed letters.
PROBES = (
    "你好，世界！照射前24小时内服用。", "How many μSv is 1 mSv?", " lead  and  runs ", "a\n\nb\r\n\tc", "e\u0301é ﬁ①",
    "1234567 3.14", "def f(x):\n    return x**2  # 平方", "😀🏽‍🚒",
)  # fmt: skip

_WORDS = re.compile(r"[a-z]+")
_PADDING = {"pad", "padding", "finetune right pad id", "pad id", "pad token"}
_RESERVED = {"reserved", "unused", "placeholder", "dummy", "extra"}

#: Completions found out in this process by the content of the files: large vocabularies take seconds to compare.
_KNOWN: dict[str, dict[str, Any]] = {}

Origin = Literal["base", "padding", "other padding", "reserved", "unknown token"]


@dataclass(frozen=True)
class Pad:
    """The token that fills up short rows.

    Args:
        token: its text.
        id: its row in the embedding.
        origin: `base` where the base names it itself, else which part of the rule chose it.
    """

    token: str
    id: int
    origin: Origin

    @property
    def words(self) -> str:
        """Return the choice in words."""
        why = "the base's own" if self.origin == "base" else f"chosen: {self.origin}"
        return f"{self.token} (id {self.id}, {why})"


@dataclass(frozen=True)
class Vocabulary:
    """What of a folder decides the pad token.

    Args:
        ids: id of every token by its text.
        added: texts of the added tokens.
        rows: rows of the embedding; None where config.json is not there.
        taken: texts that have another use: bos, stops, what the template names.
        unknown: the unknown token, where no text can hold it.
    """

    ids: dict[str, int]
    added: frozenset[str]
    rows: int | None
    taken: frozenset[str]
    unknown: str | None

    def has_row(self, token: str) -> bool:
        """Tell whether a token can be embedded."""
        return token in self.ids and (self.rows is None or self.ids[token] < self.rows)


def pad_token(folder: Path) -> Pad:
    """Return the token that pads rows of a base, by the rule above.

    Args:
        folder: of the base, or of a model that was made from it.

    Raises:
        DataContractError: no token of the vocabulary fits, or tokenizer files are missing.
    """
    settings = _named(folder)
    vocabulary = _vocabulary(folder, settings)
    own, eos = token_text(settings.get("pad_token")), token_text(settings.get("eos_token"))
    if own is not None and own != eos and vocabulary.has_row(own):
        return Pad(own, vocabulary.ids[own], "base")
    for origin, token in _candidates(vocabulary):
        return Pad(token, vocabulary.ids[token], origin)
    raise DataContractError(
        f"{folder}: pad_token is {own!r}, eos_token {eos!r}, and none of the {len(vocabulary.added)} added tokens is "
        "free to pad (named pad, reserved or unused, with a row in the embedding)",
        "set pad_token in its tokenizer_config.json to a token that never ends a turn and stands in no row",
    )


def token_text(token: Any) -> str | None:
    """Return the text of a token given as text or as {"content": text}."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def completion(folder: Path) -> dict[str, Any]:
    """Return what tokenizer_config.json must say beyond what it says: {} for a folder that is complete.

    Raises:
        DataContractError: there is no usable pad token, or no class reads tokenizer.json as it is.
    """
    names = (*present(folder), "config.json", "generation_config.json")
    key = sha256_json({name: sha256_file(folder / name) for name in names if (folder / name).is_file()})
    if key not in _KNOWN:
        _KNOWN[key] = _completion(folder)
    return dict(_KNOWN[key])


def _completion(folder: Path) -> dict[str, Any]:
    """Return the completion of a folder, found out anew."""
    pad = pad_token(folder)
    changes: dict[str, Any] = {} if pad.origin == "base" else {"pad_token": pad.token}
    if not (folder / "tokenizer.json").is_file():
        return changes
    named = _class_that_fits(folder, changes)
    return changes if named is None else changes | {"tokenizer_class": named}


def _class_that_fits(folder: Path, changes: dict[str, Any]) -> str | None:
    """Return the tokenizer_class to name; None where the one that is named reads tokenizer.json as it is.

    Raises:
        DataContractError: no class does.
    """
    written = _written(folder)
    tried: dict[str | None, list[Reading]] = {None: _readings(folder, changes)}
    if tried[None] == [written, written]:
        return None
    for name in (PLAIN_CLASS, type(load_completed(folder, changes)).__name__):
        tried[name] = _readings(folder, changes | {"tokenizer_class": name})
        if tried[name] == [written, written]:
            return name
    for close, (alone, beside_config) in tried.items():
        if alone == beside_config and alone.composed == written.composed and alone.texts == _composed(PROBES):
            return close
    raise DataContractError(
        f"{folder}: transformers reads another tokenizer than its tokenizer.json says",
        "use a copy of the model whose tokenizer.json and tokenizer_config.json belong together",
    )


def write_tokenizer(source: Path, target: Path, changes: dict[str, Any]) -> None:
    """Copy the tokenizer files, byte for byte but for what is to change.

    Args:
        source: folder of a model.
        target: folder that gets the files.
        changes: from `completion`.
    """
    for name in present(source):
        shutil.copyfile(source / name, target / name)
    if not changes:
        return
    write_json(target / "tokenizer_config.json", _settings(source) | changes)
    special = source / "special_tokens_map.json"
    if "pad_token" in changes and special.is_file():
        write_json(target / special.name, read_json(special) | {"pad_token": changes["pad_token"]})


def present(folder: Path) -> list[str]:
    """Return the tokenizer files a folder has."""
    return [name for name in TOKENIZER_FILES if (folder / name).is_file()]


def _settings(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json."""
    path = folder / "tokenizer_config.json"
    value = read_json(path) if path.is_file() else None
    if not isinstance(value, dict):
        raise DataContractError(f"{folder} has no tokenizer_config.json", "use a complete copy of the model")
    return value


def _named(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json with the tokens that older folders name in a file of their own."""
    special = folder / "special_tokens_map.json"
    return (read_json(special) if special.is_file() else {}) | _settings(folder)


def _vocabulary(folder: Path, settings: dict[str, Any]) -> Vocabulary:
    """Return what decides, from the files alone."""
    file = read_json(folder / "tokenizer.json") if (folder / "tokenizer.json").is_file() else {}
    model = file.get("model") or {}
    pieces = model.get("vocab") or {}
    ids = dict(pieces) if isinstance(pieces, dict) else {piece[0]: place for place, piece in enumerate(pieces)}
    listed = {item["content"]: item["id"] for item in file.get("added_tokens", [])}
    for place, item in (settings.get("added_tokens_decoder") or {}).items():
        listed.setdefault(str(token_text(item)), int(place))
    unknown = token_text(settings.get("unk_token")) or model.get("unk_token")
    all_bytes = bool(model.get("byte_fallback")) or (file.get("decoder") or {}).get("type") == "ByteLevel"
    taken = _taken(folder, settings, listed)
    return Vocabulary(ids | listed, frozenset(listed), _rows(folder), taken, unknown if all_bytes else None)


def _taken(folder: Path, settings: dict[str, Any], added: dict[str, int]) -> frozenset[str]:
    """Return the texts of tokens that have a use: by tokenizer_config.json, another configuration or the template."""
    named = {token_text(settings.get(f"{kind}_token")) for kind in ("bos", "eos", "sep", "cls", "mask")}
    numbers = {place for name in ("config.json", "generation_config.json") for place in _named_ids(folder / name)}
    template = chat_template_text(folder) + str(settings.get("chat_template") or "")
    used = {token for token, place in added.items() if place in numbers or token in template}
    return frozenset(used | {token for token in named if token is not None})


def _named_ids(path: Path) -> set[int]:
    """Return the token ids that a configuration gives a meaning (stops, bos, image tokens), the pad's aside."""
    config = read_json(path) if path.is_file() else {}
    values = [value for name, value in config.items() if name.endswith(("token_id", "token_index", "token_ids"))
              and name != "pad_token_id"]  # fmt: skip
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return {item for item in flat if isinstance(item, int)}


def _rows(folder: Path) -> int | None:
    """Return how many rows the embedding has."""
    config = model_config(folder)
    rows = (config.get("text_config") or config).get("vocab_size", config.get("vocab_size"))
    return rows if isinstance(rows, int) else None


def _candidates(vocabulary: Vocabulary) -> Iterator[tuple[Origin, str]]:
    """Yield the tokens that may pad, the best first."""
    free = sorted(
        (token for token in vocabulary.added if vocabulary.has_row(token) and token not in vocabulary.taken),
        key=lambda token: vocabulary.ids[token],
    )
    words = {token: _WORDS.findall(token.lower()) for token in free}
    yield from (("padding", token) for token in free if " ".join(words[token]) in _PADDING)
    yield from (("other padding", token) for token in free if "pad" in words[token])
    yield from (("reserved", token) for token in reversed(free) if _RESERVED & set(words[token]))
    unknown = vocabulary.unknown
    if unknown is not None and vocabulary.has_row(unknown) and unknown not in vocabulary.taken:
        yield "unknown token", unknown


@dataclass(frozen=True)
class Reading:
    """What a tokenizer makes of the probes.

    Args:
        ids: their tokens.
        texts: what these decode to, in Unicode's form C.
    """

    ids: list[list[int]]
    texts: list[str]

    @property
    def composed(self) -> list[list[int]]:
        """The tokens of the probes that are in form C already."""
        return [ids for ids, text in zip(self.ids, PROBES, strict=True) if is_normalized("NFC", text)]


def _written(folder: Path) -> Reading:
    """Return how tokenizer.json reads the probes."""
    from tokenizers import Tokenizer

    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [file.encode(text, add_special_tokens=False).ids for text in PROBES]
    return Reading(ids, _composed(file.decode(one, skip_special_tokens=False) for one in ids))


def _readings(folder: Path, changes: dict[str, Any]) -> list[Reading]:
    """Return how transformers reads the probes, without and with config.json beside the tokenizer."""
    found = []
    for beside in ((), ("config.json",)):
        tokenizer = load_completed(folder, changes, beside)
        ids = [tokenizer.encode(text, add_special_tokens=False) for text in PROBES]
        texts = _composed(tokenizer.decode(one, clean_up_tokenization_spaces=False) for one in ids)
        found.append(Reading(ids, texts))
    return found


def _composed(texts: Iterable[str]) -> list[str]:
    """Return texts in Unicode's form C, which some tokenizers write."""
    return [normalize("NFC", text) for text in texts]


def load_completed(folder: Path, changes: dict[str, Any], beside: tuple[str, ...] = ("config.json",)) -> Any:
    """Return the tokenizer of a folder as it is read once the changes are written.

    Args:
        folder: of a model.
        changes: from `completion`.
        beside: other files the class may depend on.
    """
    from transformers import AutoTokenizer

    with TemporaryDirectory(prefix="tunegate-tokenizer-") as name:
        write_tokenizer(folder, Path(name), changes)
        for other in beside:
            if (folder / other).is_file():
                shutil.copyfile(folder / other, Path(name) / other)
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    tokenizer.name_or_path = str(folder)
    return tokenizer
