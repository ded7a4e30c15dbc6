"""Model servers behind URLs: which address serves the version, and what is refused. The servers are real and small."""

import asyncio
import contextlib
import ssl
import subprocess
import sys
import threading

import aiohttp
import pytest
from aiohttp import web

from tasks.core.errors import ConfigError, DataContractError, TransientError
from tasks.engine.access import Access, RedirectRefusedError
from tasks.serving.upstream.addresses import access, upstreams
from tasks.serving.upstream.server import Upstreams
from tests.contract.upstreams import version

REMOTE = Access("secret", remote=True)


@contextlib.contextmanager
def small_server(answer, context: ssl.SSLContext | None = None):
    """Serve /v1/models by a function of the request; gives the base URL."""
    loop = asyncio.new_event_loop()
    app = web.Application()
    app.router.add_get("/v1/models", answer)
    runner = web.AppRunner(app)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        return site._server.sockets[0].getsockname()[1]

    port = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def serves(*names: str, context: int | None = None):
    async def answer(request):
        if request.headers.get("Authorization") != "Bearer secret":
            return web.json_response({}, status=401)
        return web.json_response({"data": [{"id": name, "max_model_len": context} for name in names]})

    return answer


def found(*addresses: str, access: Access = REMOTE) -> str:
    server = Upstreams(addresses, access, 0.0, 2048).start("blue", version("2"), lambda line: None)
    try:
        server.wait_ready()
        return server.url
    finally:
        server.stop()


class TestFinding:
    def test_the_address_that_serves_the_version(self):
        with small_server(serves("tg-1")) as one, small_server(serves("base", "tg-2", context=2048)) as other:
            assert found(one, other) == other

    def test_one_that_does_not_answer_is_passed_over(self):
        with small_server(serves("tg-2")) as one:
            assert found("http://127.0.0.1:1", one) == one

    @pytest.mark.parametrize(("answer", "error", "said"), [
        (serves("tg-1"), DataContractError, "no upstream serves tg-2; http://.* serves tg-1"),
        (serves(), DataContractError, "serves nothing"),
        (serves("tg-2", context=1024), DataContractError, "1024 tokens of context"),
        (serves("tg-22"), DataContractError, "serves tg-22"),
    ], ids=["another", "nothing", "short", "longer name"])  # fmt: skip
    def test_another_model_is_refused_by_name(self, answer, error, said):
        with small_server(answer) as one, pytest.raises(error, match=said):
            found(one)

    def test_what_does_not_answer_is_waited_for_and_then_said(self):
        async def no_list(request):
            return web.Response(text="<html>")

        with (
            small_server(no_list) as one,
            small_server(serves("tg-1")) as other,
            pytest.raises(TransientError) as caught,
        ):
            found(one, other, "http://127.0.0.1:1")
        for part in ("no list of models", "serves tg-1", "127.0.0.1:1: "):
            assert part in caught.value.message

    def test_without_its_token(self):
        with small_server(serves("tg-2")) as one, pytest.raises(TransientError, match="HTTP 401"):
            found(one, access=Access(remote=True))


class TestAccess:
    def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(self):
        seen = []

        async def elsewhere(request):
            seen.append(request.headers)
            return web.json_response({"data": [{"id": "tg-2"}]})

        with small_server(elsewhere) as other:

            async def moved(request):
                raise web.HTTPTemporaryRedirect(f"{other}/v1/models")

            with small_server(moved) as one, pytest.raises(TransientError, match="redirects are not followed"):
                found(one)
        assert seen == []

    def test_a_redirect_of_a_question_is_an_error_of_the_client(self):
        assert issubclass(RedirectRefusedError, aiohttp.ClientError)

    def test_the_token_is_not_in_what_is_printed(self):
        assert "secret" not in repr(REMOTE)

    @pytest.mark.slow
    def test_a_certificate_nobody_vouches_for_is_refused(self, tmp_path):
        key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
        words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=upstream",
                 "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]  # fmt: skip
        subprocess.run(words, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        with small_server(serves("tg-2"), context) as one:
            with pytest.raises(TransientError, match="certificate verify failed"):
                found(one)
            # The site's own authority is named as for every program that uses OpenSSL.
            code = f"from tests.unit.serving.test_upstream import found; print(found({one!r}))"
            done = subprocess.run([sys.executable, "-c", code], env={"SSL_CERT_FILE": str(cert), "PYTHONPATH": "."},
                                  capture_output=True, text=True, check=False)  # fmt: skip
        assert done.stdout.strip() == one, done.stderr


class TestAddresses:
    def test_none(self, monkeypatch):
        monkeypatch.delenv("TUNEGATE_UPSTREAMS", raising=False)
        assert upstreams() == ()
        assert not access().remote

    def test_two(self, monkeypatch):
        monkeypatch.setenv("TUNEGATE_UPSTREAMS", "https://a.example/ | http://b:8000/openai")
        monkeypatch.setenv("TUNEGATE_UPSTREAM_TOKEN", "t")
        assert upstreams() == ("https://a.example", "http://b:8000/openai")
        assert access() == Access("t", remote=True)

    def test_an_engine_before_a_plus_sign(self, monkeypatch):
        monkeypatch.setenv("TUNEGATE_UPSTREAMS", "https://a+b.example| llamacpp+http://b:8081/")
        assert upstreams() == ("https://a+b.example", "http://b:8081")
        assert [access().engine(url) for url in upstreams()] == ["vllm", "llamacpp"]
        monkeypatch.setenv("TUNEGATE_UPSTREAMS", "triton+http://b:8081")
        with pytest.raises(ConfigError, match="no engine is called 'triton'"):
            access()

    @pytest.mark.parametrize("given", [
        "llamacpp+blue.example", "https://a|llamacpp+https://a", "blue.example",
        "ftp://a", "https://", "https://a/v1", "https://a/v1/", "https://a?x=1", "https://a|", "http://a:x",
        "https://a|https://a/", "https://user:word@a",
    ])  # fmt: skip
    def test_what_is_no_address(self, given, monkeypatch):
        monkeypatch.setenv("TUNEGATE_UPSTREAMS", given)
        with pytest.raises(ConfigError) as caught:
            upstreams()
        assert "word" not in str(caught.value)

    @pytest.mark.parametrize("token", ["a b", "a\nX: y", "ключ"])
    def test_a_token_that_no_header_holds(self, token, monkeypatch):
        monkeypatch.setenv("TUNEGATE_UPSTREAMS", "https://a")
        monkeypatch.setenv("TUNEGATE_UPSTREAM_TOKEN", token)
        with pytest.raises(ConfigError) as caught:
            access()
        assert token not in str(caught.value)
