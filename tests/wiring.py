"""The exporter's cloud side wired to a simulated cloud, for tests that want a real socket in between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from yarl import URL

from exporter.auth import Auth, Credentials
from exporter.client import ENDPOINTS, Client
from exporter.kept_variants import KeptVariants
from exporter.login import Surfaces
from exporter.model import Guard, Login
from exporter.simulator.cloud import Cloud, start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World, WorldConfig
from exporter.state import State
from exporter.transport import Tally, Transport
from exporter.writes import Reply, Writes

OWNER = Credentials(email=CloudConfig.email, password=CloudConfig.password)


@dataclass
class Time:
    """A wall clock that a test moves."""

    seconds: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Wired:
    """A client, its parts, and the cloud it talks to."""

    client: Client
    auth: Auth
    transport: Transport
    cloud: Cloud
    wall: Time
    http: aiohttp.ClientSession
    url: URL
    sent: list[str] = field(default_factory=list)
    stored: list[tuple[Login | None, Guard | None]] = field(default_factory=list)

    @property
    def site_id(self) -> str:
        return next(iter(self.cloud.world.sites))

    @property
    def serial(self) -> str:
        return next(iter(self.cloud.world.sites[self.site_id].chargers))

    def logins(self) -> int:
        return self.cloud.journal.count(endpoint="login")


@asynccontextmanager
async def wired(
    config: CloudConfig | None = None,
    credentials: Credentials = OWNER,
    *,
    timeout_seconds: float = 5.0,
    login: Login | None = None,
    guard: Guard | None = None,
) -> AsyncIterator[Wired]:
    """A client with credentials against a fresh cloud of two sites."""
    time = Time()
    running = await start_cloud(
        World(WorldConfig(start_seconds=time.seconds), clock=time), config, clock=time
    )
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        url = URL(running.url + "/")
        sent: list[str] = []
        transport = Transport(
            http,
            Tally(ENDPOINTS),
            timeout_seconds=timeout_seconds,
            sent=lambda: sent.append(""),
            timed=lambda endpoint, seconds: None,
            wall_clock=time,
        )
        stored: list[tuple[Login | None, Guard | None]] = []

        async def store(login: Login | None, guard: Guard | None) -> None:
            stored.append((login, guard))

        auth = Auth(
            transport,
            credentials,
            Surfaces(url, url),
            account="home",
            wall_clock=time,
            store=store,
            login=login,
            guard=guard,
        )
        client = Client(transport, auth, url)
        try:
            yield Wired(client, auth, transport, running.cloud, time, http, url, sent, stored)
        finally:
            await auth.close()
            await running.close()


@dataclass
class Commanded:
    """Writes over a wired client that has logged in; `charges` is what status says when a start asks."""

    w: Wired
    kept: KeptVariants
    slept: list[float] = field(default_factory=list)
    charges: bool = False
    asked_status: int = 0

    @property
    def writes(self) -> Writes:
        return Writes(self.w.client, self.kept, sleep=self._sleep)

    async def start(self, amps: int | None = None, *, may_drop: bool = False) -> Reply:
        return await self.writes.start_charging(
            self.w.site_id,
            self.w.serial,
            level_amperes=amps,
            may_drop_level=may_drop,
            is_charging=self.is_charging,
        )

    async def stop(self) -> Reply:
        return await self.writes.stop_charging(self.w.site_id, self.w.serial)

    def sent(self) -> list[tuple[str, str, str]]:
        """Every write so far: method, folder of the path, body."""
        return [
            (entry.method, entry.path.split("/")[-3], entry.body.decode())
            for entry in self.w.cloud.journal
            if entry.method != "GET"
        ]

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.w.wall.seconds += seconds

    async def is_charging(self) -> bool:
        self.asked_status += 1
        return self.charges


@asynccontextmanager
async def commanded(
    folder: Path, config: CloudConfig | None = None, *, timeout_seconds: float = 5.0
) -> AsyncIterator[Commanded]:
    """What commands go through, with the state in `folder`."""
    state = State.open(folder)
    try:
        async with wired(config, timeout_seconds=timeout_seconds) as w:
            await w.client.fetch_status(w.site_id)
            w.cloud.journal.clear()
            yield Commanded(w, KeptVariants(state))
    finally:
        state.close_now()
