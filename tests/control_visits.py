"""The control API on a real socket, over a Control that only notes what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from exporter.command import Action, Command, Outcome, Result
from exporter.control_api import ControlApi
from exporter.errors import UnknownCharger
from exporter.lane import LastCommand
from exporter.model import Snapshot
from exporter.readers import Secret
from tests.worlds import GARAGE, HOME

TOKEN = "0123456789abcdef-owner"
EVCC_TOKEN = "fedcba9876543210-evcc"
UMLAUT_TOKEN = "schlüssel-zum-laden-für-evcc"
TOKENS = (("default", Secret(TOKEN)), ("evcc", Secret(EVCC_TOKEN)), ("umlaut", Secret(UMLAUT_TOKEN)))
SITE_ID, SERIAL = GARAGE.site_id, GARAGE.serial
CHARGER_PATH = f"/api/v1/chargers/{SERIAL}"
STREAM_PATH = f"/api/v1/sites/{SITE_ID}/live-stream"
START = f"{CHARGER_PATH}/start"
SNAPSHOT = Snapshot(sites=(replace(HOME, status_received_monotonic=970.0),))
DONE = Outcome(result=Result.ACCEPTED, detail="charging", confirmed=True)
LAST = LastCommand(
    action=Action.START, amps=16, mode=None, result=Result.ACCEPTED, confirmed=False, at_seconds=1760003000.5
)


@dataclass
class Asked:
    """What the application under test was asked, and what it is given to say."""

    snapshot: Snapshot = SNAPSHOT
    outcome: Outcome = DONE
    error: Exception | None = None
    commands: list[Command] = field(default_factory=list)
    now: float = 1000.0
    not_shown: set[tuple[str, str | None]] = field(default_factory=set)  # site id and serial
    refusals: list[tuple[Action, str, str, str | None, str]] = field(default_factory=list)
    held: asyncio.Event | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, command: Command) -> Outcome:
        if not self.knows(command):
            raise UnknownCharger("no such charger or site")
        self.commands.append(command)
        if self.held is not None:
            await self.held.wait()
        self.finished.set()
        if self.error is not None:
            raise self.error
        return self.outcome

    def knows(self, command: Command) -> bool:
        shown = {
            (site.site_id, serial)
            for site in self.snapshot.sites
            for serial in (None, *(charger.serial for charger in site.chargers))
        }
        return (command.site_id, command.serial) in shown | self.not_shown

    def refused(self, *told: Any) -> None:
        self.refusals.append(told)

    def last(self, site_id: str, serial: str) -> LastCommand | None:
        return LAST if (site_id, serial) == (SITE_ID, SERIAL) else None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "")

    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int) -> dict[str, Any]:
        """The problem that this answer has to be: of that status, and with all that RFC 9457 names."""
        assert self.status == status, self.body
        assert self.media_type == "application/problem+json"
        problem: dict[str, Any] = self.json()
        assert problem["status"] == status
        assert problem["type"] == "about:blank"
        assert problem["title"] == HTTPStatus(status).phrase
        assert problem["detail"]
        return problem


@dataclass
class Served:
    http: aiohttp.ClientSession
    url: URL
    asked: Asked
    api: ControlApi

    async def ask(
        self, method: str, path: str | URL, *, token: str | None = TOKEN, headers: Any = (), **more: Any
    ) -> Answer:
        own = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = path if isinstance(path, URL) else self.url.join(URL(path, encoded=True))
        async with self.http.request(method, url, headers=own | dict(headers), **more) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return await self.ask("POST", path, json=body, **more)

    async def raw(self, text: bytes, *, half_closed: bool = False) -> bytes:
        """Everything that is answered to these bytes until the server closes or one answer is there."""
        reader, writer = await asyncio.open_connection(self.url.host, self.url.port)
        writer.write(text)
        if half_closed:
            writer.write_eof()
        try:
            async with asyncio.timeout(5):
                return await reader.readuntil(b"}")
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def served(asked: Asked | None = None, *, body_seconds: float = 5.0) -> AsyncIterator[Served]:
    asked = asked or Asked()
    api = ControlApi(
        asked.run,
        lambda: asked.snapshot,
        asked.last,
        TOKENS,
        refused=asked.refused,
        body_seconds=body_seconds,
        clock=lambda: asked.now,
    )
    app = web.Application()
    app.add_routes(api.routes())
    server = TestServer(app)
    await server.start_server()
    try:
        async with aiohttp.ClientSession() as http:
            yield Served(http, server.make_url("/"), asked, api)
    finally:
        await server.close()


def commanded(action: Action, *, serial: str | None = SERIAL, **fields: Any) -> Command:
    return Command(action=action, who="default", site_id=SITE_ID, serial=serial, **fields)
