"""Runs the schedule: one task a site, one owner of time; publishes what scrapes show."""

import asyncio
import logging
import random as random_module
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from exporter.asking import Asking, PolledAccount, PollSettings, Save
from exporter.bursts import Bursts
from exporter.errors import CloudError
from exporter.model import Ledger, SiteEntry, Snapshot
from exporter.on_demand import OnDemand, Sleep
from exporter.polled import PolledSite
from exporter.schedule import Backoff, plan_poll
from exporter.scrapes import ScrapeLearner
from exporter.transport import CONCURRENT_READS

log = logging.getLogger(__name__)

# CPU time of one poll: polls that are due together are started this far apart.
_POLL_COST_SECONDS = 0.0015
_DISCOVERY_INTERVAL_SECONDS = 900.0
NO_LEDGERS: Mapping[str, Mapping[str, Ledger]] = {}


async def sleep_or_wake(seconds: float, wake: asyncio.Event) -> None:
    """Sleep, but not longer than until the event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()


class Poller(OnDemand):
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
        asking = Asking(
            settings, save=save, problem=problem, clock=clock, wall_clock=wall_clock, random=random
        )
        bursts = Bursts(settings, clock=clock, note_rate_limit=asking.note_rate_limit)
        by_name = {account.name: account for account in accounts}
        super().__init__(by_name, settings, asking, bursts, clock=clock, sleep=sleep or sleep_or_wake)
        self._ledgers = ledgers
        self._wall_clock = wall_clock
        self._learner: ScrapeLearner = previous._learner if previous else ScrapeLearner()
        self._former = previous.sites | previous.assumed if previous else {}
        for account in accounts:
            for site_id in account.site_ids or _kept_site_ids(account, previous):
                self._add(account, SiteEntry(site_id))
        self._assume()

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
        if entries and not account.site_ids:
            self._follow_discovery(account, entries, tasks)
        log.info("sites discovered", extra={"account": account.name, "sites": len(entries)})

    def _follow_discovery(
        self, account: PolledAccount, entries: Sequence[SiteEntry], tasks: asyncio.TaskGroup
    ) -> None:
        """Poll what an account sees beside what it was polled for: one list without it drops no site."""
        self.assumed = {key: site for key, site in self.assumed.items() if site.account != account.name}
        for site in account.sites:
            if site.site_id not in {entry.site_id for entry in entries}:
                log.warning("site not visible", extra={"account": account.name, "site_id": site.site_id})
        for entry in entries:
            other = self.sites.get(entry.site_id)
            if other is None:
                tasks.create_task(self._run_site(self._add(account, entry)))
            elif other.account == account.name:
                other.name = entry.name or other.name
            else:
                log.warning("site is polled already", extra={"site_id": entry.site_id, "by": other.account})

    def _assume(self) -> None:
        """Know the sites that discovery has yet to show: those of before, else those that have accounts.

        Which account may ask for a site that only has accounts is clear where one alone has no sites yet.
        """
        waiting = [account.name for account in self.accounts.values() if not account.sites]
        for site in self._former.values():
            if site.account in waiting and site.site_id not in self.sites:
                self.assumed[site.site_id] = site
        for site_id, ledgers in self._ledgers.items() if len(waiting) == 1 else ():
            if site_id not in self.sites and site_id not in self.assumed:
                self.assumed[site_id] = PolledSite.restored(site_id, waiting[0], ledgers)

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
            await self._wait_for_turn(site, account)
            before = site.chargers
            site.poll_begins()
            try:
                await self._asking.poll(site, account)
                await self._bursts.follow(site, account, before)
            except Exception:
                # A bug of ours must neither look like a cloud outage nor end the other sites.
                log.exception("poll broke", extra={"site_id": site.site_id})
                site.poll_broke()
            site.publish()
            site.poll_ended()

    async def _wait_for_turn(self, site: PolledSite, account: PolledAccount) -> None:
        moment = self._next_poll(site, account)
        while moment > self._clock():
            await self._sleep_until(moment, site.wake)
            # Woken, it is wanted sooner or at another pace. If not, another site may have been told to slow
            # down meanwhile.
            plan = self._next_poll if site.wake.is_set() else self._allowed
            moment = plan(site, account)

    def _next_poll(self, site: PolledSite, account: PolledAccount) -> float:
        now, settings = self._clock(), self._settings
        site.interval_seconds = self._bursts.interval_seconds(site, account)
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
        is_held = allowed > self._clock()
        held = allowed - (site.last_poll_seconds if site.last_poll_seconds is not None else now)
        site.interval_in_force_seconds = max(site.interval_seconds, held if is_held else 0.0)
        site.publish()
        return max(min(planned, self.wanted_at(site, account)), allowed)

    def _allowed(self, site: PolledSite, account: PolledAccount) -> float:
        """The moment before which this site must not be asked: backoff, and the budget of the hour."""
        free = account.free_at(self._clock(), self._settings.max_requests_per_hour)
        return max(site.backoff.until_seconds, free)

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


def _kept_site_ids(account: PolledAccount, previous: Poller | None) -> list[str]:
    """The sites that were polled for an account before a reload that left its login as it was."""
    former = previous.accounts.get(account.name) if previous else None
    if previous is None or former is None or former.client is not account.client:
        return []
    return [site.site_id for site in previous.sites.values() if site.account == account.name]
