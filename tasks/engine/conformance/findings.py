"""What a check of an engine found, and what follows: serving, evaluation, or neither, and why."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tasks.core.table import table

Use = Literal["serving", "evaluation"]


@dataclass(frozen=True)
class Finding:
    """One check.

    Args:
        check: its name.
        held: whether it held; None where the engine cannot be asked, or there is nothing to hold it to.
        words: what was found.
    """

    check: str
    held: bool | None
    words: str


#: Checks that must have held, and checks that must not have failed (an engine that does not tell its tokens may serve:
#: its fingerprint tells another template or tokenizer as well).
NEEDED: dict[Use, tuple[str, ...]] = {
    "serving": ("answer", "same twice", "length", "stop strings", "end of turn", "stream", "fingerprint"),
    "evaluation": ("answer", "same twice", "length", "stop strings", "end of turn", "fingerprint", "tokens", "template",
                   "scores", "scores agree"),
}  # fmt: skip
NOT_FAILED: dict[Use, tuple[str, ...]] = {"serving": ("tokens", "template", "tools"), "evaluation": ()}


def missing(findings: Sequence[Finding], use: Use) -> list[str]:
    """Return why an engine may not be used for something; nothing where it may."""
    by_name = {finding.check: finding for finding in findings}
    reasons = [f"{name}: {by_name[name].words}" for name in NEEDED[use] if by_name[name].held is not True]
    return reasons + [f"{name}: {by_name[name].words}" for name in NOT_FAILED[use] if by_name[name].held is False]


@dataclass(frozen=True)
class Conformance:
    """What an engine was found to be.

    Args:
        engine: the driver's name.
        run: where that driver was run against its engine.
        url: of the server.
        model: the name it serves.
        findings: one a check.
    """

    engine: str
    run: str
    url: str
    model: str
    findings: tuple[Finding, ...]

    def row(self) -> dict[str, Any]:
        """Return the JSON form."""
        uses = {use: not missing(self.findings, use) for use in NEEDED}
        reasons = {use: missing(self.findings, use) for use in NEEDED if not uses[use]}
        return {"engine": self.engine, "driver_run": self.run, "url": self.url, "model": self.model,
                "checks": [asdict(finding) for finding in self.findings], "may": uses, "because": reasons}  # fmt: skip

    def text(self) -> str:
        """Return it for a person."""
        said = {True: "held", False: "FAILED", None: "-"}
        rows = [[finding.check, said[finding.held], finding.words] for finding in self.findings]
        lines = [f"{self.model} at {self.url}: {self.engine} (driver run: {self.run})",
                 table(["check", "", "found"], rows)]  # fmt: skip
        for use in NEEDED:
            reasons = missing(self.findings, use)
            lines.append(f"{use}: {'yes' if not reasons else 'no, because of ' + '; '.join(reasons)}")
        return "\n".join(lines)
