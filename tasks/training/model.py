"""The model that is trained: base in 4 bit, bf16 or fp32, with a LoRA adapter in fp32 where one is trained."""

import os
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.processor import compute_dtype
from tasks.core.settings import LoraParams, TrainParams
from tasks.models.weights import load_weights
from tasks.training.experts import adapting_experts


def load_trainable(base: Path, params: TrainParams) -> Any:
    """Return the base model, ready to be trained in the mode asked for.

    Args:
        base: folder of safetensors.
        params: mode `qlora` (NF4 with double quantization, Dettmers et al. 2023), `lora` (bf16) or `full` (fp32
            weights, bf16 compute: bf16 weights would lose small updates). Where the CPU has no bf16 all is fp32.
    """
    from peft import get_peft_model
    from transformers import set_seed

    from tasks.training.attention import attention_for

    divided = params.parallel.parts > 1
    attention = attention_for(params.max_length_tokens, divided=divided)
    model = load_base(base, params.mode, divided=divided, attention=attention)
    _require_plain_head(model)
    if params.mode == "full":
        return model
    set_seed(params.seed)  # the adapter starts from random numbers
    with adapting_experts():
        return get_peft_model(model, lora_config(params.lora))


def load_base(base: Path, mode: str, *, divided: bool = False, attention: str = "sdpa") -> Any:
    """Return the base model in the precision of a training mode; 4-bit weights stay trainable after an eval pass.

    Args:
        base: folder of safetensors.
        mode: as in `load_trainable`.
        divided: whether FSDP or DeepSpeed will divide the weights.
        attention: transformers' name of an attention function.
    """
    import torch

    compute = training_dtype(divided=divided)
    options: dict[str, Any] = {"dtype": torch.float32 if mode == "full" else compute}
    if mode == "qlora":
        nf4 = nf4_config(compute, divided=divided)
        options |= {"quantization_config": nf4, "device_map": {"": training_device()}}
    model = load_weights(base, attn_implementation=attention, **options)
    model.config.use_cache = False
    keep_4bit_layout(model)
    return model


def training_dtype(*, divided: bool = False) -> Any:
    """Return the type that training makes its products in.

    Divided weights stay with bf16: they are trained on GPUs, and both strategies are set up for it.
    """
    import torch

    return compute_dtype(accelerated=divided or torch.cuda.is_available())


def nf4_config(compute: Any, *, divided: bool = False) -> Any:
    """Return bitsandbytes' settings: NF4, double quantization, and what is computed in (its own default is fp32).

    Divided weights are stored as bf16 numbers, four values in each: FSDP and DeepSpeed divide floating point alone,
    and all of a layer in one type.
    """
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
        bnb_4bit_quant_storage=torch.bfloat16 if divided else torch.uint8,
    )


def training_device() -> Any:
    """Return where this process trains: its own GPU (`LOCAL_RANK`, as accelerate sets it), or the CPU."""
    import torch

    return int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"


def keep_4bit_layout(model: Any) -> int:
    """Stop bitsandbytes from repacking 4-bit weights on CPUs with AVX512_BF16; return the number of layers guarded.

    `Linear4bit.forward` (0.50.2) repacks the weight in place at the first pass in eval mode and marks it; from then on
    `matmul_4bit` takes a kernel without a backward pass, in training too, and gradients are silently wrong. The
    repack asks this attribute first.
    """
    from bitsandbytes.nn import Linear4bit

    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


def lora_config(params: LoraParams) -> Any:
    """Return PEFT's settings of the adapter."""
    from peft import LoraConfig

    return LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules=list(params.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )


def adapter_to_fp32(model: Any) -> None:
    """Hold what is trained in fp32: TRL rounds the adapter of a 4-bit base to bf16, where small updates vanish."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def _require_plain_head(model: Any) -> None:
    """Refuse a model whose logits are more than hidden states times the head: our loss would compute others."""
    config = model.config.get_text_config()
    names = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier", "lm_head_multiplier")
    found = [name for name in names if getattr(config, name, None) not in (None, 1, 1.0)]
    if found:
        raise ConfigError(
            f"base model {config.model_type} changes its logits ({', '.join(found)}): our loss would not",
            "use a Llama, Qwen, Yi or DeepSeek-distill model as base_model",
        )
