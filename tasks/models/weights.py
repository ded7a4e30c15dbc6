"""A model's weights in and out, with its generation config beside them as its makers wrote it.

transformers refuses to save a generation config that it would read (`temperature` without `do_sample`), and drops or
adds keys of those that it saves. Nothing here generates by it, and vLLM takes its default sampling and its stops from
it: so every hop gets the base's own file, byte for byte, or none where the base has none.
"""

import shutil
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json

GENERATION_CONFIG = "generation_config.json"
#: Ids that the trainer changes to the tokenizer's in a model that it trains whole.
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def load_weights(folder: Path, **options: Any) -> Any:
    """Return a language model from safetensors; never anything of a hub, never custom code.

    Args:
        folder: of the model.
        options: of transformers: dtype, quantization_config and the like.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False, generation_config=GenerationConfig(), **options
    )


def save_weights(model: Any, folder: Path, *, like: Path, **options: Any) -> None:
    """Write a model as safetensors, with the generation config and the token ids of the model it was made from.

    Args:
        model: of transformers.
        folder: gets config.json, weights and generation_config.json.
        like: folder of the model it was made from.
        options: of transformers' `save_pretrained`.
    """
    from transformers import GenerationConfig

    theirs = read_json(like / "config.json")
    for name in _TOKEN_IDS:
        setattr(model.config, name, theirs.get(name))
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder, **options)
    (folder / GENERATION_CONFIG).unlink(missing_ok=True)
    if (like / GENERATION_CONFIG).is_file():
        shutil.copyfile(like / GENERATION_CONFIG, folder / GENERATION_CONFIG)


def require_generation_config(folder: Path) -> None:
    """Refuse a generation config that no server could read.

    Raises:
        DataContractError: it is no JSON object, or transformers, and so vLLM, would refuse it.
    """
    path = folder / GENERATION_CONFIG
    if not path.is_file():
        return
    from transformers import GenerationConfig

    value = read_json(path)
    hint = "mend the value in that file, or remove the file: vLLM then samples by its own defaults"
    if not isinstance(value, dict):
        raise DataContractError(f"{path} is no JSON object", hint)
    try:
        GenerationConfig.from_dict(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise DataContractError(f"{path} cannot be read by vLLM: {error}", hint) from error
