"""Sections of the verdict: `gate` and `dossier`."""

from typing import Literal

from pydantic import Field

from tasks.core.digest import sha256_json
from tasks.core.params.section import Fraction, Section

Hop = Literal["base", "adapter", "merged", "awq"]


class Claim(Section):
    """What must be shown of a metric; what each `expect` means is told in tasks/gate/rules.py."""

    name: str
    metric: str
    margin: float
    alpha: float | None = Field(gt=0, lt=0.5, description="null: gate.alpha; may only be stricter")
    severity: Literal["block", "report"]


class GateRule(Claim):
    """A claim about one hop against another, on the same items; a floor looks at one hop, written twice."""

    hops: tuple[Hop, Hop]
    expect: Literal["better", "not_worse", "floor", "groups"]


class ChampionRule(Claim):
    """A claim about a candidate's last hop against the present champion's, on the same items."""

    expect: Literal["better", "not_worse"]

    @property
    def hops(self) -> tuple[str, str]:
        """The two sides, named as a report names its hop."""
        return ("champion", "awq")


class AgreementParams(Section):
    """How near two hops must be on held-out text."""

    min_top1: float = Fraction
    max_kl_nats: float = Field(gt=0, description="mean over positions; a lower bound of the true divergence")


class AgreementsParams(Section):
    """The two pairs of hops that are meant to be one model in another form."""

    adapter_merged: AgreementParams
    merged_awq: AgreementParams


class GateParams(Section):
    """Rules, error rate, and the checks that no average buys back."""

    alpha: float = Field(gt=0, lt=0.5)
    bootstrap_samples: int = Field(ge=100)
    seed: int
    rules: list[GateRule] = Field(min_length=1)
    champion_rules: list[ChampionRule]
    agreement: AgreementsParams

    def digest(self) -> str:
        """Return the digest of everything here that decides a verdict."""
        return sha256_json(self.model_dump(mode="json"))


class DossierParams(Section):
    """What the reviewer's page is called."""

    title: str
