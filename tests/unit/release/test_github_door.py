"""A GitHub job's token as an approval: an issuer of our own on a real server, and each forgery planted."""

import base64
import hmac
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tasks.core.errors import ConfigError, TransientError
from tasks.proof.approval import approval_document, approval_id, read_approval
from tasks.proof.chain import counted_approvals
from tasks.proof.github import audience, envelope_of
from tasks.proof.issuers import kept_keys_path
from tasks.proof.trust import APPROVERS, project_trust, read_trust
from tasks.release.approvals import approve, count_approvals, refusal, take, withdraw
from tasks.release.issuer_keys import WELL_KNOWN
from tasks.release.proofs import read_proof, record_sha256
from tests.unit.proof.conftest import person
from tests.unit.release.conftest import PEOPLE

pytestmark = pytest.mark.slow

JOB = {
    "repository": "example/models",
    "environment": "production",
    "workflow": "example/models/.github/workflows/promote.yml@refs/heads/main",
    "role": "safety",
}


def b64(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


class Issuer:
    """Signs tokens as GitHub does and publishes its keys over HTTP."""

    def __init__(self):
        self.keys = {"k1": rsa.generate_private_key(65537, 2048)}
        self.asked: list[str] = []
        self.answers: dict[str, object] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                if issuer.answers.get(self.path) == "elsewhere":
                    self.send_response(302)
                    self.send_header("Location", "/another")
                    self.end_headers()
                    return
                body = json.dumps(issuer.answers.get(self.path) or issuer.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *given):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def answer(self, path):
        if path == WELL_KNOWN:
            return {"issuer": self.url, "jwks_uri": f"{self.url}/.well-known/jwks"}
        return self.jwks()

    def jwks(self):
        found = {name: key.public_key().public_numbers() for name, key in self.keys.items()}
        return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": name, "n": number(one.n),
                          "e": number(one.e)} for name, one in found.items()]}  # fmt: skip

    def claims(self, digest, **changes):
        now = int(time.time())
        return {
            "iss": self.url, "aud": audience("demo", digest), "iat": now, "nbf": now, "exp": now + 300,
            "sub": "repo:example/models:environment:production", "repository": "example/models",
            "repository_id": "77", "environment": "production", "job_workflow_ref": JOB["workflow"],
            "actor": "li-shen", "event_name": "workflow_dispatch", "run_id": "123", "jti": "abc",
        } | changes  # fmt: skip

    def token(self, claims, *, key="k1", kid=None, alg="RS256", signature=None):
        header = {"typ": "JWT", "alg": alg, "kid": kid or key}
        text = f"{b64(header)}.{b64(claims)}"
        if signature is None:
            signature = self.keys[key].sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        elif callable(signature):
            signature = signature(text.encode())
        return f"{text}.{b64(signature)}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def issuer():
    found = Issuer()
    yield found
    found.close()


def listed(project, issuer, **changes):
    people = [person("李审", PEOPLE["李审"], logins=["github:li-shen"]), person("赵主任", PEOPLE["赵主任"]),
              person("王工", PEOPLE["王工"], logins=["github:wang"]),
              person("孙工", logins=["github:sun"], roles=("owner",))]  # fmt: skip
    value = {"people": people, "machines": [], "github": [JOB | {"issuer": issuer.url} | changes]}
    (project.root / "infra").mkdir(exist_ok=True)
    (project.root / APPROVERS).write_text(yaml.safe_dump(value, allow_unicode=True), "utf-8")


@pytest.fixture
def door(project, registry, issuer, settings, with_promote):
    """(registry, what is asked of a version, digest of version 1's record)."""
    listed(project, issuer)
    return registry, with_promote(settings, approvals_required=2).promote, digest_of(registry, "1")


def digest_of(registry, version):
    return record_sha256(read_proof(registry, registry.version(version)))


def test_a_jobs_token_counts_as_one_approval_of_who_started_it(door, issuer):
    registry, two, digest = door
    version = take(registry, "1", two, read_approval(issuer.token(issuer.claims(digest)) + "\n"))
    (one,) = count_approvals(registry, version, two)
    assert (one.by, one.why_not, one.document["role"]) == ("李审", None, "safety")
    assert "example/models, environment production, run 123" in one.document["reason"]
    # The same person's key does not count beside it; another's does.
    with pytest.raises(ConfigError, match="李审 approved version 1 already"):
        approve(registry, "1", two, PEOPLE["李审"], "读过报告")
    with pytest.raises(ConfigError, match="already"):
        take(registry, "1", two, envelope_of(issuer.token(issuer.claims(digest))))
    assert "1 of 2 approvals" in refusal(registry, registry.version("1"), two)
    assert refusal(registry, approve(registry, "1", two, PEOPLE["赵主任"], "读过报告"), two) is None


def test_it_is_checked_again_without_the_network_after_it_expired_and_can_be_withdrawn(door, issuer):
    registry, two, digest = door
    version = take(registry, "1", two, envelope_of(issuer.token(issuer.claims(digest))))
    issuer.keys = {"k2": rsa.generate_private_key(65537, 2048)}
    issuer.asked.clear()
    trust, proof = project_trust(registry.project), read_proof(registry, version)
    for later, why in ((timedelta(hours=1), None), (timedelta(days=31), "it expired at")):
        (one,) = counted_approvals(proof, trust, "demo", now=datetime.now(UTC) + later)
        assert (one.why_not or "").startswith(why or "") is True
        assert (one.why_not is None) is (why is None)
    assert issuer.asked == []
    (envelope,) = version.envelopes("tunegate.approval.")
    withdraw(registry, approval_id(approval_document(envelope)), PEOPLE["赵主任"], "停")
    (one,) = count_approvals(registry, registry.version("1"), two)
    assert "it was withdrawn by 赵主任" in one.why_not
    # The issuer's next key is fetched when it is met, the one before stays.
    path = kept_keys_path(registry.project, issuer.url)
    assert [key["kid"] for key in json.loads(path.read_text())["keys"]] == ["k1"]


def with_public_key_as_secret(issuer):
    pem = (
        issuer.keys["k1"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return lambda text: hmac.digest(pem, text, "sha256")


NOW = int(time.time())
FORGERIES = {
    "another audience": (lambda i, d, r: i.token(i.claims(d, aud="https://github.com/example")), "audience"),
    "a list of audiences": (lambda i, d, r: i.token(i.claims(d, aud=[audience("demo", d)])), "audience"),
    "replayed for another version": (lambda i, d, r: i.token(i.claims(digest_of(r, "2"))), "approves another record"),
    "for production": (
        lambda i, d, r: i.token(i.claims(d, aud=audience("production", d))), "it is for environment production"),
    "expired": (lambda i, d, r: i.token(i.claims(d, iat=NOW - 900, exp=NOW - 600)), "the token expired at"),
    "of the future": (lambda i, d, r: i.token(i.claims(d, iat=NOW + 9000, exp=NOW + 9300)), "it is of the future"),
    "without a time": (lambda i, d, r: i.token(i.claims(d, iat=None)), "no time or no actor"),
    "a time that is no number": (lambda i, d, r: i.token(i.claims(d, exp="9")), "no time or no actor"),
    "without an algorithm": (lambda i, d, r: i.token(i.claims(d), alg="none", signature=b""), "signed with none, not"),
    "signed with the public key as a secret": (
        lambda i, d, r: i.token(i.claims(d), alg="HS256", signature=with_public_key_as_secret(i)), "with HS256, not"),
    "the same, called RS256": (
        lambda i, d, r: i.token(i.claims(d), signature=with_public_key_as_secret(i)), "the signature of key k1 does"),
    "another algorithm": (lambda i, d, r: i.token(i.claims(d), alg="ES256"), "signed with ES256"),
    "an unknown key": (lambda i, d, r: i.token(i.claims(d), kid="k9"), "key k9 of http://127.0.0.1"),
    "no signature": (lambda i, d, r: i.token(i.claims(d), signature=b""), "the signature of key k1 does not hold"),
    "claims swapped": (
        lambda i, d, r: ".".join(a if n != 1 else b64(i.claims(d, actor="x"))
                                 for n, a in enumerate(i.token(i.claims(d)).split("."))), "does not hold"),
    "another repository": (
        lambda i, d, r: i.token(i.claims(d, repository="evil/models")), "repository is evil/models, not example"),
    "another environment": (lambda i, d, r: i.token(i.claims(d, environment="test")), "environment is test, not prod"),
    "another subject": (
        lambda i, d, r: i.token(i.claims(d, sub="repo:example/models:ref:refs/heads/main")), "sub is repo:example"),
    "another workflow": (
        lambda i, d, r: i.token(i.claims(d, job_workflow_ref=JOB["workflow"].replace("main", "x"))), "job_workflow"),
    "another issuer": (lambda i, d, r: i.token(i.claims(d, iss="http://127.0.0.1:1")), "issuer http://127.0.0.1:1"),
    "the requester": (lambda i, d, r: i.token(i.claims(d, actor="wang")), "the requester cannot approve"),
    "nobody listed": (lambda i, d, r: i.token(i.claims(d, actor="mallory")), "github:mallory is no login of anybody"),
    "a name that is no login": (lambda i, d, r: i.token(i.claims(d, actor="李审")), "is no login of anybody"),
    "a role the person has not": (lambda i, d, r: i.token(i.claims(d, actor="sun")), "孙工 has no role safety"),
}  # fmt: skip


@pytest.mark.parametrize(("forge", "why"), FORGERIES.values(), ids=FORGERIES)
def test_a_forged_token_is_refused_in_words_and_kept_nowhere(door, issuer, forge, why):
    registry, two, digest = door
    with pytest.raises(ConfigError) as caught:
        take(registry, "1", two, read_approval(forge(issuer, digest, registry)))
    assert why in caught.value.message
    assert registry.version("1").approvals == []


def test_a_forged_token_put_into_the_tags_counts_nothing(door, issuer):
    registry, two, digest = door
    take(registry, "1", two, envelope_of(issuer.token(issuer.claims(digest))))
    bad = envelope_of(issuer.token(issuer.claims(digest, actor="sun", jti="2"), signature=b"x" * 256))
    registry.tag("1", "approval.bad", json.dumps(bad))
    assert "1 of 2 approvals" in refusal(registry, registry.version("1"), two)


def test_who_asked_through_github_cannot_approve_through_github(door, issuer, monkeypatch, run_stages, settings):
    from tasks.release.register import register

    registry, two, _ = door
    monkeypatch.setenv("TUNEGATE_USER", "li-shen (GitHub Actions)")
    run_stages(registry.project, "tg-9")
    version = register(registry.project, settings)
    token = issuer.token(issuer.claims(digest_of(registry, version.number)))
    with pytest.raises(ConfigError, match="the requester cannot approve"):
        take(registry, version.number, two, envelope_of(token))


def test_unknown_keys_are_asked_for_once_and_only_of_a_listed_issuer(door, issuer):
    registry, two, digest = door
    for _ in range(3):
        with pytest.raises(ConfigError, match="is not known here"):
            take(registry, "1", two, envelope_of(issuer.token(issuer.claims(digest), kid="k9")))
    assert issuer.asked == [WELL_KNOWN, "/.well-known/jwks"]
    other = Issuer()
    with pytest.raises(ConfigError, match="is not listed under github"):
        take(registry, "1", two, envelope_of(other.token(other.claims(digest))))
    other.close()
    assert other.asked == []


ELSEWHERE = [{"issuer": "https://evil.example", "jwks_uri": "x"}, {"jwks_uri": 3}, [],
             {"issuer": "URL", "jwks_uri": "http://e.x/"}, "elsewhere"]  # fmt: skip


@pytest.mark.parametrize("answer", ELSEWHERE)
def test_an_issuer_that_sends_elsewhere_gives_no_keys(door, issuer, answer):
    from tasks.core.errors import DataContractError

    registry, two, digest = door
    if isinstance(answer, dict) and answer.get("issuer") == "URL":
        answer = answer | {"issuer": issuer.url}
    issuer.answers[WELL_KNOWN] = answer or {"x": 1}
    with pytest.raises((DataContractError, TransientError), match=issuer.url):
        take(registry, "1", two, envelope_of(issuer.token(issuer.claims(digest))))
    assert registry.version("1").approvals == []


def test_an_issuer_that_does_not_answer_is_tried_again_later(door, issuer):
    registry, two, digest = door
    token = issuer.token(issuer.claims(digest))
    issuer.answers["/.well-known/jwks"] = {"keys": 3}
    with pytest.raises(TransientError, match="cannot be fetched"):
        take(registry, "1", two, envelope_of(token))
    issuer.answers.clear()
    take(registry, "1", two, envelope_of(token))


def test_keys_from_a_file_need_no_network_and_the_repositorys_number_is_held(door, issuer):
    registry, two, digest = door
    listed(registry.project, issuer, jwks="github-jwks.json", repository_id="77")
    (registry.project.root / "infra" / "github-jwks.json").write_text(json.dumps(issuer.jwks()))
    with pytest.raises(ConfigError, match="repository_id is 78, not 77"):
        take(registry, "1", two, envelope_of(issuer.token(issuer.claims(digest, repository_id="78"))))
    take(registry, "1", two, envelope_of(issuer.token(issuer.claims(digest))))
    assert issuer.asked == []


def test_a_short_key_is_none(door, issuer):
    registry, two, digest = door
    issuer.keys = {"k1": rsa.generate_private_key(65537, 1024)}
    with pytest.raises(ConfigError, match="key k1 of"):
        take(registry, "1", two, envelope_of(issuer.token(issuer.claims(digest))))


@pytest.mark.parametrize(("job", "why"), [
    ({"repository": "a/b"}, "an entry needs repository, environment, workflow, role"),
    (JOB | {"audience": "x"}, "has no other fields"),
    (JOB | {"repository_id": 77}, "write text, in quotes"),
    (JOB | {"issuer": "http://token.example"}, "is no https address"),
    ("a", "an entry needs"),
    (JOB | {"jwks": "no such file.json"}, "cannot be read"),
])  # fmt: skip
def test_a_list_of_jobs_with_a_mistake_is_refused(tmp_path, job, why):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"github": [job]}))
    with pytest.raises(ConfigError, match=why):
        read_trust(tmp_path / "a.yaml")
