"""What control asks of polling: the newest that is known, polls out of turn, and rapid updates."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import inf

from exporter.asking import Asking, PolledAccount, PollSettings
from exporter.bursts import Bursts
from exporter.client import Client
from exporter.errors import RateLimited
from exporter.model import Charger, LiveStream, Site
from exporter.polled import PolledSite

Sleep = Callable[[float, asyncio.Event], Awaitable[None]]
"""Waits so many seconds, or until the event is set."""

# The last part of the hour's budget is left to the polls that come anyway.
_SHARE_FOR_WANTED_POLLS = 0.85
_WANTED_POLLS_APART_SECONDS = 2.0


class OnDemand:
    """The sites and accounts of a poller, for those who do not wait for its schedule."""

    def __init__(
        self,
        accounts: Mapping[str, PolledAccount],
        settings: PollSettings,
        asking: Asking,
        bursts: Bursts,
        *,
        clock: Callable[[], float],
        sleep: Sleep,
    ) -> None:
        self.accounts = accounts
        self.sites: dict[str, PolledSite] = {}
        # Not polled before discovery has shown them, but a charger there can be told to stop.
        self.assumed: dict[str, PolledSite] = {}
        self._settings = settings
        self._asking = asking
        self._bursts = bursts
        self._clock = clock
        self._sleep = sleep

    # -- what is known -------------------------------------------------------------------------------------

    def site(self, site_id: str) -> Site | None:
        """What is known of a site, however old; None for one that is not known."""
        site = self._known(site_id)
        return None if site is None else site.known()

    def sites_of(self, serial: str) -> tuple[Site, ...]:
        """Every site that has a charger of that serial."""
        polled = [site for site in self.sites.values() if _has(site.chargers, serial)]
        # A charger that moved has accounts at both sites: what status shows is the better word.
        remembered = (site for site in self._all() if _has(site.known_chargers(), serial))
        return tuple(site.known() for site in polled or remembered)

    def client_of(self, site_id: str) -> Client | None:
        """Who asks the cloud for a site; None for one that is not known."""
        site = self._known(site_id)
        return None if site is None else self.accounts[site.account].client

    def status_age_seconds(self, site_id: str) -> float | None:
        """How long ago the newest good status of a site came; None without one."""
        site = self._known(site_id)
        received = site.status_received_seconds if site else None
        return None if received is None else self._clock() - received

    def mode_read_seconds(self, site_id: str, serial: str) -> float | None:
        """When the newest good read of a charger's preferred mode began, on the poller's clock."""
        site = self._known(site_id)
        return site.mode_read_seconds.get(serial) if site else None

    # -- polls ---------------------------------------------------------------------------------------------

    def poll_soon(self, site_id: str, *, also: str = "") -> None:
        """Start the site's next poll now, or after the one under way, but within backoff and budget.

        `also` is "summary" or "charge_mode": that poll asks this endpoint too. Such polls are a little apart,
        and where little of the budget is left the next one in turn has to do; but the first after each
        command that was sent is made all the same. Unknown sites pass.
        """
        site = self.sites.get(site_id)
        if site is not None:
            account = self.accounts[site.account]
            for _ in range(site.ask_soon(also, writes=account.client.writes.get(site_id, 0))):
                account.commands.note(self._clock())

    async def polled(self, site_id: str, within_seconds: float, *, whole: bool = False) -> Site | None:
        """The site after the first poll that begins from now on, good or not; None if none comes in time.

        It is there as soon as status has been asked; `whole`: when the slow endpoints have been, too.
        """
        site = self.sites.get(site_id)
        if site is None:
            return None
        wanted, deadline = site.polls_begun + 1, self._clock() + within_seconds
        while (site.newest_ended if whole else site.newest_shown) < wanted:
            left = deadline - self._clock()
            if left <= 0:
                return None
            await self._sleep(left, site.next_step())
        return site.live

    def wanted_at(self, site: PolledSite, account: PolledAccount) -> float:
        """When a poll that was asked for may be made as far as that goes; infinity where none is."""
        now = self._clock()
        if site.asked_soon is None:
            return inf
        if site.follows_command or site.last_poll_seconds is None:
            return now
        if account.share_used(now, self._settings.max_requests_per_hour) >= _SHARE_FOR_WANTED_POLLS:
            return inf
        return max(now, site.last_poll_seconds + _WANTED_POLLS_APART_SECONDS)

    # -- the account ---------------------------------------------------------------------------------------

    def backoff_seconds(self, site_id: str) -> float:
        """How long the site's account must still wait after a 429; 0 when it need not, or is not known."""
        site = self._known(site_id)
        until = self.accounts[site.account].backoff.until_seconds if site else 0.0
        return max(0.0, until - self._clock())

    def commands_share(self, site_id: str) -> float:
        """The share of the hourly budget that commands to the site's account were in the last hour."""
        site, budget = self._known(site_id), self._settings.max_requests_per_hour
        return self.accounts[site.account].commands.count(self._clock()) / budget if site else 0.0

    def rate_limited(self, site_id: str, retry_after_seconds: float | None) -> None:
        """Make the site's account wait: somebody else's request for it met a 429."""
        site = self._known(site_id)
        if site is not None:
            error = RateLimited("control", "HTTP 429", retry_after_seconds=retry_after_seconds)
            self._asking.note_rate_limit(self.accounts[site.account], error)

    # -- rapid updates -------------------------------------------------------------------------------------

    def may_burst(self, site_id: str) -> bool:
        """Whether a command should ask for a live stream: the config wants it, and it would help."""
        site = self.sites.get(site_id)
        return site is not None and self._bursts.may_follow_command(site, self.accounts[site.account])

    def begin_burst(self, site_id: str, seconds: float) -> None:
        """Poll a site faster for so long: it was granted a live stream; a burst under way gets longer."""
        if site_id in self.sites:
            self._bursts.begin(self.sites[site_id], seconds)

    def end_burst(self, site_id: str) -> None:
        """Poll a site as ever again: its live stream has been stopped."""
        if site_id in self.sites:
            self._bursts.end(self.sites[site_id])

    async def start_live_stream(self, site_id: str) -> LiveStream:
        """Ask the cloud for a live stream; raises CloudError, and KeyError for a site that is not known."""
        return await self._bursts.start_live_stream(*self._whom_to_ask(site_id))

    async def stop_live_stream(self, site_id: str) -> None:
        """Ask the cloud to end a live stream; raises as `start_live_stream` does."""
        await self._bursts.stop_live_stream(*self._whom_to_ask(site_id))

    def _whom_to_ask(self, site_id: str) -> tuple[PolledSite, PolledAccount]:
        site = self.sites.get(site_id) or self.assumed[site_id]
        return site, self.accounts[site.account]

    def _known(self, site_id: str) -> PolledSite | None:
        return self.sites.get(site_id) or self.assumed.get(site_id)

    def _all(self) -> Iterable[PolledSite]:
        return (*self.sites.values(), *self.assumed.values())


def _has(chargers: Iterable[Charger], serial: str) -> bool:
    return any(charger.serial == serial for charger in chargers)
