"""Wires what asks the cloud for one account; the app and the commands build on it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from exporter.asking import PolledAccount, PollSettings
from exporter.auth import Auth, Credentials, Store
from exporter.client import ENDPOINTS, WRITE_ENDPOINTS, Client, Heard
from exporter.config import AccountConfig, Config, Secret, interval_floor_seconds
from exporter.instruments import Instruments
from exporter.kept_logins import NOTHING_KEPT, KeptLogin
from exporter.login import Surfaces
from exporter.schedule import RequestWindow
from exporter.transport import Tally, Transport

# A new TLS connection costs six times as much as a request, so one is kept from poll to poll.
_KEEPALIVE_SECONDS = 130.0


@asynccontextmanager
async def cloud_http(*, keep_open: bool = True) -> AsyncIterator[aiohttp.ClientSession]:
    """The one HTTP session to the cloud; cookies are the accounts' own affair."""
    connector = (
        aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        if keep_open
        else aiohttp.TCPConnector(force_close=True)
    )
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield http


def build_transport(
    config: Config,
    http: aiohttp.ClientSession,
    instruments: Instruments,
    window: RequestWindow,
    slots: asyncio.Semaphore | None = None,
) -> Transport:
    """The exchanges of one account, timed by `instruments` and noted in its `window`."""
    return Transport(
        http,
        Tally(endpoints_asked(config)),
        timeout_seconds=config.poll.request_timeout_seconds,
        sent=lambda: window.note(time.monotonic()),
        timed=instruments.request_ended,
        slots=slots,
    )


def endpoints_asked(config: Config) -> tuple[str, ...]:
    """The endpoints whose counters start at 0: those this config will have asked."""
    control, live_stream = config.control.enabled, config.poll.live_stream
    streams = control or live_stream in ("on_change", "while_charging")
    return (*ENDPOINTS, *(("live_stream",) if streams else ()), *(WRITE_ENDPOINTS if control else ()))


def surfaces_of(config: Config) -> Surfaces:
    """Where to log in."""
    return Surfaces(URL(config.cloud.base_url + "/"), URL(config.cloud.entrez_url + "/"))


def build_account(
    account: AccountConfig,
    config: Config,
    http: aiohttp.ClientSession,
    instruments: Instruments,
    *,
    store: Store,
    kept: KeptLogin = NOTHING_KEPT,
    slots: asyncio.Semaphore | None = None,
    heard: Heard | None = None,
) -> PolledAccount:
    """Everything that asks the cloud for one account.

    `store` writes its login and guard, `kept` is what was written before; `slots` are shared by all accounts;
    `heard` is told of every payload that is read.
    """
    window = RequestWindow()
    transport = build_transport(config, http, instruments, window, slots)
    surfaces = surfaces_of(config)
    auth = Auth(
        transport,
        credentials_of(account),
        surfaces,
        account=account.name,
        wall_clock=time.time,
        store=store,
        login=kept.login,
        guard=kept.guard,
    )
    client = Client(transport, auth, surfaces.base_url, heard=heard)
    return PolledAccount(account.name, client, window, account.sites)


def credentials_of(account: AccountConfig) -> Credentials:
    """What the config has to log in with."""
    return Credentials(
        account.email,
        revealed(account.password),
        revealed(account.e_auth_token),
        revealed(account.cookie),
        revealed(account.access_token),
    )


def revealed(secret: Secret | None) -> str | None:
    """The text of a secret that may not be given."""
    return None if secret is None else secret.reveal()


def poll_settings(config: Config) -> PollSettings:
    """The part of the config that the poller needs."""
    poll = config.poll
    floor = interval_floor_seconds(config.cloud.base_url)
    return PollSettings(
        interval_seconds=poll.interval_seconds,
        idle_interval_seconds=poll.idle_interval_seconds,
        summary_interval_seconds=poll.summary_interval_seconds,
        charge_mode_interval_seconds=poll.charge_mode_interval_seconds,
        align=poll.align,
        stale_after_seconds=poll.stale_after_seconds,
        max_requests_per_hour=poll.max_requests_per_hour,
        live_stream=poll.live_stream,
        burst_interval_seconds=min(poll.interval_seconds, max(floor, poll.interval_seconds / 2)),
    )
