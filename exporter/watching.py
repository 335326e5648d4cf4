"""What control asks of the poller, and what the polls that follow a command show of a charger."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from exporter.model import Charger, LiveStream, Site

# A poll lasts up to its time-out; asking again before would not make it come sooner.
_ANSWER_SECONDS = 10.0


class Polling(Protocol):
    """What control asks of the poller."""

    def site(self, site_id: str) -> Site | None:
        """The newest that is known of a site, however old."""

    def sites_of(self, serial: str) -> tuple[Site, ...]:
        """Every site that has a charger of that serial."""

    def poll_soon(self, site_id: str, *, also: str = "") -> None:
        """Ask for status now, within backoff and budget; `also` for "charge_mode" or "summary" too."""

    async def polled(self, site_id: str, within_seconds: float, *, whole: bool = False) -> Site | None:
        """The site as the next status shows it whose poll began after this call; None when none came in time.

        `whole`: not before that poll has asked the slow endpoints too.
        """

    def mode_read_seconds(self, site_id: str, serial: str) -> float | None:
        """When the newest good read of the charger's preferred mode began, monotonic."""

    def status_age_seconds(self, site_id: str) -> float | None:
        """How long ago the newest good status arrived."""

    def commands_share(self, site_id: str) -> float:
        """The share of the hourly budget that commands to the site's account were in the last hour."""

    def backoff_seconds(self, site_id: str) -> float:
        """How long the site's account must still wait after a 429."""

    def rate_limited(self, site_id: str, retry_after_seconds: float | None) -> None:
        """Make the site's account wait: a command was answered by 429."""

    def may_burst(self, site_id: str) -> bool:
        """Whether rapid updates are worth asking for: wanted, offered, within budget, not under way."""

    def begin_burst(self, site_id: str, seconds: float) -> None:
        """Poll faster for so long."""

    def end_burst(self, site_id: str) -> None:
        """Poll as usual."""

    async def start_live_stream(self, site_id: str) -> LiveStream:
        """Ask the cloud for rapid updates; raises CloudError."""

    async def stop_live_stream(self, site_id: str) -> None:
        """Ask the cloud to end rapid updates; raises CloudError."""


def charger_in(site: Site | None, serial: str) -> Charger | None:
    """The charger of that serial."""
    return next((charger for charger in site.chargers if charger.serial == serial), None) if site else None


class Watching:
    """Watches what status shows of one charger."""

    def __init__(
        self,
        polling: Callable[[], Polling],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._polling = polling  # asked each time: a reloaded config brings another one
        self._clock = clock
        self._sleep = sleep

    def known(self, site_id: str, serial: str) -> Charger | None:
        """The newest that is known of a charger."""
        return charger_in(self._polling().site(site_id), serial)

    def mode_read_since(self, site_id: str, serial: str, since_seconds: float) -> bool:
        """Whether the charger's mode was read since then."""
        read_seconds = self._polling().mode_read_seconds(site_id, serial)
        return read_seconds is not None and read_seconds >= since_seconds

    async def watch(
        self,
        site_id: str,
        serial: str,
        is_seen: Callable[[Charger], bool],
        *,
        asks: Iterable[float],
        end_seconds: float,
        also: str = "",
    ) -> bool:
        """Show every new good status to `is_seen`, until it is seen or the end has come.

        Polls go on anyway; at `asks` one is asked for. All moments are of the clock.
        """
        moments = deque(sorted(asks))
        while (now := self._clock()) < end_seconds:
            patience = 0.0
            while moments and moments[0] <= now:
                moments.popleft()
                patience = _ANSWER_SECONDS
            if patience:
                self._polling().poll_soon(site_id, also=also)
            pause_end = min(end_seconds, max(moments[0] if moments else end_seconds, now + patience))
            site = await self._polling().polled(site_id, pause_end - now, whole=bool(also))
            if site is None:
                await self._sleep(max(0.0, pause_end - self._clock()))
                continue
            # For a while the cloud lists no charger at all: then those shown are of the status before.
            charger = charger_in(site, serial) if site.up and site.status_listed else None
            if charger is not None and is_seen(charger):
                return True
        return False

    async def fresh(
        self, site_id: str, serial: str, within_seconds: float = _ANSWER_SECONDS
    ) -> Charger | None:
        """The charger in a status asked for now; None when none came in time."""
        seen: list[Charger] = []

        def keep(charger: Charger) -> bool:
            seen.append(charger)
            return True

        now = self._clock()
        await self.watch(site_id, serial, keep, asks=(now,), end_seconds=now + within_seconds)
        return seen[0] if seen else None
