"""With and without documents: asked by two names, paired item by item, kept answers not asked again."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tasks.core.files import read_json, read_jsonl
from tasks.core.settings import load_settings
from tasks.exams.pack.reading import Pack, load_pack
from tasks.retrieval.comparison import Asked, compare_grounded
from tests.unit.retrieval.corpora import ROOT

PACK = load_pack(ROOT / "data/raw/eval/domain")
REFERENCES = {item["question"]: item["reference"] for item in PACK.items["short"]}


class _Gateway(BaseHTTPRequestHandler):
    """A real endpoint that knows the answers where `right` names the model it is asked by."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked["model"])
        text = REFERENCES.get(asked["messages"][0]["content"], "") if asked["model"].endswith(self.server.right) else ""
        about = {"answered": bool(text), "why": None if text else "not_supported", "quoted": False, "problems": []}
        answer = {"choices": [{"message": {"content": text}}]}
        body = json.dumps(answer | ({"grounded": about} if ":grounded" in asked["model"] else {})).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def gateway():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
    server.asked, server.right = [], ":grounded"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("right", "verdict"), [(":grounded", "better"), ("tg-1", "worse"), ("nobody", "undecided")])
def test_the_verdict_is_of_the_paired_items(gateway, tmp_path, right, verdict):
    gateway.right = right
    params = load_settings(ROOT / "params.yaml").gate.model_copy(update={"bootstrap_samples": 500})
    pack = Pack(PACK.name, PACK.version, {"short": PACK.items["short"], "unknown": []} | {
        kind: [] for kind in PACK.items if kind != "short"})  # fmt: skip
    url = f"http://127.0.0.1:{gateway.server_port}"
    asked = Asked(url, "tg_key", "tg-1", "ix-1", 4, tmp_path / "answers.jsonl", 20)
    results = compare_grounded(pack, params, asked, tmp_path / "report")
    suite = results["suites"]["domain_keypoints"]
    assert (suite["n"], suite["verdict"]) == (20, verdict)
    assert sorted(set(gateway.asked)) == ["tg-1", "tg-1:grounded"]
    assert suite["outcomes"] == ({"answered": 20} if verdict == "better" else {"not_supported": 20})
    assert read_json(tmp_path / "report/results.json")["suites"].keys() == {"domain_keypoints"}
    rows = list(read_jsonl(tmp_path / "report/samples.jsonl"))
    assert {row["values"]["grounded"] for row in rows} == ({1.0} if verdict == "better" else {0.0})
    before = len(gateway.asked)
    assert compare_grounded(pack, params, asked, tmp_path / "report") == results
    assert len(gateway.asked) == before
