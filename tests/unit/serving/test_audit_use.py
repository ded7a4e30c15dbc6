"""Using the audit log: finding records, giving a part away, keeping its head elsewhere, and the commands for it."""

import asyncio
import json
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tasks.core.errors import ConfigError, TransientError
from tasks.proof.signers import FileSigner
from tasks.serving.audit import AuditLog, verify
from tasks.serving.audit.anchor import check, send, statement
from tasks.serving.audit.find import PROOF, RECORDS, Wanted, export, find
from tasks.serving.audit.head import OLDER, _older_signature, genuine_statement, signed_statement
from tasks.serving.audit.log import Ways

KEY = b"k" * 32
SIGNER, ANOTHER = (FileSigner(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2))
HOSTS = {SIGNER.public.key_id: SIGNER.public}
TUNEGATE = Path(sys.executable).with_name("tunegate")


class Clock:
    def __init__(self):
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self):
        return self.now


def write(folder, clock, *records, days=30, key=KEY):
    async def run():
        log = AuditLog(folder, Ways(lambda text: (text.replace("秘", "*"), {}), days, digest_key=key), now=clock)
        await log.open()
        assert all(await asyncio.gather(*[log.submit(record) for record in records]))
        await log.close()

    asyncio.run(run())


@pytest.fixture
def log(tmp_path):
    folder, clock = tmp_path / ".tunegate" / "audit", Clock()
    write(folder, clock,
          {"kind": "request", "key": "甲", "request_id": "1", "prompt": "碘片？秘", "user": "a@b"},
          {"kind": "answer", "key": "甲", "request_id": "1", "answer": "饭前", "status": 200})  # fmt: skip
    clock.now += timedelta(days=1)
    write(folder, clock, {"kind": "refusal", "key": "乙", "request_id": "2", "status": 429, "code": "rate_limited"})
    return folder


class TestFind:
    @pytest.mark.parametrize(("wanted", "sequences"), [
        (Wanted({}), [1, 2, 3]), (Wanted({"key": "甲"}), [1, 2]), (Wanted({"key": "甲", "kind": "answer"}), [2]),
        (Wanted({"status": 429}), [3]), (Wanted({}, since=date(2026, 3, 2)), [3]),
        (Wanted({}, until=date(2026, 3, 1)), [1, 2]), (Wanted({}, text="碘片？秘"), [1]),
        (Wanted({}, text="饭前"), [2]),
        (Wanted({}, text="碘片？"), []), (Wanted({}, user="a@b"), [1]), (Wanted({}, user="a@c"), []),
        (Wanted({"key": "丙"}), []),
    ])  # fmt: skip
    def test_by_fields_days_and_the_digest_of_unmasked_text(self, log, wanted, sequences):
        assert [record["sequence"] for record in find(log, wanted, KEY)] == sequences

    def test_text_is_not_found_without_the_key(self, log):
        assert list(find(log, Wanted({}, text="碘片？秘"), b"another" * 8)) == []

    def test_the_record_of_a_search_does_not_hold_the_text(self):
        assert "秘" not in json.dumps(Wanted({}, text="秘", user="秘").facts(), ensure_ascii=False)


class TestExport:
    def test_lines_as_they_stand_and_a_proof_that_breaks_with_them(self, log, tmp_path):
        proof = export(log, tmp_path / "out", Wanted({"key": "甲"}), KEY, SIGNER)
        lines = (tmp_path / "out" / RECORDS).read_bytes()
        assert lines == (log / "2026-03-01.jsonl").read_bytes()
        assert (proof["records"], proof["head"]["sequence"], proof["problems"]) == (2, 3, [])
        kept = json.loads((tmp_path / "out" / PROOF).read_text())
        assert genuine_statement(kept, HOSTS)
        assert not genuine_statement(kept | {"records": 1}, HOSTS)
        assert not genuine_statement(kept, {ANOTHER.public.key_id: ANOTHER.public})

    def test_it_overwrites_nothing(self, log, tmp_path):
        with pytest.raises(ConfigError, match="is not empty"):
            export(log, tmp_path, Wanted({}), KEY, SIGNER)


class TestAnchor:
    def test_a_log_rewritten_from_its_beginning_is_seen_by_what_was_kept_elsewhere(self, log):
        anchored = statement(log, SIGNER)
        assert check(log, [anchored], HOSTS) == []
        shutil.rmtree(log)
        write(log, Clock(), {"kind": "request", "prompt": "another story"}, {"x": 2}, {"x": 3})
        assert verify(log)["problems"] == []
        assert "record 3 was in the log" in check(log, [anchored], HOSTS)[0]

    def test_a_log_that_went_on_and_lost_its_oldest_files_to_retention_agrees(self, log):
        clock = Clock()
        anchored = [statement(log, SIGNER)]
        for day in (5, 6):
            clock.now = Clock().now + timedelta(days=day)
            write(log, clock, {"x": day}, days=1)
            anchored.append(statement(log, SIGNER))
        assert len(list(log.glob("*.jsonl"))) == 2
        assert check(log, anchored, HOSTS) == []

    def test_a_statement_of_another_key_or_changed_is_named(self, log):
        good = statement(log, SIGNER)
        forged = [signed_statement({"sequence": 1, "hash": "x"}, ANOTHER), good | {"sequence": 1}]
        assert check(log, [*forged, good], HOSTS) == [
            f"statement {number} was not signed with a key that is known here, or was changed" for number in (1, 2)
        ]

    def test_a_statement_of_an_older_release_counts_with_the_secret_alone(self, log):
        plain = {name: value for name, value in statement(log, SIGNER).items() if name in ("sequence", "hash", "time")}
        old = plain | {"signature": f"{OLDER}{_older_signature(plain, KEY)}"}
        assert check(log, [old], HOSTS, KEY) == []
        assert check(log, [old], HOSTS)
        assert check(log, [old | {"sequence": 1}], HOSTS, KEY)

    def test_a_command_and_an_address_take_it(self, log, tmp_path):
        async def run():
            taken = []

            async def take(request):
                taken.append(await request.json())
                return web.Response(status=200 if len(taken) == 1 else 500)

            app = web.Application()
            app.router.add_post("/heads", take)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = site._server.sockets[0].getsockname()[1]
            value = statement(log, SIGNER)
            await send(f"sh -c 'cat >> {tmp_path}/heads.jsonl'", value)
            await send(f"http://user:word@127.0.0.1:{port}/heads", value)
            with pytest.raises(TransientError) as refused:
                await send(f"http://user:word@127.0.0.1:{port}/heads", value)
            assert "word" not in str(refused.value)
            with pytest.raises(TransientError, match="exit code 3"):
                await send("sh -c 'exit 3'", value)
            with pytest.raises(TransientError):
                await send("/no/such/command", value)
            await runner.cleanup()
            return value, taken

        value, taken = asyncio.run(run())
        assert taken[0] == value
        assert json.loads((tmp_path / "heads.jsonl").read_text()) == value


class TestCommands:
    @pytest.fixture
    def tunegate(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))
        monkeypatch.setenv("TUNEGATE_AUDIT_KEY", KEY.hex())
        monkeypatch.setenv("TUNEGATE_USER", "审查员")
        return lambda *words: subprocess.run([TUNEGATE, "audit", *words], capture_output=True, text=True, check=False)

    def left(self, tmp_path):
        return [json.loads(path.read_text()) for path in sorted((tmp_path / ".tunegate" / "audit_outbox").iterdir())]

    @pytest.mark.slow
    def test_find_export_and_hold_say_who_asked_in_the_log(self, tunegate, log, tmp_path):
        (found,) = json.loads(tunegate("find", "--text", "碘片？秘", "--json").stdout)
        assert found["prompt"] == "碘片？*"
        assert "rate_limited" in tunegate("find", "--status", "429").stdout
        assert tunegate("export", str(tmp_path / "out"), "--key", "甲").returncode == 0
        assert tunegate("hold", "add", "case-7", "--from", "2026-03-01", "--to", "2026-03-01",
                        "--reason", "调查").returncode == 0  # fmt: skip
        assert json.loads(tunegate("hold", "list", "--json").stdout)[0]["by"] == "审查员"
        assert tunegate("hold", "lift", "case-7", "--reason", "完").returncode == 0
        done = [(record["kind"], record["by"]) for record in self.left(tmp_path)]
        assert done == [(kind, "审查员") for kind in ("read", "read", "export", "hold", "hold_lifted")]

    def test_verify_holds_the_log_to_what_was_anchored(self, tunegate, log, tmp_path, monkeypatch):
        monkeypatch.setenv("TUNEGATE_AUDIT_ANCHOR", f"sh -c 'cat >> {tmp_path}/heads.jsonl'")
        assert tunegate("anchor").stdout == "record 3 is anchored\n"
        heads = str(tmp_path / "heads.jsonl")
        assert tunegate("verify", "--anchors", heads).returncode == 0
        shutil.rmtree(log)
        write(log, Clock(), {"x": 1}, {"x": 2}, {"x": 3})
        (log / "head.json").unlink()
        assert tunegate("verify").returncode == 0
        bad = tunegate("verify", "--anchors", heads)
        assert bad.returncode == 3
        assert "record 3 was in the log" in bad.stderr

    @pytest.mark.parametrize("words", [("hold", "lift", "nobody", "--reason", "x"), ("find", "--since", "yesterday"),
                                       ("find", "--since", "2026-03-02", "--until", "2026-03-01"),
                                       ("hold", "add", "a", "--from", "2026-03-02", "--to", "2026-03-01",
                                        "--reason", "x")])  # fmt: skip
    def test_mistakes_exit_2(self, tunegate, words):
        done = tunegate(*words)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
