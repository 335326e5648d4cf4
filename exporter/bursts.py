"""Live stream bursts: when one is asked for and ended, and how fast a site is polled meanwhile.

A site's own task asks, after a poll: a burst needs no timer. One that is under way when the exporter stops
ends by itself in the cloud.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from exporter.asking import PolledAccount, PollSettings
from exporter.errors import CloudError, LoginExpired, NotOffered
from exporter.model import Charger, ConnectorStatus, LiveStream
from exporter.polled import NOT_OFFERED_PAUSE_SECONDS, PolledSite
from exporter.schedule import (
    LONGEST_BURST_SECONDS,
    SHORTEST_BURST_PERIOD_SECONDS,
    Burst,
    bursts_that_fit,
    granted,
    stretched_intervals,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

_PAUSE_SECONDS = 900.0
# The longest lag known between a command and status showing it: a burst that lasts so long will do.
_COMMAND_SECONDS = 90.0
# Unsupported gateway, invalid system, live stream not supported, gateway not reporting: documented refusals.
_REFUSALS = frozenset({403, 404, 466, 468, 472, 473})


class Bursts:
    """The bursts of all sites; what is known of one is kept in its PolledSite."""

    def __init__(
        self,
        settings: PollSettings,
        *,
        clock: Callable[[], float],
        note_rate_limit: Callable[[PolledAccount, CloudError], None],
    ) -> None:
        """`note_rate_limit` is told of every error and makes the account wait after a 429."""
        self._settings = settings
        self._clock = clock
        self._note_rate_limit = note_rate_limit

    def interval_seconds(self, site: PolledSite, account: PolledAccount) -> float:
        """The status interval that the account's budget allows this site now."""
        settings = self._settings
        left = account.left_for_polls(self._clock(), settings.max_requests_per_hour)
        ordinary = stretched_intervals(account.loads(settings), left)[site.rank]
        burst = site.burst
        if burst is None or self._is_over(burst) or not self._fits(site, account, burst):
            return ordinary
        return min(ordinary, settings.burst_interval_seconds)

    def begin(self, site: PolledSite, seconds: float, *, while_charging: bool = False) -> None:
        """Begin a burst that the cloud granted, or make the one under way longer."""
        if self._settings.live_stream != "never":
            site.burst = granted(site.burst, self._clock(), seconds, while_charging=while_charging)
            site.wake.set()

    def end(self, site: PolledSite) -> None:
        """End a burst whose live stream somebody has stopped; none is asked for again for a while."""
        site.burst = None
        site.next_burst_seconds = max(site.next_burst_seconds, self._clock() + _PAUSE_SECONDS)
        site.wake.set()

    async def follow(self, site: PolledSite, account: PolledAccount, before: Sequence[Charger]) -> None:
        """After a poll, begin, renew or stop as the settings want; `before` are the chargers before it."""
        burst = site.burst
        over = burst is not None and (
            self._is_over(burst) or (burst.while_charging and bool(site.up) and not site.is_charging)
        )
        if burst is not None and not over:
            return
        if self._wants_burst(site, before) and await self._ask(site, account):
            return
        if over:
            await self._stop(site, account)

    def may_follow_command(self, site: PolledSite, account: PolledAccount) -> bool:
        """Whether a live stream should be asked for now because of a command."""
        now, burst = self._clock(), site.burst
        is_covered = burst is not None and burst.until_seconds >= now + _COMMAND_SECONDS
        if self._settings.live_stream != "on_command" or is_covered or now < site.next_burst_seconds:
            return False
        return self._may_ask(account) and self._fits(site, account, self._next(site, now))

    def _wants_burst(self, site: PolledSite, before: Sequence[Charger]) -> bool:
        match self._settings.live_stream if site.up else "never":
            case "on_change":
                return has_changed(before, site.chargers)
            case "while_charging":
                return site.is_charging
        return False

    async def _ask(self, site: PolledSite, account: PolledAccount) -> bool:
        """Ask for a live stream if that may be; whether there is a burst now."""
        now = self._clock()
        if now < site.next_burst_seconds or not self._may_ask(account):
            return False
        site.next_burst_seconds = now + _PAUSE_SECONDS
        if not self._fits(site, account, self._next(site, now)):
            return False
        try:
            stream = await self.start_live_stream(site, account)
        except CloudError as error:
            log.debug("no live stream", extra={"site_id": site.site_id, "why": str(error)})
            return False
        site.next_burst_seconds = now + SHORTEST_BURST_PERIOD_SECONDS
        while_charging = self._settings.live_stream == "while_charging"
        self.begin(site, stream.duration_seconds, while_charging=while_charging)
        log.debug("burst", extra={"site_id": site.site_id, "granted_seconds": stream.duration_seconds})
        return True

    async def _stop(self, site: PolledSite, account: PolledAccount) -> None:
        """Forget the burst and tell the cloud; when that cannot be, the live stream ends by itself."""
        site.burst = None
        if not site.up or not self._may_ask(account):
            return
        try:
            await self.stop_live_stream(site, account)
        except CloudError as error:
            log.debug("live stream not stopped", extra={"site_id": site.site_id, "why": str(error)})

    async def start_live_stream(self, site: PolledSite, account: PolledAccount) -> LiveStream:
        """Ask the cloud for a live stream, but never for a login; raises CloudError.

        After a refusal the exporter does not ask by itself for hours, and never twice within a minute.
        """
        pause_end = self._clock() + SHORTEST_BURST_PERIOD_SECONDS
        site.next_burst_seconds = max(site.next_burst_seconds, pause_end)
        try:
            return await self._asked(site, account, account.client.start_live_stream)
        except CloudError as error:
            if isinstance(error, NotOffered) or error.status in _REFUSALS:
                site.next_burst_seconds = self._clock() + NOT_OFFERED_PAUSE_SECONDS
            raise

    async def stop_live_stream(self, site: PolledSite, account: PolledAccount) -> None:
        """Ask the cloud to end a live stream, but never for a login; raises CloudError."""
        await self._asked(site, account, account.client.stop_live_stream)

    async def _asked(self, site: PolledSite, account: PolledAccount, ask: Callable[[str], Awaitable[T]]) -> T:
        if not account.client.auth.works:
            raise LoginExpired("live_stream", "no login that works")
        try:
            return await ask(site.site_id)
        except CloudError as error:
            self._note_rate_limit(account, error)
            raise

    def _next(self, site: PolledSite, now: float) -> Burst:
        """The burst that another grant would probably make."""
        length = site.burst.granted_seconds if site.burst else LONGEST_BURST_SECONDS
        return granted(site.burst, now, length)

    def _is_over(self, burst: Burst) -> bool:
        return self._settings.live_stream == "never" or burst.until_seconds <= self._clock()

    def _may_ask(self, account: PolledAccount) -> bool:
        now = self._clock()
        return account.free_at(now, self._settings.max_requests_per_hour) <= now

    def _fits(self, site: PolledSite, account: PolledAccount, burst: Burst) -> bool:
        """Whether the budget leaves room for a site's burst beside those that began before it."""
        settings, loads = self._settings, account.loads(self._settings)
        bursts = {other.rank: other.burst for other in account.sites if other.burst}
        bursts = {rank: other for rank, other in bursts.items() if not self._is_over(other)} | {
            site.rank: burst
        }
        wanted = [
            (rank, other.load(loads[rank], settings.burst_interval_seconds))
            for rank, other in sorted(bursts.items(), key=lambda item: item[1].began_seconds)
        ]
        left = account.left_for_polls(self._clock(), settings.max_requests_per_hour)
        return site.rank in bursts_that_fit(loads, wanted, left)


def has_changed(before: Sequence[Charger], after: Sequence[Charger]) -> bool:
    """Whether the state of a charger changed from one known value to another.

    A charger that was not known before is no change, nor is a value that comes or goes: so it looks after a
    restart.
    """
    known = {charger.serial: charger for charger in before}
    return any(
        old is not None and new is not None and old != new
        for charger in after
        if charger.serial in known and charger is not known[charger.serial]
        for old, new in zip(_state(known[charger.serial]), _state(charger), strict=True)
    )


def _state(charger: Charger) -> tuple[object, ...]:
    connector = charger.connector_status
    return (
        charger.plugged_in,
        charger.charging,
        charger.faulted,
        None if connector is ConnectorStatus.UNKNOWN else connector,
    )
