"""Base models one can start from: a data file, filters over it, and the memory each use of a model needs."""

from collections.abc import Iterable
from functools import lru_cache
from math import log2
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.settings import ParallelParams, TrainParams
from tasks.models.estimate import Estimate, Shape, serving_at, training

CATALOGUE = Path(__file__).with_name("catalogue.json")
#: Share of the memory that an estimate may fill: allocators fragment, and other processes want some.
HEADROOM = 0.9
#: Uses a model's memory is stated for. Serving: one vLLM server; training: one process.
USES = ("serve_16bit", "serve_8bit", "serve_4bit", "qlora", "lora", "full")
#: What the figures stand for: one conversation of this length in the cache, one row of this length in a batch.
CONTEXT_TOKENS, ROW_TOKENS = 8192, 2048
#: Parameters computed from the shape may differ from those stated by this share (biases, norms, rounding).
PARAMETER_TOLERANCE = 0.002

Language = Literal["zh", "en"]


class Entry(BaseModel):
    """Part of the catalogue: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(Entry):
    """The shape of a dense model, as its config.json has it."""

    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tied_embeddings: bool
    qkv_bias: bool

    @property
    def parameters(self) -> int:
        """Return the number of weights in embeddings, attention, feed-forward layers and norms."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * self.hidden * queries + 2 * self.hidden * keys
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)


class Score(Entry):
    """A Chinese exam's score somebody published."""

    exam: Literal["ceval", "cmmlu"]
    accuracy: float = Field(ge=0, le=1)
    settings: str
    source: str = Field(min_length=8)


class Family(Entry):
    """Models of one maker that share a tokenizer and a template."""

    family: str
    languages: list[Language] = Field(min_length=1)
    languages_source: str
    source: Literal["packaged", "huggingface"]
    note: str


class Model(Entry):
    """One model of the catalogue."""

    id: str
    family: str
    parameters_billion: float = Field(gt=0)
    context_tokens: int = Field(ge=1)
    licence: str
    reasoning: bool
    pad_token: str = Field(min_length=1)
    pad_chosen: bool
    shape: Architecture
    scores: list[Score]

    @model_validator(mode="after")
    def _shape_fits_size(self) -> "Model":
        computed = self.shape.parameters / 1e9
        if abs(computed / self.parameters_billion - 1) > PARAMETER_TOLERANCE:
            raise ValueError(f"{self.id}: its shape has {computed:.3f}e9 parameters, not {self.parameters_billion}e9")
        return self

    @property
    def padding(self) -> str:
        """Return what pads its rows in training, and whether Tunegate had to choose it."""
        return f"{self.pad_token}{' (chosen)' if self.pad_chosen else ''}"

    @property
    def chinese(self) -> str:
        """Return the published Chinese scores in words."""
        words = [f"{score.exam} {score.accuracy:.1%} ({score.settings})" for score in self.scores]
        return "; ".join(words) or "not published"


class Catalogue(Entry):
    """The whole data file."""

    about: list[str]
    families: list[Family] = Field(min_length=1)
    models: list[Model] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_fit(self) -> "Catalogue":
        ids = [model.id for model in self.models]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"listed twice: {', '.join(twice)}")
        if unknown := {model.family for model in self.models} - {family.family for family in self.families}:
            raise ValueError(f"families without an entry: {', '.join(sorted(unknown))}")
        return self

    def family_of(self, model: Model) -> Family:
        """Return the family of a model."""
        return next(family for family in self.families if family.family == model.family)


@lru_cache(2)
def load_catalogue(path: Path = CATALOGUE) -> Catalogue:
    """Return the catalogue.

    Raises:
        DataContractError: the file breaks the schema, or a shape does not have the parameters stated.
    """
    try:
        return Catalogue.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise DataContractError(f"{path}: {error}", "mend the catalogue") from error


def memory(model: Model, train: TrainParams) -> dict[str, Estimate]:
    """Return the memory of each use in GiB, term by term.

    Args:
        model: of the catalogue.
        train: LoRA rank and modules; batch, length and checkpointing are those of the comparison.
    """
    shape = _shape(model)
    fixed: dict[str, object] = {"batch_rows": 1, "max_length_tokens": ROW_TOKENS, "gradient_checkpointing": True}
    fixed["parallel"] = ParallelParams(strategy="single", processes=1)
    found = {f"serve_{bits}bit": serving_at(shape, bits, CONTEXT_TOKENS) for bits in (16, 8, 4)}
    for mode in ("qlora", "lora", "full"):
        found[mode] = training(train.model_copy(update=fixed | {"mode": mode}), shape)
    return found


def choose(
    catalogue: Catalogue,
    train: TrainParams,
    *,
    family: str | None = None,
    language: str | None = None,
    licence: str | None = None,
    reasoning: bool | None = None,
    memory_gib: float | None = None,
    use: str = "qlora",
) -> list[Model]:
    """Return the models that pass every filter given, in the order of the file.

    Args:
        catalogue: what to choose from.
        train: for the memory of training.
        family: part of its name.
        language: zh or en: supported by the family's own statement.
        licence: part of its name.
        reasoning: whether it thinks before it answers.
        memory_gib: room for `use`; a tenth of it stays free.
        use: one of USES.

    Raises:
        ConfigError: `use` is none of USES.
    """
    if use not in USES:
        raise ConfigError(f"no use is called {use!r}", f"one of: {', '.join(USES)}")

    def passes(model: Model) -> bool:
        return (
            (family is None or family.lower() in model.family.lower())
            and (language is None or language in catalogue.family_of(model).languages)
            and (licence is None or licence.lower() in model.licence.lower())
            and (reasoning is None or model.reasoning == reasoning)
            and (memory_gib is None or memory(model, train)[use].gib <= HEADROOM * memory_gib)
        )

    return [model for model in catalogue.models if passes(model)]


def recommend(models: Iterable[Model]) -> list[Model]:
    """Return the best model of each family, best first: the largest class of size, then what is published of it.

    Size decides first because it is the one thing known of all of them; within a class (a factor of about 1.4 either
    way) the better published Chinese score, then the longer context, then size. Published scores were made with other
    prompts and exist for few: `tunegate models bakeoff` measures the few that are left.
    """

    def rank(model: Model) -> tuple[int, float, int, float]:
        best = max((score.accuracy for score in model.scores), default=0.0)
        return -round(log2(model.parameters_billion)), -best, -model.context_tokens, -model.parameters_billion

    first: dict[str, Model] = {}
    for model in sorted(models, key=rank):
        first.setdefault(model.family, model)
    return list(first.values())


def _shape(model: Model) -> Shape:
    """Return what of a model decides its memory."""
    shape = model.shape
    kv_share = shape.kv_heads * shape.head_dim / shape.hidden
    return Shape(model.parameters_billion * 1e9, shape.layers, shape.hidden, shape.vocabulary, kv_share, exact=True)
