"""Trained weights and optimizer states that are divided over processes, as one process would hold them, and back.

All functions are collective: every process calls them, with the same tensors in the same order.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tasks.core.errors import DataContractError

#: States of AdamW that have the shape of their weight.
MOMENTS = ("exp_avg", "exp_avg_sq")


def parts_of(args: Any) -> "FsdpParts | ZeroParts | None":
    """Return how the model of these TrainingArguments is divided; None where each process holds it whole."""
    if args.fsdp:
        return FsdpParts()
    return ZeroParts() if args.deepspeed else None


def saved_weights(checkpoint: Path, model: Any) -> dict[str, torch.Tensor]:
    """Return the trained weights of a checkpoint under the names they have in `model`.

    Raises:
        DataContractError: one is not there.
    """
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = {}
    for path in sorted(checkpoint.glob("*.safetensors")):
        found |= load_file(path)
    # PEFT leaves the adapter's name out of the names it writes.
    names = {name: name.replace(".default.", ".") for name, _ in trained(model)}
    if lost := [name for name in names.values() if name not in found]:
        raise DataContractError(f"{checkpoint.name} has no weights for {lost[0]}", f"delete {checkpoint}")
    return {name: found[saved] for name, saved in names.items()}


def trained(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and parameter of everything that is trained."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


class FsdpParts:
    """What FSDP2 divided: every tensor is a DTensor, its neighbours are on the other processes."""

    def weights(self, model: Any) -> dict[str, torch.Tensor]:
        """Return the trained weights, whole, in memory."""
        return {name: _whole(parameter) for name, parameter in trained(model)}

    def set_weights(self, model: Any, weights: Mapping[str, torch.Tensor]) -> None:
        """Give every trained weight its value; each process keeps its part."""
        with torch.no_grad():
            for name, parameter in trained(model):
                parameter.copy_(_part(weights[name], parameter))

    def optimizer_state(self, optimizer: Any, made: "MadeOptimizer") -> dict[str, Any]:
        """Return `optimizer.state_dict()` with whole tensors."""
        del made
        found = optimizer.state_dict()
        whole = {
            number: {key: _whole(value) if torch.is_tensor(value) else value for key, value in state.items()}
            for number, state in found["state"].items()
        }
        return {"state": whole, "param_groups": found["param_groups"]}

    def set_optimizer_state(self, optimizer: Any, made: "MadeOptimizer", whole: Mapping[str, Any]) -> None:
        """Give the optimizer a state as `optimizer_state` returns it."""
        del made
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state = {
            number: {key: _part(value, parameters[number]) if key in MOMENTS else value for key, value in kept.items()}
            for number, kept in whole["state"].items()
        }
        optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def _whole(tensor: Any) -> torch.Tensor:
    """Return all of a tensor, in memory."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().cpu()


def _part(whole: torch.Tensor, like: Any) -> Any:
    """Return this process's part of a tensor that every process has."""
    from torch.distributed.tensor import distribute_tensor

    there = whole.to(device=like.device, dtype=like.dtype)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)


class ZeroParts:
    """What DeepSpeed's ZeRO-3 divided: its own functions put single tensors together and apart."""

    def weights(self, model: Any) -> dict[str, torch.Tensor]:
        """Return the trained weights in fp32, whole, in memory."""
        from deepspeed.utils import safe_get_full_fp32_param

        return {name: safe_get_full_fp32_param(parameter).cpu() for name, parameter in trained(model)}

    def set_weights(self, model: Any, weights: Mapping[str, torch.Tensor]) -> None:
        """Give every trained weight its value: the fp32 master, and what is computed with."""
        from deepspeed import zero
        from deepspeed.utils import safe_set_full_fp32_param

        for name, parameter in trained(model):
            with zero.GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
                parameter.copy_(weights[name])
            safe_set_full_fp32_param(parameter, weights[name].to(parameter.device, torch.float32))

    def optimizer_state(self, engine: Any, made: "MadeOptimizer") -> dict[str, Any]:
        """Return what torch's AdamW would, had it got the whole weights."""
        from deepspeed.utils import safe_get_full_optimizer_state

        parameters, inner = dict(trained(engine.module)), engine.optimizer.optimizer
        step = next(iter(inner.state.values()))["step"].cpu()
        state = {
            number: {"step": step.clone()}
            | {key: safe_get_full_optimizer_state(parameters[name], key).cpu() for key in MOMENTS}
            for number, name in enumerate(made.names)
        }
        # DeepSpeed leaves out a group without weights.
        rates = [group["lr"] for group in inner.param_groups]
        groups = [group | {"lr": rates[0], "initial_lr": group["lr"]} for group in made.groups]
        return {"state": state, "param_groups": groups}

    def set_optimizer_state(self, engine: Any, made: "MadeOptimizer", whole: Mapping[str, Any]) -> None:
        """Give the optimizer a state as `optimizer_state` returns it; before the first step it has none to fill."""
        from deepspeed.utils import safe_set_full_optimizer_state

        parameters, inner = dict(trained(engine.module)), engine.optimizer.optimizer
        step = next(iter(whole["state"].values()))["step"]
        for flat in engine.optimizer.fp32_partitioned_groups_flat:
            inner.state[flat] = {"step": step.clone(), **{key: torch.zeros_like(flat) for key in MOMENTS}}
        for number, name in enumerate(made.names):
            for key in MOMENTS:
                value = whole["state"][number][key].to(parameters[name].device, torch.float32)
                safe_set_full_optimizer_state(parameters[name], value, key)
        for group in inner.param_groups:
            group["lr"] = whole["param_groups"][0]["lr"]


def schedule_for(groups: int, schedule: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a schedule for an optimizer of so many groups, which all have one learning rate.

    DeepSpeed leaves a group without weights out, torch does not.
    """
    each = {name: [schedule[name][0]] * groups for name in ("base_lrs", "_last_lr", "lr_lambdas")}
    return {**schedule, **each}


@dataclass(frozen=True)
class MadeOptimizer:
    """An optimizer as it was made, before anything was divided: which weights it got, in which order, and its groups.

    Args:
        names: of the weights; their places are their numbers in `state_dict()`.
        groups: `param_groups` of `state_dict()`.
    """

    names: tuple[str, ...]
    groups: tuple[dict[str, Any], ...]


def made_optimizer(optimizer: Any, model: Any) -> MadeOptimizer:
    """Describe an optimizer before accelerate or DeepSpeed replace its weights by parts."""
    name_of = {id(parameter): name for name, parameter in trained(model)}
    weights = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return MadeOptimizer(
        tuple(name_of[id(weight)] for weight in weights), tuple(optimizer.state_dict()["param_groups"])
    )
