"""Commands of the command line, beside a cloud and an exporter that run in the test's own loop."""

import asyncio
import contextlib
import io
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from exporter.__main__ import run
from exporter.app import App
from exporter.config import Config, load
from exporter.simulator.cloud import Cloud, RunningCloud, start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World, WorldConfig

EMAIL, PASSWORD, CODE = CloudConfig.email, CloudConfig.password, CloudConfig.mfa_code


def environment_for(url: str, state: Path, **more: str) -> dict[str, str]:
    """Settings as variables: the owner's credentials, a fast poll, a free port; an empty one is left out."""
    settings = {
        "ENPHASE_EV_STATE_PATH": str(state),
        "ENPHASE_EV_EMAIL": EMAIL,
        "ENPHASE_EV_PASSWORD": PASSWORD,
        "ENPHASE_EV_CLOUD_BASE_URL": url,
        "ENPHASE_EV_CLOUD_ENTREZ_URL": url,
        "ENPHASE_EV_WEB_LISTEN_ADDRESS": "127.0.0.1:0",
        "ENPHASE_EV_POLL_INTERVAL": "100ms",
        "ENPHASE_EV_POLL_IDLE_INTERVAL": "100ms",
        "ENPHASE_EV_POLL_ALIGN": "none",
        "ENPHASE_EV_POLL_MAX_REQUESTS_PER_HOUR": "100000",
    }
    return {name: value for name, value in (settings | more).items() if value}


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


@contextmanager
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def command(settings: Mapping[str, str], *arguments: str, typed: str = "") -> Said:
    """Run one command line, with `typed` on its standard input, on a thread of its own."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    stdin = sys.stdin
    with _logging_as_it_was(), _environment(settings):
        sys.stdin = io.StringIO(typed)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = await asyncio.to_thread(run, arguments)
        finally:
            sys.stdin = stdin
    return Said(code, *(_text(stream) for stream in (out, err)))


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


@asynccontextmanager
async def cloud_with(**settings: Any) -> AsyncIterator[RunningCloud]:
    """A cloud of one site and one charger."""
    cloud = await start_cloud(World(WorldConfig(sites=1, chargers=1)), CloudConfig(**settings))
    try:
        yield cloud
    finally:
        await cloud.close()


def config_from(settings: Mapping[str, str]) -> Config:
    return load(None, settings, {}, accounts_needed=False)[0]


@dataclass
class Exporter:
    """A running exporter and how it is asked."""

    app: App
    http: aiohttp.ClientSession

    async def page(self, path: str = "/metrics") -> str:
        async with self.http.get(self.app.urls[0] + path) as response:
            return await response.text()

    async def shows(self, *lines: str) -> str:
        """Scrape until all lines are there; the page that has them."""
        async with asyncio.timeout(10):
            while True:
                page = await self.page()
                if all(line in page for line in lines):
                    return page
                await asyncio.sleep(0.02)


@asynccontextmanager
async def exporting(settings: Mapping[str, str]) -> AsyncIterator[Exporter]:
    """A running exporter with these settings."""
    app = App(config_from(settings), load_config=lambda: config_from(settings))
    running = asyncio.create_task(app.run())
    await asyncio.wait_for(app.listening.wait(), 10)
    async with aiohttp.ClientSession() as http:
        try:
            yield Exporter(app, http)
        finally:
            app.stop()
            await asyncio.wait_for(running, 10)


def logins(cloud: RunningCloud | Cloud) -> int:
    """How many logins the cloud has seen."""
    journal = cloud.cloud.journal if isinstance(cloud, RunningCloud) else cloud.journal
    return journal.count(endpoint="login")
