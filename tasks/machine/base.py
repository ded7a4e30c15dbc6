"""Whether the base model can be trained, as far as its files tell: its layers, and what pads its rows."""

from pathlib import Path

from tasks.core.errors import DataContractError
from tasks.core.settings import Settings
from tasks.machine.check import Check
from tasks.models.architecture import has_experts, require_trainable
from tasks.models.catalogue import load_catalogue
from tasks.models.tokenizer_files import pad_token

LAYERS, EXPERTS, PADDING = "base model layers", "base model experts", "base model padding"
NEEDED_LAYERS, NEEDED_PADDING = "attention in every layer", "a token that ends no turn and stands in no row"
NEEDED_EXPERTS = "a GPU to serve them"


def check_base(settings: Settings, folder: Path | None) -> list[Check]:
    """Return what the base's files say, or the catalogue where they are not here yet.

    Args:
        settings: name the base.
        folder: of the base; None where it is not on this machine.
    """
    if folder is None:
        known = [model for model in load_catalogue().models if model.id == settings.base_model.id]
        return [Check(PADDING, "ok", f"{model.padding}, by the catalogue", NEEDED_PADDING) for model in known]
    return [_layers(folder), *_experts(folder, settings), _padding(folder)]


def _layers(folder: Path) -> Check:
    """Check that no layer keeps a recurrent state."""
    try:
        require_trainable(folder)
    except DataContractError as error:
        return Check(LAYERS, "failed", error.message, NEEDED_LAYERS, error.hint)
    return Check(LAYERS, "ok", NEEDED_LAYERS, NEEDED_LAYERS)


def _experts(folder: Path, settings: Settings) -> list[Check]:
    """Check that a mixture of experts has a GPU to be served on."""
    if not has_experts(folder):
        return []
    if settings.hardware.gpus:
        return [Check(EXPERTS, "ok", "a mixture, served on a GPU", NEEDED_EXPERTS)]
    found = "a mixture, and vllm's CPU build serves no adapter on experts, and 4-bit experts with AMX alone"
    todo = "a profile with a GPU, or another base: tunegate models list"
    return [Check(EXPERTS, "failed", found, NEEDED_EXPERTS, todo)]


def _padding(folder: Path) -> Check:
    """Check which token fills up short rows."""
    try:
        return Check(PADDING, "ok", pad_token(folder).words, NEEDED_PADDING)
    except DataContractError as error:
        return Check(PADDING, "failed", error.message, NEEDED_PADDING, error.hint)
