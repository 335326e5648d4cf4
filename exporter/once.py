"""Asks the cloud once of everything an account sees; for the commands that look, and never for the exporter.

A login is made only where none is kept, and never while a guard stands; what came of it is kept, so that the
exporter neither logs in again nor repeats a refusal.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp

from exporter import __version__
from exporter.accounts import build_account
from exporter.asking import PolledAccount
from exporter.auth import Store
from exporter.client import Heard
from exporter.config import Config, state_folder
from exporter.errors import AuthError, CloudError, NotOffered, RateLimited, StateError, Unreachable
from exporter.instruments import Instruments
from exporter.kept_logins import (
    NOTHING_KEPT,
    read_logins,
    ready_to_write,
    write_by_person,
    write_guard,
)
from exporter.merge import Knowledge, join, with_status, with_summary
from exporter.model import Guard, Login
from exporter.parse_commissioned import parse_not_commissioned
from exporter.seen import AccountSeen, Seen, SiteSeen


def heard_by_nobody(endpoint: str, body: bytes) -> None:
    """Nobody wants to know what the cloud sent."""


async def look(
    config: Config,
    *,
    heard: Heard = heard_by_nobody,
    everything: bool = False,
    wall_clock: Callable[[], float] = time.time,
) -> Seen:
    """Sites, status and summary, each once; with `everything` last reports and charge modes as well.

    `heard` is told endpoint and body of every answer that is data. Raises StateError where the state cannot
    be read: without it a guard might be passed by.
    """
    folder = state_folder(config)
    kept = read_logins(folder)
    seen = Seen()
    async with _timed_http(seen, wall_clock) as http:
        for account in config.accounts:
            polled = build_account(
                account,
                config,
                http,
                Instruments(__version__),
                store=store_for(folder, account.name),
                kept=kept.get(account.name, NOTHING_KEPT),
            )
            one = AccountSeen(account.name, account.sites, captured=account.e_auth_token is not None)
            seen.accounts.append(one)
            looking = _Looking(one, polled, heard=heard, everything=everything)
            polled.client.heard = looking.told
            await looking.run(kept_in=folder if account.password else None)
    return seen


class _Looking:
    """One look at one account."""

    def __init__(self, seen: AccountSeen, polled: PolledAccount, *, heard: Heard, everything: bool) -> None:
        self._seen = seen
        self._polled = polled
        self._heard = heard
        self._everything = everything
        self._bodies: list[bytes] = []  # of the site being read

    def told(self, endpoint: str, body: bytes) -> None:
        """Take in one body, and hand it on."""
        self._bodies.append(body)
        self._heard(endpoint, body)

    async def run(self, kept_in: Path | None) -> None:
        """Read what the account sees; `kept_in` is the folder for the login that may have to be made."""
        auth = self._polled.client.auth
        try:
            if kept_in is not None:
                await asyncio.to_thread(ready_to_write, kept_in)  # a login not kept would be one for nothing
            await self._sites()
        except (CloudError, StateError) as error:
            self._seen.error = error
        finally:
            await auth.close()
            self._seen.guard = auth.guard
            self._seen.logged_in = bool(auth.logins["success",])
            self._seen.token_expiry_seconds = auth.token_expiry_seconds

    async def _sites(self) -> None:
        self._seen.visible = await self._polled.client.fetch_sites()
        for site_id in self._seen.configured or [entry.site_id for entry in self._seen.visible]:
            self._bodies.clear()
            site = SiteSeen(site_id)
            self._seen.sites.append(site)
            try:
                await self._site(site)
            except (AuthError, RateLimited, Unreachable):
                raise  # of the whole account: its other sites are not asked
            except CloudError as error:
                site.error = str(error)

    async def _site(self, site: SiteSeen) -> None:
        client = self._polled.client
        knowledge = with_status(Knowledge(), await client.fetch_status(site.site_id))
        site.chargers, _ = join(site.site_id, knowledge)
        knowledge = with_summary(knowledge, await client.fetch_summary(site.site_id))
        site.chargers, _ = join(site.site_id, knowledge)
        site.not_commissioned = frozenset().union(*map(parse_not_commissioned, self._bodies))
        if self._everything:
            await self._optional(site)

    async def _optional(self, site: SiteSeen) -> None:
        client = self._polled.client
        with suppress(NotOffered):  # many accounts have no such thing
            await client.fetch_last_reported(site.site_id)
        for charger in site.chargers:
            with suppress(NotOffered):
                await client.fetch_charge_mode(site.site_id, charger.serial)


def store_for(folder: Path, account: str) -> Store:
    """Keeps the login or the refusal that a command has met."""

    async def store(login: Login | None, guard: Guard | None) -> None:
        if guard is not None:
            await asyncio.to_thread(write_guard, folder, account, guard)
        elif login is not None:
            await asyncio.to_thread(write_by_person, folder, account, login)

    return store


@asynccontextmanager
async def _timed_http(seen: Seen, wall_clock: Callable[[], float]) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP session that compares this machine's clock with the Date of every answer."""

    async def ended(_session: object, _context: object, params: aiohttp.TraceRequestEndParams) -> None:
        ahead = clock_ahead(params.response.headers.get("Date", ""), wall_clock())
        if ahead is not None and (
            seen.clock_ahead_seconds is None or abs(ahead) < abs(seen.clock_ahead_seconds)
        ):
            seen.clock_ahead_seconds = ahead

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(ended)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(cookie_jar=jar, trace_configs=[trace]) as http:
        yield http


def clock_ahead(date: str, now: float) -> float | None:
    """How far a clock is ahead of a Date header, seconds; the header cuts fractions off. None without one."""
    try:
        return now - parsedate_to_datetime(date).timestamp() - 0.5
    except ValueError:
        return None
