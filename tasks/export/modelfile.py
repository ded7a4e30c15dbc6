"""Ollama's Modelfile: the same template, stop tokens and sampling as the model is served with elsewhere."""

from pathlib import Path
from typing import Any

from tasks.chat.tokenizer import load_tokenizer
from tasks.core.errors import DataContractError
from tasks.core.files import read_json
from tasks.export.template import HINT, form_of, go_template
from tasks.models.files import stop_ids
from tasks.models.weights import GENERATION_CONFIG

#: Name in generation_config.json -> (Ollama's name, what vLLM takes where the file is silent). Written in any case:
#: Ollama's own defaults are others (temperature 0.8, top_k 40, top_p 0.9).
SAMPLING: dict[str, tuple[str, float]] = {
    "temperature": ("temperature", 1.0),
    "top_k": ("top_k", 0),
    "top_p": ("top_p", 1.0),
    "min_p": ("min_p", 0.0),
    "repetition_penalty": ("repeat_penalty", 1.0),
}


def modelfile(folder: Path, weights: str, context_tokens: int, lineage_id: str) -> tuple[str, dict[str, Any]]:
    """Return a Modelfile's text, and what is known of its template.

    Args:
        folder: of the model.
        weights: name of the GGUF file beside it.
        context_tokens: `num_ctx`.
        lineage_id: of the model.

    Raises:
        DataContractError: the chat template cannot be written for Ollama.
    """
    tokenizer = load_tokenizer(folder)
    form = form_of(tokenizer, adds_bos=tokenizer.encode("a") != tokenizer.encode("a", add_special_tokens=False))
    stops = [tokenizer.convert_ids_to_tokens(number) for number in sorted(stop_ids(folder))]
    if bad := [text for text in stops if '"' in text or "\n" in text]:
        raise DataContractError(f"{folder}: the stop token {bad[0]!r} cannot stand in a Modelfile", HINT)
    lines = [
        f"# {lineage_id}, written by Tunegate. ollama create NAME -f Modelfile",
        f"FROM ./{weights}",
        f'TEMPLATE """{go_template(form)}"""',
        *(f"PARAMETER {name} {value:g}" for name, value in _sampling(folder)),
        f"PARAMETER num_ctx {context_tokens}",
        *(f'PARAMETER stop "{text}"' for text in stops),
    ]
    differs = ["Ollama joins messages of one role that follow each other; calls and thoughts are not in this template"]
    differs += (
        ["white space at the ends of a message stays; the model's own template cuts it off"] if form.trims else []
    )
    differs += [] if "system" in form.turns else ["the model's own template takes no system message; Ollama drops it"]
    return "\n".join(lines) + "\n", {"stops": stops, "differs": differs}


def _sampling(folder: Path) -> list[tuple[str, float]]:
    """Return Ollama's sampling parameters as the generation config means them."""
    given = read_json(folder / GENERATION_CONFIG) if (folder / GENERATION_CONFIG).is_file() else {}
    found = []
    for name, (theirs, default) in SAMPLING.items():
        value = given.get(name)
        found.append((theirs, float(default if value is None else value)))
    if given.get("do_sample") is False:
        return [("temperature", 0.0), *found[1:]]
    return found
