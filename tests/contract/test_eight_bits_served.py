"""What is written as W8A8 is what vLLM's CPU build answers with, by its own INT8 kernel.

By hand (`pytest -m net`), as it starts an engine that CI's minutes have no room for: 35 s on 2 cores.
"""

import socket
from statistics import median

import pytest

from tasks.core.files import write_jsonl
from tasks.core.project import Project
from tasks.core.settings import QuantizeCandidate, load_settings
from tasks.engine.client import AnswerCache, ServedClient
from tasks.engine.queries import continuation_query
from tasks.engine.server import VllmServer
from tasks.models.base import materialize
from tasks.quantization.quantize import quantize
from tests.contract.test_families import ROOT, _logprobs, rows
from tests.small_models import write_small_llama

pytestmark = [
    pytest.mark.net,
    pytest.mark.filterwarnings("ignore:Attempting to save a model with offloaded modules"),
]


def test_vllm_answers_as_the_files_read_back(tmp_path):
    settings = load_settings(ROOT / "params.yaml")
    write_small_llama(tmp_path / "merged", materialize(settings.base_model, Project(ROOT)).path)
    write_jsonl(tmp_path / "prepared" / "calibration.jsonl", rows(8))
    write_jsonl(tmp_path / "prepared" / "validation.jsonl", rows(12)[8:])
    params = settings.quantize.model_copy(update={"candidates": [QuantizeCandidate(scheme="W8A8")]})
    output = tmp_path / "awq"
    output.mkdir()
    quantize(params, output=output, merged=tmp_path / "merged", prepared=tmp_path / "prepared")
    ids = list(range(40, 90))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with VllmServer(Project(ROOT).serve_python) as server:
        server.start(output, port, settings.serve.vllm, "m", tmp_path / "vllm.log", spare_cores=0)
        server.wait_ready()
        client = ServedClient(server.url, "m", model_digest="w8a8", concurrency=4, cache=AnswerCache(None))
        (scored,) = client.ask([continuation_query(ids[:4], ids[4:], "text")], "text")[0]
    ours = _logprobs(output, None, ids)
    apart = [abs(one - other) for one, other in zip(ours, scored["logprobs"], strict=True)]
    # As in test_families, whose bar it is: a wrong scale sets them apart by more than 1.
    assert median(apart) < 0.15
