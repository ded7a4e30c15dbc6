"""The candidates of one model: screened by rounding to nearest, the best made in full, the best of those kept."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.core.params.model import METHOD_NAMES
from tasks.core.settings import QuantizeBars, QuantizeCandidate, QuantizeParams
from tasks.quantization.bars import bars_hold
from tasks.quantization.calibration import Calibration
from tasks.quantization.candidates import is_usual, name_of
from tasks.quantization.compress import compress
from tasks.quantization.experts import load_apart
from tasks.quantization.heldout import REPORTED_DIGITS, HeldOut, Measured, logits_of, measure
from tasks.quantization.screening import round_to_nearest
from tasks.quantization.written import computed_in, read_back, require_quantized, weight_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tried:
    """What is known of one candidate.

    Args:
        candidate: scheme and group size.
        screened: figures by rounding to nearest; null where there was nothing to screen.
        measured: figures of the written model; null for a candidate that was no finalist.
        folder: the written model; null like `measured`.
        bytes: size of its weights.
    """

    candidate: QuantizeCandidate
    screened: Measured | None = None
    measured: Measured | None = None
    folder: Path | None = None
    bytes: int | None = None

    def row(self, chosen: bool) -> dict[str, Any]:
        """Return the candidate as a row of quantization.json."""
        figures = self.measured.as_dict() if self.measured else dict.fromkeys(Measured.__annotations__)
        return {
            "scheme": self.candidate.scheme,
            "group_size": self.candidate.group_size,
            **({} if is_usual(self.candidate) else {"method": self.candidate.method}),
            "screened_loss_nats": _loss(self.screened) if self.screened else None,
            "screened_top1_agreement": self.screened.as_dict()["top1_agreement"] if self.screened else None,
            **figures,
            "bytes": self.bytes,
            "chosen": chosen,
        }


def load(folder: Path) -> Any:
    """Return the merged model, on the machine's accelerators as far as they hold it."""
    return _dispatched(_loaded_plainly(folder))


def target_layers(model: Any, ignore: list[str]) -> dict[str, Any]:
    """Return the linear layers to be quantized by name."""
    import torch

    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in ignore and name.rpartition(".")[2] not in ignore
    }


@dataclass(frozen=True)
class Search:
    """One search: the merged model, what it answers, and the texts it is judged by.

    Args:
        params: finalists, grid, layers left alone.
        merged: bf16 folder.
        tokenizer: its tokenizer.
        calibration: what the methods see.
        heldout: what decides.
        reference: the merged model's logits on `heldout`.
    """

    params: QuantizeParams
    merged: Path
    tokenizer: Any
    calibration: Calibration
    heldout: HeldOut
    reference: list[Any]

    def screen(self, candidates: Sequence[QuantizeCandidate]) -> list[Tried]:
        """Measure every candidate by rounding to nearest; nothing is measured of a kind whose all are finalists."""
        sizes = Counter(map(_kind, candidates))
        return [
            Tried(candidate, self._rounded(candidate) if sizes[_kind(candidate)] > self.params.finalists else None)
            for candidate in candidates
        ]

    def finals(self, screened: Sequence[Tried], work: Path) -> list[Tried]:
        """Make the best of each method and width, write each below `work`, and measure it; the order stays.

        Rounding alone tells nothing of two methods, and 8 bits always round off less than 4.
        """
        finalists: list[QuantizeCandidate] = []
        for kind in dict.fromkeys(_kind(tried.candidate) for tried in screened):
            ours = [tried for tried in screened if _kind(tried.candidate) == kind]
            best = sorted(ours, key=lambda tried: _loss(tried.screened))
            finalists += [tried.candidate for tried in best[: self.params.finalists]]
        return [self._calibrated(tried, work) if tried.candidate in finalists else tried for tried in screened]

    def _rounded(self, candidate: QuantizeCandidate) -> Measured:
        """Return the figures of a candidate without calibration."""
        model = load(self.merged)
        round_to_nearest(target_layers(model, self.params.ignore), candidate)
        measured = measure(logits_of(model, self.heldout), self.heldout, self.reference, divergence=False)
        log.info("quantize: %s by rounding, %.3f nats a held-out token", name_of(candidate), measured.loss_nats)
        return measured

    def _calibrated(self, tried: Tried, work: Path) -> Tried:
        """Return a finalist with its model written and measured."""
        folder = work / name_of(tried.candidate).replace(" ", "-")
        folder.mkdir(parents=True)
        model = _loaded_plainly(self.merged)
        layers = set(target_layers(model, self.params.ignore))
        compress(model, self.tokenizer, tried.candidate, self.params, self.calibration.token_ids, folder, self.merged)
        del model
        require_quantized(folder, layers, tried.candidate.scheme)
        measured = measure(logits_of(_dispatched(read_back(folder)), self.heldout), self.heldout, self.reference)
        method = METHOD_NAMES[tried.candidate.method]
        log.info("quantize: %s by %s, %.3f nats a held-out token", name_of(tried.candidate), method, measured.loss_nats)
        return replace(tried, measured=measured, folder=folder, bytes=weight_bytes(folder))


def choose(tried: Sequence[Tried], bars: QuantizeBars, before: Measured) -> Tried:
    """Return the finalist with the least held-out loss; of equals the first in the order of params.yaml.

    8 bits lose less than 4 and take twice the room: they are chosen where the best of 4 bits does not hold the bars.

    Args:
        tried: the candidates.
        bars: what should be kept.
        before: the merged model's figures.
    """
    finalists = sorted((one for one in tried if one.measured is not None), key=lambda one: _loss(one.measured))
    small = [one for one in finalists if one.candidate.bits == min(other.candidate.bits for other in finalists)]
    best = small[0]
    return best if best.measured and bars_hold(bars, before, best.measured) else finalists[0]


def _kind(candidate: QuantizeCandidate) -> tuple[str, str | int]:
    """Return what finalists are counted by: the method, and the width or, of 8 bits, the scheme."""
    return candidate.method, candidate.scheme if candidate.bits == 8 else candidate.bits


def _loss(measured: Measured | None) -> float:
    """Return the loss that decides, rounded as it is reported: the last digits differ from machine to machine."""
    return round(measured.loss_nats, REPORTED_DIGITS) if measured else 0.0


def _loaded_plainly(folder: Path) -> Any:
    """Return the merged model in memory: llm-compressor moves its blocks to an accelerator itself."""
    return load_apart(folder, dtype=computed_in())


def _dispatched(model: Any) -> Any:
    """Return the model spread over the accelerators, the rest in memory; as it is on a machine without one."""
    import torch
    from compressed_tensors.offload import dispatch_model

    return dispatch_model(model) if torch.accelerator.is_available() else model
