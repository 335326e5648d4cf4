"""The servers that the HTTP rows ask; run in a process of their own, which prints its port.

python -m bench.scrape_server exposition|labelled|labelled-in-loop SERIES
"""

import asyncio
import gc
import sys
import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import generate_latest, start_http_server

from bench.fleet import Labelled, fleet, own_instruments, polls, source_of
from exporter.instruments import Instruments
from exporter.model import Snapshot
from exporter.web import Sources, Web

_TICK_SECONDS = 0.001


def serve(source: Callable[[], Snapshot], instruments: Instruments) -> web.Application:
    """The exporter's own application over snapshots that did not come from a poller."""
    sources = Sources(
        snapshot=source,
        scraped=lambda _source, _sites: None,
        data_age=instruments.scraped,
        own_metrics=instruments.exposition,
        not_ready_because=list,
        unhealthy_because=list,
        version="0",
    )
    return _watched(Web(sources, "/metrics").application())


def serve_labelled(labelled: Labelled) -> web.Application:
    """An application that calls `generate_latest` in the loop."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(labelled.registry))

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    return _watched(app)


def _watched(app: web.Application) -> web.Application:
    app.router.add_get("/lag", Lag().answer)
    return app


class Lag:
    """How late the loop was at most since it was last asked; it is watched from the first question on."""

    def __init__(self) -> None:
        self._worst_seconds = 0.0
        self._watch: asyncio.Task[None] | None = None

    async def _measure(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_TICK_SECONDS)
            self._worst_seconds = max(self._worst_seconds, time.perf_counter() - before - _TICK_SECONDS)

    async def answer(self, _: web.Request) -> web.Response:
        self._watch = self._watch or asyncio.create_task(self._measure())
        worst_seconds, self._worst_seconds = self._worst_seconds, 0.0
        return web.Response(text=str(worst_seconds))


def _labelled(snapshot: Snapshot) -> Labelled:
    labelled = Labelled().with_own_instruments()
    labelled.show(snapshot)
    return labelled


def _run(app: web.Application) -> None:
    # glibc maps and unmaps each of asyncio's 256 KiB receive buffers, three calls a read, until the process
    # has once freed a larger block.
    bytes(1 << 20)
    gc.collect()
    gc.freeze()

    async def run() -> None:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


def main(kind: str, series: int) -> None:
    first = fleet(series, 0)
    if kind == "exposition":
        _run(serve(source_of(polls(first)), own_instruments()))
    elif kind == "labelled-in-loop":
        _run(serve_labelled(_labelled(first)))
    else:
        server, thread = start_http_server(0, "127.0.0.1", registry=_labelled(first).registry)
        print(server.server_port, flush=True)
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
