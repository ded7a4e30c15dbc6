"""Which bytes begin a header's time: those of a request that has not begun, never those of a body or of a neighbour.

The bytes are given to the connection by hand, between two turns of the loop: over a socket it is chance which turn they
come in.
"""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from tasks.core.settings import load_settings
from tasks.serving.door.connections import GuardedRunner

PARAMS = load_settings(Path(__file__).parents[3] / "params.yaml").serve.gateway.door
HEADER_S = 0.1
BODY = b'{"question": "\xe6\xa0\xb8\xe5\xba\x94\xe6\x80\xa5"}'
HEADER = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)


async def answer(request: web.Request) -> web.Response:
    """Answer after the time a header has, with what was asked."""
    body = await request.read()
    await asyncio.sleep(4 * HEADER_S)
    return web.Response(body=body)


def talk(pieces):
    """Give one connection the pieces, a turn of the loop apart (or the seconds named), and read it to its end."""

    async def run():
        app = web.Application()
        app.router.add_post("/", answer)
        params = PARAMS.model_copy(update={"header_timeout_s": HEADER_S})
        runner = GuardedRunner(app, params, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        while not runner.server.connections:
            await asyncio.sleep(0)
        connection = runner.server.connections[0]
        for piece in pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                connection.data_received(piece)
                await asyncio.sleep(0)
        try:
            return (await asyncio.wait_for(reader.read(), 20 * HEADER_S)).decode()
        except ConnectionResetError:
            return "let go"
        except TimeoutError:
            return "held"
        finally:
            writer.close()
            await runner.cleanup()

    return asyncio.run(run())


WHOLE = HEADER.replace(b"Host: x", b"Host: x\r\nConnection: close") + BODY


@pytest.mark.parametrize("cut", [20, len(WHOLE) - len(BODY), len(WHOLE) - 5])
def test_a_request_in_two_pieces_is_answered(cut):
    assert talk([WHOLE[:cut], WHOLE[cut:]]).endswith(BODY.decode())


def test_a_body_in_pieces_with_pauses_is_answered():
    cut = len(WHOLE) - len(BODY)
    assert talk([WHOLE[:cut], WHOLE[cut : cut + 2], 2 * HEADER_S, WHOLE[cut + 2 :]]).endswith(BODY.decode())


def test_half_a_header_behind_a_request_does_not_end_its_answer_and_is_let_go_after_it():
    assert talk([HEADER + BODY, b"POST /v1", 5 * HEADER_S]).endswith(BODY.decode())


@pytest.mark.parametrize("sent", [[], [b"POST / HTT"], [HEADER + BODY, 6 * HEADER_S, b"POST / HTT"]])
def test_half_a_header_is_let_go(sent):
    assert "held" not in talk(sent)
