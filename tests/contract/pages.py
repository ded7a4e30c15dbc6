"""Our own web applications over real HTTP, beside the test that asks them."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tasks.release.page.loopback import listener


@contextmanager
def serving(app: web.Application) -> Iterator[int]:
    """Serve an application on a free loopback port, which it gives, in a thread of its own."""
    loop, socket = asyncio.new_event_loop(), listener(0, "a test")

    async def start() -> web.AppRunner:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.SockSite(runner, socket).start()
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield socket.getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
