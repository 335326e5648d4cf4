"""A client of the simulator for the tests of the simulator."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from exporter.simulator.cloud import Cloud, CloudConfig, RunningCloud, start_cloud
from exporter.simulator.vehicle import MANUAL
from exporter.simulator.world import SimCharger, World, WorldConfig

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
NOON = 1777723200.0
SITE = "1234567"
SERIAL = "482500000017"
EVC = "/service/evse_controller"
STATUS = f"{EVC}/{SITE}/ev_chargers/status"
SUMMARY = f"{EVC}/api/v2/{SITE}/ev_chargers/summary"
CHARGER = f"{EVC}/{SITE}/ev_chargers/{SERIAL}"
PREFERENCE = f"/service/evse_scheduler/api/v1/iqevc/charging-mode/{SITE}/{SERIAL}/preference"
OWNER = {"user[email]": "owner@example.com", "user[password]": "correct horse"}


class HandClock:
    """Epoch seconds that move only when told."""

    def __init__(self) -> None:
        self.seconds = NOON

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Reply:
    """What came back, read to the end."""

    status: int
    text: str
    headers: Any

    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def cookies(self) -> dict[str, str]:
        pairs = [raw.split(";")[0].split("=", 1) for raw in self.headers.getall("Set-Cookie", [])]
        return dict(pairs)


class Visitor:
    """A client with a cookie jar; `headers` go with every request."""

    def __init__(self, running: RunningCloud, clock: HandClock, http: aiohttp.ClientSession) -> None:
        self.cloud: Cloud = running.cloud
        self.world: World = running.cloud.world
        self.clock = clock
        self.headers: dict[str, str] = dict(BROWSER)
        self._url = running.url
        self._http = http

    @property
    def charger(self) -> SimCharger:
        return self.world.charger(SERIAL)

    @property
    def login_cookie(self) -> str:
        """The session cookie the jar holds."""
        return next(c.value for c in self._http.cookie_jar if c.key == "_enlighten_4_session")

    def forget_cookies(self) -> None:
        self._http.cookie_jar.clear()

    async def ask(self, method: str, path: str, **options: Any) -> Reply:
        headers = {**self.headers, **options.pop("headers", {})}
        async with self._http.request(method, self._url + path, headers=headers, **options) as response:
            return Reply(response.status, await response.text(), response.headers)

    async def read(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def log_in(self) -> None:
        assert (await self.ask("POST", "/login/login.json", data=OWNER)).status == 200
        token = (await self.read("/users/self/token")).json()["token"]
        self.headers |= {"e-auth-token": token, "Authorization": f"Bearer {token}"}


Open = Callable[..., Awaitable[Visitor]]


@asynccontextmanager
async def visits() -> AsyncIterator[Open]:
    """Gives a function that starts a cloud with CloudConfig(**settings) and idle chargers, and visits it."""
    async with AsyncExitStack() as stack:

        async def open_cloud(*, logged_in: bool = False, **settings: Any) -> Visitor:
            clock = HandClock()
            config = WorldConfig(sites=2, chargers=1, modes=(MANUAL,), offline_every_seconds=None)
            world = World(config, clock)
            for charger in world.chargers.values():
                charger.manual = True
                charger.unplug()
            running = await start_cloud(world, CloudConfig(**settings), clock=clock)
            stack.push_async_callback(running.close)
            jar = aiohttp.CookieJar(unsafe=True)
            http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
            visitor = Visitor(running, clock, http)
            if logged_in:
                await visitor.log_in()
            return visitor

        yield open_cloud
