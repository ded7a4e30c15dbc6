"""The merge stage: the adapter into a freshly loaded base, with proof that it arrived."""

import logging
from pathlib import Path
from typing import Any

from tasks.chat.tokenizer import copy_tokenizer, load_tokenizer
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.settings import MergeParams
from tasks.models.weights import load_weights, save_weights
from tasks.training.experts import adapted_parameter, adapting_experts

log = logging.getLogger(__name__)

#: Decimals of the norms in merge.json.
NORM_DECIMALS = 8


def merge(params: MergeParams, *, output: Path, adapter: Path, base: Path) -> dict[str, Any]:
    """Write the fine-tuned model as one folder of safetensors, and `merge.json`: what changed, by how much.

    The base is loaded anew in `params.dtype`, never in 4 bit: merging into rounded weights would keep the rounding.
    After training in mode full there is no adapter: the weights are compared with the base and saved again.

    Args:
        params: the merge section.
        output: empty folder to fill.
        adapter: what the train stage wrote.
        base: folder of the base model.

    Raises:
        DataContractError: the adapter is lost (no weight changes), does not fit the base, leaves LoRA keys or untied
            weights behind, or its tokenizer is not the one of the training.
    """
    import torch

    facts = read_json(adapter / "training.json")
    dtype = getattr(torch, params.dtype)
    model = load_weights(base, dtype=dtype)
    tied = model.config.get_text_config().tie_word_embeddings
    if facts["mode"] == "full":
        log.info("merge: trained in mode full: there is no adapter, the weights are checked and saved again")
        norms = _differences(model, model := load_weights(adapter, dtype=dtype))
    else:
        model, norms = _with_adapter(model, adapter, dtype)
    _require_changed(norms, adapter)
    _require_clean(model, tied)
    save_weights(model, output, like=base)
    digest = _copy_trained_tokenizer(adapter, output, facts)
    changed = sum(norm > 0 for norm in norms.values())
    write_json(output / "merge.json", {
        "mode": facts["mode"],
        "dtype": params.dtype,
        "base_digest": facts["base_digest"],
        "modules": len(norms),
        "changed": changed,
        "relative_delta_norms": {name: round(norm, NORM_DECIMALS) for name, norm in sorted(norms.items())},
        "tied_embeddings": tied,
        "tokenizer_sha256": digest,
    })  # fmt: skip
    log.info("merge: %d of %d modules changed, by at most %.2g of their norm", changed, len(norms), max(norms.values()))
    return {"modules": len(norms), "changed": changed, "mode": facts["mode"]}


def _with_adapter(model: Any, adapter: Path, dtype: Any) -> tuple[Any, dict[str, float]]:
    """Return the base with the adapter added to its weights, and each module's relative change.

    The sum is made in fp32 and rounded once.
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    with adapting_experts():
        wrapped: Any = PeftModel.from_pretrained(model, adapter)
    _require_all_loaded(wrapped, adapter)
    norms = {}
    adapted: dict[str, Any] = {
        name: layer for name, layer in wrapped.get_base_model().named_modules() if isinstance(layer, LoraLayer)
    }
    for place, layer in adapted.items():
        name, parameter = adapted_parameter(place, layer)
        weight = parameter.data
        parameter.data = weight.float()  # PEFT rounds the change of experts to the type of their weights
        merged = (parameter.data + layer.get_delta_weight(wrapped.active_adapter).float()).to(dtype)
        norms[name] = _relative_change(weight, merged)
        parameter.data = weight.copy_(merged)
    return wrapped.unload(), norms


def _require_all_loaded(wrapped: Any, adapter: Path) -> None:
    """Compare what lies in the file with what the model took: PEFT passes over keys it does not know."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as stored:
        written = set(stored.keys())
    taken = set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
    if written != taken:
        odd = ", ".join(sorted(written ^ taken)[:4])
        raise DataContractError(
            f"{adapter}: the adapter does not fit the base model; {len(written ^ taken)} keys differ: {odd}",
            "train again on this base_model: dvc repro train",
        )


def _differences(base: Any, trained: Any) -> dict[str, float]:
    """Return the relative change of each parameter."""
    before = dict(base.named_parameters())
    return {name: _relative_change(before[name].data, after.data) for name, after in trained.named_parameters()}


def _relative_change(before: Any, after: Any) -> float:
    """Return the Frobenius norm of the change over that of the weight."""
    change = (after.float() - before.float()).norm()
    return float(change / before.float().norm().clamp(min=1e-12))


def _require_changed(norms: dict[str, float], adapter: Path) -> None:
    """Refuse a merge that leaves the base as it was: the lost adapter."""
    if not any(norm > 0 for norm in norms.values()):
        raise DataContractError(
            f"{adapter} changes none of the {len(norms)} modules it covers: the fine-tuning is lost",
            "look at loss.csv beside it, raise train.learning_rate or max_steps, then dvc repro train",
        )
    same = [name for name, norm in norms.items() if norm == 0]
    if same:
        log.warning("merge: %d of %d modules did not change, e.g. %s", len(same), len(norms), same[0])


def _require_clean(model: Any, tied: bool) -> None:
    """Refuse a merged model with adapter parts in it or with embeddings that came apart."""
    left = [name for name in model.state_dict() if "lora_" in name or "base_layer" in name]
    if left:
        raise DataContractError(f"LoRA keys are left after the merge: {', '.join(left[:4])}", "report this as a bug")
    head = model.get_output_embeddings().weight
    if tied and head.data_ptr() != model.get_input_embeddings().weight.data_ptr():
        raise DataContractError("input and output embeddings are tied in the base but not after the merge",
                                "leave embed_tokens and lm_head out of train.lora.target_modules")  # fmt: skip


def _copy_trained_tokenizer(adapter: Path, output: Path, facts: dict[str, Any]) -> str:
    """Copy tokenizer and chat template from the adapter; they must be the ones of the training, to the byte."""
    load_tokenizer(adapter)
    digest = copy_tokenizer(adapter, output)
    if digest != facts["tokenizer_sha256"]:
        raise DataContractError(
            f"{adapter}: tokenizer or chat template is not the one of the training",
            "dvc checkout, or dvc repro train",
        )
    return digest
