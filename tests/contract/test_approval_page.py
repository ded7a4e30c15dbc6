"""The page of `tunegate approve --serve`, over real HTTP: what it shows, takes, and refuses in words."""

import base64
import hashlib
import html
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tasks.cli.main import cli
from tasks.core.errors import ConfigError, MissingToolError
from tasks.core.guard import guarded
from tasks.proof.approval import read_approval
from tasks.proof.envelope import APPROVAL, content, sign
from tasks.proof.trust import APPROVERS
from tasks.release.approvals import take
from tasks.release.page.server import ApprovalPage, serve
from tests.contract.pages import serving
from tests.unit.proof.conftest import person, signer, write_approvers
from tests.unit.release.conftest import PEOPLE, ROOT, _with_promote

pytestmark = pytest.mark.slow
BOUNDARY = "----tunegate"


@dataclass
class Browser:
    """Asks as a browser does, or as one that was led astray."""

    port: int

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        connection.request(method, path, body, {"Host": self.host} | given)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8")
        connection.close()
        return answer.status, answer.headers, text

    def get(self, path="/", **headers):
        return self.ask("GET", path, **headers)

    def token(self) -> str:
        return re.search(r'name="token" value="([^"]+)"', self.get()[2])[1]

    def send(self, pasted="", file="", token=None, **headers):
        fields = {"token": self.token() if token is None else token, "pasted": pasted}
        parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                 for name, value in fields.items()]  # fmt: skip
        parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.json"\r\n'
                     f"Content-Type: application/json\r\n\r\n{file}\r\n--{BOUNDARY}--\r\n")  # fmt: skip
        usual = {"Origin": f"http://{self.host}", "Sec_Fetch_Site": "same-origin",
                 "Content_Type": f"multipart/form-data; boundary={BOUNDARY}"}  # fmt: skip
        return self.ask("POST", "/approvals", "".join(parts).encode(), **(usual | headers))

    def refused(self, **given) -> str:
        """What the page says of a form that it does not take."""
        status, _, text = self.send(**given)
        assert status == 422, text
        return html.unescape(re.search(r'role="alert"><strong>Refused.</strong> (.*?)</div>', text, re.DOTALL)[1])


@pytest.fixture
def two(world):
    """What a place asks that wants two approvals."""
    return _with_promote(world.settings, approvals_required=2).promote


@pytest.fixture
def page(world, two):
    """The page of version 2, which nobody has approved."""
    with serving(ApprovalPage(world.registry, "2", two).app()) as port:
        yield Browser(port)


def signed(world, name="李审", **changes) -> str:
    changes = {"by": name, "record_sha256": world.digest("2")} | changes
    document = content(world.approval(PEOPLE[name]), APPROVAL) | changes
    return json.dumps(sign(APPROVAL, document, PEOPLE[name]))


def key_file(tmp_path, name):
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = tmp_path / "key.pem"
    path.write_bytes(PEOPLE[name].private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


def test_a_reviewer_sees_the_record_the_verdict_who_approved_and_what_is_missing(world, page):
    status, headers, text = page.get()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    for said in (world.digest("2"), "王工", "PASS", "2 of 2 approvals missing", "李审 (safety)", 'href="/dossier"'):
        assert said in text
    assert "王工 (safety)" not in text, "the requester cannot sign"
    assert f'"record_sha256":"{world.digest("2")}"' in html.unescape(text)


def test_what_was_signed_on_a_machine_without_the_registry_is_taken_pasted_or_as_a_file(
    world, page, tmp_path, monkeypatch
):
    _, headers, record = page.get("/record")
    assert headers["Content-Disposition"] == 'attachment; filename="record-2.json"'
    (tmp_path / "record-2.json").write_text(record, encoding="utf-8")
    # A checkout alone: no MLflow store, no .tunegate.
    away = tmp_path / "away"
    (away / "infra").mkdir(parents=True)
    for name in ("params.yaml", APPROVERS):
        (away / name).write_bytes((world.project.root / name).read_bytes())
    monkeypatch.setenv("TUNEGATE_ROOT", str(away))
    for name, field in (("李审", "pasted"), ("赵主任", "file")):
        out = tmp_path / f"{name}.json"
        words = ["approve", "2", "--record", str(tmp_path / "record-2.json"), "--out", str(out),
                 "--reason", "读过报告，同意", "--key", str(key_file(tmp_path, name))]  # fmt: skip
        assert guarded(lambda words=words: cli(words, standalone_mode=False)) == 0
        assert not (away / ".tunegate").exists()
        status, headers, _ = page.send(**{field: out.read_text(encoding="utf-8")})
        assert (status, headers["Location"]) == (303, "/#approvals")
    text = page.get()[2]
    assert "读过报告，同意" in text
    assert "tunegate promote 2" in text
    assert sorted(one["by"] for one in world.version("2").approvals) == ["李审", "赵主任"]


def test_the_page_and_the_command_refuse_by_the_same_words(world, page, two, monkeypatch, tmp_path, capsys):
    wrong = signed(world, record_sha256=world.digest("1"))
    said = page.refused(pasted=wrong)
    with pytest.raises(ConfigError, match="it approves another record") as caught:
        take(world.registry, "2", two, json.loads(wrong))
    assert caught.value.message in said
    (tmp_path / "wrong.json").write_text(wrong)
    assert guarded(lambda: cli(["approve", "2", "--signed", str(tmp_path / "wrong.json")], standalone_mode=False)) == 2
    assert caught.value.message in capsys.readouterr().err


NOW = datetime.now(UTC)
LATER = (NOW + timedelta(1)).isoformat()
SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ"


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (lambda w: signed(w, record_sha256=w.digest("1")), "it approves another record"),
        (lambda w: signed(w, environment="production"), "it is for environment production, not demo"),
        (lambda w: signed(w, expires=(NOW - timedelta(1)).isoformat()), "it expired at"),
        (
            lambda w: signed(w, time=(NOW + timedelta(1)).isoformat(), expires=(NOW + timedelta(9)).isoformat()),
            "future",
        ),
        (lambda w: signed(w, "王工"), "the requester cannot approve"),
        (lambda w: signed(w, "李审", by="周工"), "it names 周工, and is signed by 李审"),
        (lambda w: signed(w, role="owner"), "李审 has no role owner"),
        (
            lambda w: json.dumps(w.approval(signer(98), record_sha256=w.digest("2"))),
            "signed by a key that is not listed",
        ),
        (lambda w: json.dumps(json.loads(signed(w)) | {"signatures": []}), "it is not signed"),
        (lambda w: signed(w).replace('"sig": "', '"sig": "AAAA'), "does not hold"),
        (lambda w: SECRET, "this is a private key, and was thrown away unread"),
        (lambda w: "同意", "it is not JSON"),
        (lambda w: "", "it is not JSON"),
        (lambda w: "[" * 60000, "it is not JSON"),
        (lambda w: "[]", "it is no signed envelope"),
        (lambda w: json.dumps(w.record("2")), "it is an envelope of application/vnd.in-toto+json"),
        (lambda w: signed(w)[:-1] + ', "payload": "e30="}', "it is not JSON"),
    ],
)
def test_what_does_not_count_is_refused_in_words_and_kept_nowhere(world, page, forge, why, caplog):
    text = forge(world)
    for field in ("pasted", "file"):
        said = page.refused(**{field: text})
        assert why in said
        assert "b3BlbnNzaC1rZXk" not in said
    assert world.version("2").approvals == []
    assert "b3BlbnNzaC1rZXk" not in caplog.text


def test_one_person_approves_once_and_again_after_the_first_has_expired(world, page):
    old = json.loads(signed(world, expires=(NOW - timedelta(1)).isoformat(), time=(NOW - timedelta(2)).isoformat()))
    world.tag("approval.old", json.dumps(old), "2")
    status, _, text = page.send(pasted=signed(world))
    assert status == 303, text
    assert "李审 approved version 2 already" in page.refused(pasted=signed(world, reason="再读一遍"))


def test_a_version_that_cannot_be_approved_says_why_and_takes_nothing(world, page):
    world.tag("verdict", "FAIL", "2")
    text = page.get()[2]
    assert "Nobody can approve this version." in text
    assert "tag verdict was edited" in text
    assert "cannot be approved: tag verdict was edited" in page.refused(pasted=signed(world))


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Host": "[::"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://evil.example", "Host": "evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
    ],
)
def test_another_site_gets_nothing_in(world, page, headers):
    status, answer, text = page.send(pasted=signed(world), **headers)
    assert (status, text.startswith("refused: ")) == (403, True)
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert world.version("2").approvals == []


def test_a_rebound_name_reads_nothing(page):
    for path in ("/", "/dossier", "/record"):
        status, _, text = page.get(path, Host="rebound.example")
        assert (status, "核" in text, "SHA-256" in text) == (403, False, False)
    assert page.get(Host=f"localhost:{page.port}")[0] == 200


def test_a_form_without_this_pages_token_is_refused(world, page):
    for token in ("", "x" * 43, "令牌"):
        assert "another start of the page" in page.refused(pasted=signed(world), token=token)
    assert world.version("2").approvals == []


def test_what_is_too_large_or_no_form_is_refused(world, page):
    assert page.send(pasted="x" * (1 << 20), token="")[0] == 413
    assert "more than 64 KiB" in page.refused(pasted="x" * 70000)
    assert page.send(pasted=signed(world), Content_Type="text/plain")[0] == 415
    assert page.send(pasted=signed(world), Content_Type="multipart/form-data")[0] == 422
    assert page.ask("PUT", "/approvals", b"", Origin=f"http://{page.host}")[0] == 405
    assert page.get("/../../params.yaml")[0] == 404


def test_nothing_but_its_own_style_and_form_is_allowed_on_the_page(page):
    _, headers, text = page.get()
    policy = headers["Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == ("default-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
                      f"style-src 'sha256-{digest}'; form-action 'self'")  # fmt: skip
    assert not re.search(r"<script|\sstyle=|\son\w+=|https?://|src=|@import|url\(", text)
    assert headers["Referrer-Policy"] == "same-origin", "with no-referrer a form's Origin is null"
    assert (headers["X-Frame-Options"], headers["Cache-Control"]) == ("DENY", "no-store")


def test_the_dossier_is_the_records_and_runs_nothing(world, page):
    status, headers, text = page.get("/dossier")
    assert (status, "发布档案 tg-2" in text) == (200, True)
    policy = headers["Content-Security-Policy"]
    assert policy.endswith("; style-src 'unsafe-inline'; sandbox")
    assert "default-src 'none'" in policy
    path = world.root("2") / "reports/dossier/index.html"
    path.write_text("<script>alert(1)</script>")
    status, _, text = page.get("/dossier")
    assert (status, "alert(1)" in text) == (422, False)
    assert "Not shown: the files are not those of the record." in text


def test_what_people_write_is_text(world, page):
    assert page.send(pasted=signed(world, reason="<script>alert('核')</script>"))[0] == 303
    assert "&lt;script&gt;alert(&#39;核&#39;)&lt;/script&gt;" in page.get()[2]


def test_an_approval_that_nobody_can_read_is_shown_as_such(world, page):
    world.tag("approval.junk", json.dumps({"payloadType": "x"}), "2")
    world.tag("approval.bare", json.dumps(world.approval(signer(98), record_sha256=world.digest("2"))), "2")
    status, _, text = page.get()
    assert (status, "2 of 2 approvals missing" in text) == (200, True)
    assert "signed by a key that is not listed" in text


def test_nobody_listed_is_said(world, page):
    write_approvers(world.project.root / APPROVERS, [person("王工", PEOPLE["王工"])])
    assert "Nobody who is listed in infra/approvers.yaml could sign." in page.get()[2]


def test_a_taken_port_and_a_version_that_is_not_there(world, two, page):
    with pytest.raises(MissingToolError, match=f"{page.port} is not free"):
        serve(world.registry, "2", two, page.port, told=print)
    with pytest.raises(ConfigError, match="no version 9"):
        serve(world.registry, "9", two, 0, told=print)


def test_the_command_serves_until_it_is_stopped(world):
    environment = os.environ | {"TUNEGATE_ROOT": str(world.project.root), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from tasks.cli.main import main; main()", "approve", "1", "--serve"]
    with subprocess.Popen(
        command, env=environment, cwd=world.project.root, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            url = process.stdout.readline().split()[0]
            assert url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(url, timeout=60) as answer:
                assert "Version 1" in answer.read().decode("utf-8")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--reason", "x"], "Missing option '--key'"),
        (["--key", "k"], "Missing option '--reason'"),
        (["--serve", "--signed", "f"], "different ways"),
        (["--serve", "--out", "f"], "where a new signature"),
        (["--environment", "demo", "--key", "k", "--reason", "x"], "goes with --record"),
        (["--signed", "no such file"], "no such file"),
    ],
)
def test_options_that_do_not_go_together(words, why, capsys, monkeypatch):
    monkeypatch.delenv("TUNEGATE_APPROVER_KEY", raising=False)
    monkeypatch.setenv("TUNEGATE_ROOT", str(ROOT))
    assert guarded(lambda: cli(["approve", "1", *words], standalone_mode=False)) == 2
    assert why in capsys.readouterr().err


def test_only_what_an_envelope_has_is_kept():
    envelope = {"payloadType": "application/vnd.tunegate.approval+json", "payload": "e30=", "signatures": []}
    assert read_approval(json.dumps(envelope | {"more": "x" * 100})) == envelope
