"""Pages of fixed worlds on a real socket, without an exporter for each."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from aiohttp import web

from exporter.history import History
from exporter.page import View
from exporter.web import Sources, Web
from tests.page_worlds import AT


def application(view: View) -> web.Application:
    """The exporter's own web application with what a view shows as its source."""

    async def past() -> History:
        return view.history

    sources = Sources(
        snapshot=lambda: view.snapshot,
        scraped=lambda source, site_ids: None,
        data_age=lambda seconds: None,
        own_metrics=lambda openmetrics: b"",
        not_ready_because=list,
        unhealthy_because=list,
        version=view.version,
        known=view.known.get,
        history=past,
        clock=lambda: AT.monotonic,
        wall_clock=lambda: AT.wall,
    )
    return Web(sources, view.telemetry_path).application()


@contextmanager
def served_pages(views: Mapping[str, View]) -> Iterator[str]:
    """The address below which each view is at its name."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    root = web.Application()
    for name, view in views.items():
        root.add_subapp(f"/{name}/", application(view))
    runner = web.AppRunner(root, access_log=None)
    try:
        port = asyncio.run_coroutine_threadsafe(_listen(runner), loop).result(10)
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listen(runner: web.AppRunner) -> int:
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]
    return port
