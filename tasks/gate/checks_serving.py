"""Checks of the served path: template, tokens, end of turn, scoring canary and server, at every hop."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tasks.core.files import read_jsonl
from tasks.core.layout import HOPS
from tasks.gate.evidence import Evidence, Fault
from tasks.models.files import chat_template_text, stop_ids, token_ids


def chat_template(evidence: Evidence) -> Iterator[Fault]:
    """Find a hop that was asked through, or a model folder that carries, another template than training's."""
    trained = template_sha256(evidence.adapter)
    for hop, report in evidence.reports.items():
        served = report.results["chat_template_sha256"]
        if served != trained:
            yield Fault(
                hop,
                f"Hop {hop} was asked through template {str(served)[:12]}, training used {trained[:12]}.",
                "The tokenizer of this hop's folder was replaced or re-saved with another template.",
                f"copy chat_template.jinja of data/models/adapter, then tunegate stage evaluate@{hop}",
            )
    for hop, folder in (("merged", evidence.merged), ("awq", evidence.awq)):
        if evidence.reports[hop].results["chat_template_sha256"] == trained and template_sha256(folder) != trained:
            yield Fault(
                hop,
                f"The folder of {hop} carries another template than the one it was asked through.",
                "The folder changed after it was evaluated.",
                f"tunegate stage evaluate@{hop}, then tunegate run",
            )


def token_parity(evidence: Evidence) -> Iterator[Fault]:
    """Find hops whose server tokenizes a conversation to other ids than training did."""
    for hop, report in evidence.reports.items():
        parity = report.results["parity"]
        if not parity["rows"]:
            yield Fault(
                hop,
                "No conversation was checked.",
                "evaluate.parity_rows or parity.jsonl is empty.",
                f"tunegate stage evaluate@{hop}",
            )
        elif parity["mismatches"]:
            yield Fault(
                hop,
                f"{len(parity['mismatches'])} difference(s) in {parity['rows']} conversations, "
                f"first: {parity['mismatches'][0].get('words', 'not named')}.",
                "The served tokenizer, template or special tokens differ from training's.",
                f"compare tokenizer.json and chat_template.jinja of hop {hop} with data/models/adapter",
            )


def end_of_turn(evidence: Evidence) -> Iterator[Fault]:
    """Find pad = eos, and folders that stop at another token than the one training ended turns with."""
    taught = {
        row["completion_ids"][-1] for row in read_jsonl(evidence.adapter / "parity.jsonl") if row["completion_ids"]
    }
    if not taught:
        yield Fault(
            "adapter",
            "parity.jsonl names no token that training ended a turn with.",
            "Training kept no row to compare with.",
            "tunegate stage train, then tunegate run",
        )
    ids_by_hop = {"base": evidence.reports["base"].results["tokens"]}
    ids_by_hop |= {hop: token_ids(folder) for hop, folder in evidence.folders.items()}
    for hop, ids in ids_by_hop.items():
        if ids["pad"] is not None and ids["pad"] == ids["eos"]:
            yield Fault(
                hop,
                f"pad_token and eos_token are one token (id {ids['pad']}).",
                "Padding then carries no loss and the model never learns to end its turn.",
                "give the base tokenizer a pad_token of its own, then tunegate run",
            )
    for hop, folder in evidence.folders.items():
        if never := sorted(taught - stop_ids(folder)):
            yield Fault(
                hop,
                f"Training ended turns with token {never[0]}, which does not stop generation at {hop} "
                f"(stops: {sorted(stop_ids(folder))}).",
                "eos_token in tokenizer_config.json or generation_config.json was swapped.",
                f"restore the tokenizer files of hop {hop} from data/models/adapter, then tunegate run",
            )


def canary(evidence: Evidence) -> Iterator[Fault]:
    """Find hops whose server returned log-probabilities that mean nothing."""
    for hop, report in evidence.reports.items():
        if not report.results["canary"]["passed"] or not report.results["canary"]["items"]:
            yield Fault(
                hop,
                f"The canary items were not scored right: {'; '.join(report.results['canary']['failures'][:2])}.",
                "The server returned no prompt log-probabilities, or the model is damaged.",
                f"read the server log of hop {hop} under .tunegate, then tunegate stage evaluate@{hop}",
            )


def same_server(evidence: Evidence) -> Iterator[Fault]:
    """Find hops that another engine or version served, or that computed in another type."""
    servers = {
        hop: [server["engine"], server["version"], *([f"in {kind}"] if (kind := server.get("computed_in")) else [])]
        for hop, server in ((hop, report.results["server"]) for hop, report in evidence.reports.items())
    }
    for hop in HOPS[1:]:
        if servers[hop] != servers["base"]:
            yield Fault(
                hop,
                f"Served by {' '.join(servers[hop])}, the base by {' '.join(servers['base'])}.",
                "The serving environment, or the machine, changed between the evaluations.",
                "tunegate stage evaluate",
            )


def template_sha256(folder: Path) -> str:
    """Return the digest of a model folder's chat template, as results.json carries it."""
    return hashlib.sha256(chat_template_text(folder).encode()).hexdigest()
