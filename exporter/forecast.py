"""How many requests an account will make an hour, and how far its sites are slowed to fit; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.asking import PollSettings
from exporter.schedule import (
    HOUR_SECONDS,
    LONGEST_BURST_SECONDS,
    Burst,
    SiteLoad,
    bursts_that_fit,
    stretched_intervals,
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """One account. `wanted_*` are requests an hour as configured; intervals are those the budget leaves.

    Idle: no car anywhere. Busy: a car at every site. `bursts_fitting` is how many sites can then have a live
    stream at once; None when the settings ask for none.
    """

    sites: int
    chargers: int
    budget_per_hour: int
    wanted_idle_per_hour: float
    wanted_busy_per_hour: float
    slow_per_hour: float  # summaries and charge modes, which are part of the above
    idle_interval_seconds: float
    busy_interval_seconds: float
    bursts_fitting: int | None = None

    @property
    def fits(self) -> bool:
        """Whether a car at every site slows nothing."""
        return max(self.wanted_idle_per_hour, self.wanted_busy_per_hour) <= self.budget_per_hour


def forecast(chargers_by_site: Sequence[int], settings: PollSettings) -> Forecast:
    """The forecast of an account with so many chargers at each of its sites."""
    idle, busy = (_loads(chargers_by_site, settings, active=active) for active in (False, True))
    budget = settings.max_requests_per_hour
    return Forecast(
        sites=len(chargers_by_site),
        chargers=sum(chargers_by_site),
        budget_per_hour=budget,
        wanted_idle_per_hour=_per_hour(idle),
        wanted_busy_per_hour=_per_hour(busy),
        slow_per_hour=sum(load.other_requests_per_hour for load in idle),
        idle_interval_seconds=max(stretched_intervals(idle, budget), default=settings.idle_interval_seconds),
        busy_interval_seconds=max(stretched_intervals(busy, budget), default=settings.interval_seconds),
        bursts_fitting=_bursts_fitting(busy, settings),
    )


def _loads(chargers_by_site: Sequence[int], settings: PollSettings, *, active: bool) -> list[SiteLoad]:
    """What each site wants, as the poller reckons it."""
    interval = settings.interval_seconds if active else settings.idle_interval_seconds
    return [SiteLoad(interval, active, settings.slow_requests_per_hour(count)) for count in chargers_by_site]


def _per_hour(loads: Sequence[SiteLoad]) -> float:
    return sum(HOUR_SECONDS / load.interval_seconds + load.other_requests_per_hour for load in loads)


def _bursts_fitting(busy: Sequence[SiteLoad], settings: PollSettings) -> int | None:
    if settings.live_stream not in ("on_change", "while_charging"):
        return None
    burst = Burst(0.0, LONGEST_BURST_SECONDS, LONGEST_BURST_SECONDS)
    bursts = [(place, burst.load(load, settings.burst_interval_seconds)) for place, load in enumerate(busy)]
    return len(bursts_that_fit(busy, bursts, settings.max_requests_per_hour))
