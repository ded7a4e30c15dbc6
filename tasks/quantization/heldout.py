"""What quantization costs, on answers that neither trained nor calibrated the model: loss, KL divergence, first choice.

Formulas, over the positions of the assistant's own tokens (teacher-forced, each row alone, so no padding):
    bits per byte = -sum log2 q(token) / UTF-8 bytes of the answers;
    perplexity = exp(-mean ln q(token));
    KL = mean over positions of sum over the whole vocabulary of p ln(p / q), in nats: p merged, q quantized;
    top-1 agreement = share of positions at which both prefer the same token.
"""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.chat.rows import IGNORED, TokenRow, encode_rows
from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl
from tasks.core.settings import QuantizeParams

log = logging.getLogger(__name__)

#: Positions whose log-probabilities over the vocabulary exist at once, in float32.
PIECE_POSITIONS = 256
#: Digits that are reported and decide: what lies behind them differs from machine to machine.
REPORTED_DIGITS = 6


@dataclass(frozen=True)
class HeldOut:
    """Held-out conversations as token ids, and the size of their answers.

    Args:
        rows: conversations with the labels of the assistant's tokens.
        tokens: answer tokens over all rows.
        bytes: UTF-8 bytes of the answers over all rows.
    """

    rows: list[TokenRow]
    tokens: int
    bytes: int


@dataclass(frozen=True)
class Measured:
    """A model's figures on the held-out answers; the two that compare are null for the reference itself."""

    loss_nats: float
    bits_per_byte: float
    perplexity: float
    kl_nats: float | None
    top1_agreement: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return the figures as they are reported."""
        return {name: None if value is None else round(value, REPORTED_DIGITS) for name, value in asdict(self).items()}


def read_heldout(path: Path, tokenizer: Any, params: QuantizeParams) -> HeldOut:
    """Return the first validation conversations that fit, in the file's order.

    Args:
        path: validation.jsonl.
        tokenizer: of the merged model.
        params: how many rows are wanted, and from how many tokens on a row is left out whole.

    Raises:
        DataContractError: no row is left.
    """
    if not any(True for _ in read_jsonl(path)):
        raise DataContractError(f"{path} has no rows", "raise prepare.validation_fraction, then tunegate run")
    chosen = encode_rows(path, tokenizer, params.heldout_length_tokens).rows[: params.heldout_rows]
    size = sum(len(tokenizer.decode(row.completion_ids, skip_special_tokens=True).encode()) for row in chosen)
    return HeldOut(chosen, sum(len(row.completion_ids) for row in chosen), size)


def logits_of(model: Any, heldout: HeldOut) -> Iterator[Any]:
    """Yield each row's logits at the answer positions; bfloat16, shape (answer tokens, vocabulary)."""
    import torch

    model.eval()
    with torch.inference_mode():
        for row in heldout.rows:
            ids = torch.tensor([row.input_ids], device=model.device)
            # The logits that predict a token stand one place before it.
            before = torch.tensor([place - 1 for place, label in enumerate(row.labels) if label != IGNORED])
            logits = model(input_ids=ids, logits_to_keep=before.to(model.device), use_cache=False).logits[0]
            yield logits.to("cpu", torch.bfloat16)


def measure(
    answers: Iterable[Any], heldout: HeldOut, reference: list[Any] | None = None, *, divergence: bool = True
) -> Measured:
    """Return a model's figures on the held-out answers.

    Args:
        answers: its logits, one tensor a row, as `logits_of` gives them.
        heldout: the conversations.
        reference: the merged model's logits, likewise; null: nothing to compare to.
        divergence: compute KL, which costs as much as half a pass of a small model; else it is null.

    Raises:
        DataContractError: the loss is not a number: the model is broken.
    """
    nats = nats_apart = 0.0
    same = 0
    for place, logits in enumerate(answers):
        tokens = heldout.rows[place].completion_ids
        nats -= _log_likelihood(logits, tokens)
        if reference is not None:
            same += int((reference[place].argmax(-1) == logits.argmax(-1)).sum())
            nats_apart += _divergence(reference[place], logits) if divergence else 0.0
    if not math.isfinite(nats + nats_apart):
        raise DataContractError(
            "the quantized model's loss on held-out answers is not a number", "check merge and quantize in params.yaml"
        )
    loss = nats / heldout.tokens
    compared = reference is not None
    return Measured(
        loss_nats=loss,
        bits_per_byte=nats / math.log(2) / heldout.bytes,
        perplexity=math.exp(loss),
        kl_nats=nats_apart / heldout.tokens if compared and divergence else None,
        top1_agreement=same / heldout.tokens if compared else None,
    )


def _log_likelihood(logits: Any, tokens: list[int]) -> float:
    """Return the sum of the tokens' log-probabilities, in nats."""
    import torch

    total = 0.0
    for first in range(0, len(tokens), PIECE_POSITIONS):
        piece = logits[first : first + PIECE_POSITIONS].float()
        wanted = torch.tensor(tokens[first : first + PIECE_POSITIONS]).unsqueeze(1)
        total += (piece.gather(1, wanted).squeeze(1) - piece.logsumexp(-1)).double().sum().item()
    return total


def _divergence(reference: Any, logits: Any) -> float:
    """Return the KL divergence of the logits from the reference, in nats, summed over the positions."""
    import torch

    total = 0.0
    for first in range(0, len(reference), PIECE_POSITIONS):
        ours = torch.log_softmax(reference[first : first + PIECE_POSITIONS].float(), -1)
        theirs = torch.log_softmax(logits[first : first + PIECE_POSITIONS].float(), -1)
        total += (ours.exp() * (ours - theirs)).sum(-1).double().sum().item()
    return total
