"""Runs the schedule: one task a site, one owner of time; publishes what scrapes show."""

import asyncio
import logging
import random as random_module
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from exporter.asking import Asking, PolledAccount, PollSettings, Save
from exporter.errors import CloudError
from exporter.model import Ledger, SiteEntry, Snapshot
from exporter.polled import PolledSite
from exporter.schedule import Backoff, plan_poll, stretched_intervals
from exporter.scrapes import ScrapeLearner
from exporter.transport import CONCURRENT_READS

log = logging.getLogger(__name__)

# CPU time of one poll: polls that are due together are started this far apart.
_POLL_COST_SECONDS = 0.0015
_DISCOVERY_INTERVAL_SECONDS = 900.0
Sleep = Callable[[float, asyncio.Event], Awaitable[None]]
"""Waits so many seconds, or until the event is set."""
NO_LEDGERS: Mapping[str, Mapping[str, Ledger]] = {}


async def sleep_or_wake(seconds: float, wake: asyncio.Event) -> None:
    """Sleep, but not longer than until the event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()


class Poller:
    """Polls every site of every account until cancelled."""

    def __init__(
        self,
        accounts: Sequence[PolledAccount],
        settings: PollSettings,
        *,
        save: Save,
        problem: Callable[[str, str], None],
        ledgers: Mapping[str, Mapping[str, Ledger]] = NO_LEDGERS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Sleep | None = None,
        random: Callable[[], float] = random_module.random,
        previous: "Poller | None" = None,
    ) -> None:
        """`save` and `problem` as for Asking; `ledgers` by site and serial, as they are on disk.

        `previous` hands over its sites.
        """
        self.accounts = {account.name: account for account in accounts}
        self.sites: dict[str, PolledSite] = {}
        self._settings = settings
        self._asking = Asking(
            settings, save=save, problem=problem, clock=clock, wall_clock=wall_clock, random=random
        )
        self._ledgers = ledgers
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep or sleep_or_wake
        self._learner: ScrapeLearner = previous._learner if previous else ScrapeLearner()
        self._former = previous.sites if previous else {}

    # -- what the web reads, never awaiting ----------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What a scrape shows at this moment."""
        now, settings = self._clock(), self._settings
        return Snapshot(
            sites=tuple(site.shown(now, settings.stale_after_seconds) for site in self.sites.values()),
            accounts=tuple(
                account.shown(now, settings.max_requests_per_hour) for account in self.accounts.values()
            ),
            scrape_interval_seconds=self._learner.period_seconds(now),
        )

    def scraped(self, source: str, site_ids: Iterable[str] = ()) -> None:
        """Learn from a scrape, of the named sites or of all, by `source`."""
        now = self._clock()
        named = [self.sites[site_id] for site_id in site_ids if site_id in self.sites]
        for learner in [site.learner for site in named] or [self._learner]:
            learner.scraped(now, source)

    def not_ready_because(self) -> list[str]:
        """Why not every site has been polled once yet, whatever the outcome; nothing when it has."""
        unasked = [account.name for account in self.accounts.values() if not account.asked]
        unpolled = [site.site_id for site in self.sites.values() if site.up is None]
        return [f"account {name}: its sites are not known yet" for name in unasked] + [
            f"site {site_id}: not polled yet" for site_id in unpolled
        ]

    # -- running -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for account in self.accounts.values():
                for site_id in account.site_ids:
                    self._add(account, SiteEntry(site_id))
            for site in list(self.sites.values()):
                tasks.create_task(self._run_site(site))
            for account in self.accounts.values():
                tasks.create_task(self._run_discovery(account, tasks))

    async def _run_discovery(self, account: PolledAccount, tasks: asyncio.TaskGroup) -> None:
        """Find the account's sites and their names, trying again until it worked."""
        backoff = Backoff()
        while True:
            await self._sleep_until(max(backoff.until_seconds, account.backoff.until_seconds), account.wake)
            try:
                entries = await account.client.fetch_sites()
            except CloudError as error:
                account.asked = True
                account.error = f"sites not found yet: {error}"
                self._asking.note_rate_limit(account, error)
                backoff = self._asking.backed_off(backoff, error)
                log.warning("site discovery failed", extra={"account": account.name, "why": str(error)})
                continue
            self._discovered(account, entries, tasks)
            if entries or account.site_ids:
                return
            account.error = "the account sees no site: set `sites` to the site id"
            backoff = Backoff(until_seconds=self._clock() + _DISCOVERY_INTERVAL_SECONDS)

    def _discovered(
        self, account: PolledAccount, entries: Sequence[SiteEntry], tasks: asyncio.TaskGroup
    ) -> None:
        account.asked = True
        account.error = None
        names = {entry.site_id: entry.name for entry in entries}
        for site_id in account.site_ids:
            self.sites[site_id].name = names.get(site_id)
            if entries and site_id not in names:
                account.error = f"the account does not see site {site_id}: correct `sites`"
                log.warning("site not visible", extra={"account": account.name, "site_id": site_id})
        for entry in entries if not account.site_ids else ():
            other = self.sites.get(entry.site_id)
            if other is not None:
                log.warning("site is polled already", extra={"site_id": entry.site_id, "by": other.account})
            else:
                tasks.create_task(self._run_site(self._add(account, entry)))
        log.info("sites discovered", extra={"account": account.name, "sites": len(entries)})

    def _add(self, account: PolledAccount, entry: SiteEntry) -> PolledSite:
        former = self._former.get(entry.site_id)
        if former is not None and former.account == account.name:
            site = former
            site.hurry(self._clock(), self._settings.summary_interval_seconds)
        else:
            site = PolledSite.restored(entry.site_id, account.name, self._ledgers.get(entry.site_id, {}))
        site.name = entry.name or site.name
        site.rank, site.place = len(account.sites), len(self.sites)
        account.sites.append(site)
        self.sites[site.site_id] = site
        return site

    async def _run_site(self, site: PolledSite) -> None:
        account = self.accounts[site.account]
        while True:
            await self._sleep_until(self._next_poll(site, account), site.wake)
            # While this site slept another one may have been told to slow down.
            while (allowed := self._allowed(site, account)) > self._clock():
                await self._sleep_until(allowed, site.wake)
            try:
                await self._asking.poll(site, account)
            except Exception:
                # A bug of ours must neither look like a cloud outage nor end the other sites.
                log.exception("poll broke", extra={"site_id": site.site_id})
                site.poll_broke()
            site.publish()

    def _next_poll(self, site: PolledSite, account: PolledAccount) -> float:
        now, settings = self._clock(), self._settings
        site.interval_seconds = self._interval(site, account)
        answer = site.answer_time.lead_seconds()
        apart = site.place * _POLL_COST_SECONDS
        scrapers = (*self._learner.scrapers(now), *site.learner.scrapers(now))
        planned = plan_poll(
            now=now,
            last_poll_seconds=site.last_poll_seconds,
            interval_seconds=site.interval_seconds,
            lead_seconds=answer * (1 + site.rank // CONCURRENT_READS) + apart,
            scrapers=scrapers,
            align=settings.align,
            wall_offset_seconds=self._wall_clock() - now - apart,
        )
        allowed = self._allowed(site, account)
        held = allowed - (site.last_poll_seconds if site.last_poll_seconds is not None else now)
        site.interval_in_force_seconds = max(site.interval_seconds, held)
        site.publish()
        return max(planned, allowed)

    def _allowed(self, site: PolledSite, account: PolledAccount) -> float:
        """The moment before which this site must not be asked: backoff, and the budget of the hour."""
        return max(
            site.backoff.until_seconds,
            account.backoff.until_seconds,
            account.window.free_at(self._clock(), self._settings.max_requests_per_hour),
        )

    def _interval(self, site: PolledSite, account: PolledAccount) -> float:
        """The status interval that the account's budget allows this site now."""
        settings = self._settings
        loads = [
            other.load(
                settings.interval_seconds,
                settings.idle_interval_seconds,
                3600 / settings.summary_interval_seconds
                + len(other.chargers) * 3600 / settings.charge_mode_interval_seconds,
            )
            for other in account.sites
        ]
        return stretched_intervals(loads, settings.max_requests_per_hour)[site.rank]

    def wake(self, account_name: str) -> None:
        """Poll the sites of an account now, whatever they wait for: a person has changed something."""
        account = self.accounts[account_name]
        account.backoff = Backoff()
        for site in account.sites:
            site.backoff = Backoff()
            site.last_poll_seconds = None
            site.wake.set()
        account.wake.set()

    async def _sleep_until(self, moment: float, wake: asyncio.Event) -> None:
        # An event still set from before would end every further sleep at once, and the loop with it.
        wake.clear()
        delay = moment - self._clock()
        if delay > 0:
            await self._sleep(delay, wake)
