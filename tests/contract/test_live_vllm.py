"""The live endpoint held to what the same weights answered vLLM directly, with the real vLLM. One model start."""

from pathlib import Path

import pytest

from tasks.core.files import write_json, write_jsonl
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.deployment import Deployment
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, Fingerprint
from tasks.models.base import materialize
from tasks.serving import control
from tasks.serving.keys import KeyStore
from tasks.serving.paths import keys_path
from tests.contract.conftest import real_vllm
from tests.proofs import proven

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
LIMIT = 1
LINEAGE = "tg-live"


@pytest.fixture(scope="module")
def base():
    return materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path


@pytest.fixture(scope="module")
def project(tmp_path_factory, base):
    with real_vllm(tmp_path_factory.mktemp("live")) as found:
        control.ensure_host(found)
        control.deploy(found, proven(found, Deployment("1", LINEAGE, base)))
        yield found


@pytest.fixture(scope="module")
def asked(project, base, tmp_path_factory):
    """Return how to ask the endpoint, and the evidence: the same questions asked of the slot's vLLM directly."""
    from tasks.engine.client import AnswerCache, ServedClient
    from tasks.engine.fingerprint import fingerprint
    from tasks.evaluation.hops.asking import Respondent, ask_exam, ask_pack, fitted_exam
    from tasks.evaluation.hops.served_model import load_tokenizer
    from tasks.evaluation.live.live import read_live_questions

    settings = load_settings(project.root / "params.yaml")
    params = settings.evaluate
    questions = read_live_questions(params, Project(ROOT), LIMIT)
    tokenizer = load_tokenizer(base)
    url = f"http://127.0.0.1:{project.slot_ports['blue']}"
    client = ServedClient(url, LINEAGE, model_digest="d", concurrency=8, cache=AnswerCache(None))
    hop = Respondent("awq", client, tokenizer, tokenizer, base, base, settings.serve.vllm.max_model_length_tokens)
    samples = ask_pack(questions.pack, hop, params.max_generated_tokens)
    for exam in questions.exams:
        samples += ask_exam(fitted_exam(exam, params, hop), hop, params.max_generated_tokens)
    evidence = tmp_path_factory.mktemp("evidence")
    answers = fingerprint(client, tokenizer)
    write_json(evidence / "results.json", {"model": {"fingerprint": answers}})
    write_jsonl(evidence / "samples.jsonl", [sample.row() for sample in samples])
    return settings, questions, evidence, answers


def test_through_the_gateway_the_same_weights_give_the_same_answers(project, base, asked, tmp_path):
    from tasks.evaluation.live.live import Endpoint, LiveVersion, evaluate_live

    settings, questions, evidence, _ = asked
    caps = settings.serve.gateway
    with KeyStore(keys_path(project)).temporary("eval-live", "evaluator") as key:
        found = evaluate_live(
            settings.evaluate, questions, LiveVersion("1", LINEAGE, base, evidence),
            Endpoint(project.gateway_url, key, 8, settings.serve.vllm.max_model_length_tokens,
                     caps.max_completion_tokens),
            output=tmp_path / "out", scratch=tmp_path / "scratch",
        )  # fmt: skip
    agreement = found["agreement"]
    assert found["canary"]["passed"], found["canary"]["failures"]
    assert agreement["findings"] == []
    assert agreement["items_not_asked"] == agreement["items_without_evidence"] == 0
    for form in ("choices", "texts"):
        # Other batches round otherwise: a near tie may fall to the other side.
        assert agreement[form]["same"] >= 0.8 * agreement[form]["items"] > 0, agreement
    short = agreement["suites"]["domain_short"]
    assert short["value"] == pytest.approx(short["released_value"], rel=0.02)


def test_the_slot_passes_its_own_fingerprint_and_no_other(project, base, asked):
    import asyncio

    from tasks.core.errors import DataContractError
    from tasks.engine.smoke import smoke_test

    settings, _, _, answers = asked
    url = f"http://127.0.0.1:{project.slot_ports['blue']}"
    own = Fingerprint(FINGERPRINT_PROMPTS, {"awq": answers})
    asyncio.run(smoke_test(url, Deployment("1", LINEAGE, base, own), settings.promote))
    other = Fingerprint(FINGERPRINT_PROMPTS, {"awq": [[one + 1 for one in ids] for ids in answers], "base": answers})
    with pytest.raises(DataContractError, match="hop base answered so"):
        asyncio.run(smoke_test(url, Deployment("1", LINEAGE, base, other), settings.promote))
