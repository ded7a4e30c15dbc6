"""The judge over a real HTTP endpoint that agrees, disagrees, answers nonsense, or refuses the key."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.core.errors import ConfigError
from tasks.core.settings import JudgeParams
from tasks.engine.client import AnswerCache
from tasks.evaluation.pack.judge import (
    Judged,
    agreement,
    judge_answers,
    judge_client,
    kappa,
    read_verdict,
    second_opinion,
)
from tasks.exams.pack.reading import load_pack


class Endpoint:
    """An OpenAI-compatible endpoint whose verdict is a function of what it is asked."""

    def __init__(self, verdict, key=None):
        self.asked = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.asked.append(body)
                status = 401 if key and self.headers.get("Authorization") != f"Bearer {key}" else 200
                said = verdict(json.loads(body["messages"][1]["content"]))
                answer = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/v1"


PARAMS = JudgeParams(model="judge", rows=10)


@pytest.fixture
def pack(write_pack, make_item):
    return load_pack(write_pack(only={"short": [make_item("short", number) for number in range(1, 5)]}))


def samples():
    points = ([True, True], [True, False], [False, False], [True, True])
    return [
        {"suite": "domain_keypoints", "item_id": f"short-zh-{n:03d}", "detail": {"text": f"答案{n}", "points": found}}
        for n, found in enumerate(points, start=1)
    ] + [{"suite": "domain_numeric", "item_id": "numeric-zh-001", "detail": {"text": "10"}}]


def judged(pack, endpoint, monkeypatch, key="k", cache=None):
    monkeypatch.setenv("TUNEGATE_JUDGE_URL", endpoint.url)
    monkeypatch.setenv("TUNEGATE_JUDGE_API_KEY", key)
    return judge_answers(pack, samples(), PARAMS, judge_client(PARAMS, cache or AnswerCache(None)))


def test_agreement_is_counted_by_key_point(pack, monkeypatch):
    # The judge finds both points in every answer: it differs on answers 2 (one point) and 3 (two).
    with Endpoint(lambda asked: '{"points": [true, true]}', key="k") as endpoint:
        found = judged(pack, endpoint, monkeypatch)
    assert found["answers"] == found["judged"] == 4
    assert (found["points"], found["agreement"], found["kappa"]) == (8, 0.625, 0.0)
    assert (found["keypoint_share"], found["judge_share"]) == (0.625, 1.0)
    assert sorted(found["differ"]) == ["short-zh-002", "short-zh-003"]
    sent = json.loads(endpoint.asked[0]["messages"][1]["content"])
    assert sent["key_points"] == ["进入室内", "关闭门窗 / 关好门窗"]
    assert endpoint.asked[0]["model"] == "judge"


def test_nonsense_is_counted_and_is_no_zero(pack, monkeypatch):
    def verdict(asked):
        return "很好，给满分！" if asked["answer"] == "答案1" else '{"points": [true, false]}'

    with Endpoint(verdict) as endpoint:
        found = judged(pack, endpoint, monkeypatch)
    assert (found["nonsense"], found["nonsense_items"], found["judged"]) == (1, ["short-zh-001"], 3)
    assert found["judge_share"] == 0.5


def test_a_judge_of_nothing_but_nonsense_gives_no_numbers(pack, monkeypatch):
    with Endpoint(lambda asked: None) as endpoint:
        found = judged(pack, endpoint, monkeypatch)
    assert found["nonsense"] == 4
    assert found["agreement"] is found["kappa"] is found["judge_share"] is None


def test_verdicts_are_kept(pack, monkeypatch, tmp_path):
    with Endpoint(lambda asked: '{"points": [true, true]}') as endpoint:
        for _ in range(2):
            with AnswerCache(tmp_path / "verdicts.jsonl") as cache:
                found = judged(pack, endpoint, monkeypatch, cache=cache)
    assert found["judged"] == 4
    assert len(endpoint.asked) == 4


def test_a_refused_key_is_told(pack, monkeypatch):
    with Endpoint(lambda asked: "", key="right") as endpoint, pytest.raises(ConfigError, match="refuses the API key"):
        judged(pack, endpoint, monkeypatch, key="wrong")


def test_no_judge_is_asked_unless_one_is_set(pack, tmp_path, monkeypatch):
    monkeypatch.delenv("TUNEGATE_JUDGE_URL", raising=False)
    assert second_opinion(None, pack, samples(), tmp_path) is None
    with Endpoint(lambda asked: '{"points": [true, true]}') as endpoint:
        monkeypatch.setenv("TUNEGATE_JUDGE_URL", endpoint.url)
        assert second_opinion(PARAMS, pack, samples(), tmp_path)["judged"] == 4


def test_no_address_is_a_wrong_setting(monkeypatch):
    monkeypatch.delenv("TUNEGATE_JUDGE_URL", raising=False)
    with pytest.raises(ConfigError, match="TUNEGATE_JUDGE_URL"):
        judge_client(PARAMS, AnswerCache(None))


@pytest.mark.parametrize(
    "text",
    ['{"points": [true, false]}', '```json\n{"points": [true, false]}\n```', '<think>1</think>{"points":[true,false]}'],
)
def test_a_verdict_is_one_json_object(text):
    assert read_verdict(text, 2) == [True, False]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[true, false]",
        '{"points": [true]}',
        '{"points": [1, 0]}',
        '{"points": ["true", "false"]}',
        '{"points": [true, false], "score": 10}',
        'Sure! {"points": [true, false]}',
        '{"points": [true, false]} {"points": [true, false]}',
        "<think>hmm",
        '{"points": [NaN, true]}',
    ],
)
def test_anything_else_is_nonsense(text):
    assert read_verdict(text, 2) is None


def test_kappa_is_cohens():
    # 20 both yes, 5 and 10 apart, 15 both no: observed 0.70, by chance 0.50 (the textbook example).
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa([(True, True)] * 5) is None
    assert kappa([]) is None
    assert agreement([Judged("a", [True, False], [False, True])])["kappa"] == -1
