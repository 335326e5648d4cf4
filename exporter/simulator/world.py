"""The simulated world: sites and their chargers from a seed, on a clock that may run fast. No HTTP.

A charger is brought up to date when it is read, in steps of fixed length, so the same seed and the same
times give the same life however often and in whatever order anybody looks.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.simulator.charger import SimCharger
from exporter.simulator.regions import DAY_SECONDS, REGIONS, Region, Sky
from exporter.simulator.vehicle import GREEN, MANUAL, SCHEDULED, Car, Habits

FIRST_SITE = 1234567
FIRST_SERIAL = 482500000017
HOUR_SECONDS = 3600.0
MINUTE_SECONDS = 60.0
SITE_TITLES = ("Main Site", "Lake House", "Workshop", "Office Parking", "Harbour")

__all__ = ["Car", "SimCharger", "SimSite", "World", "WorldConfig", "demo_world_config"]


@dataclass(frozen=True)
class WorldConfig:
    """What to simulate.

    chargers: per site; a sequence is gone through again and again, an int is for every site.
    start_seconds: epoch; None is the clock's own now. modes: charge modes given out in turn; None draws
    them. busy: cars come often and half of the chargers have one from the start.
    fault_every_seconds, offline_every_seconds: mean times between troubles of one charger; None is never.
    """

    seed: int = 1
    sites: int = 2
    chargers: Sequence[int] | int = (1, 2)
    speed: float = 1.0
    start_seconds: float | None = None
    reporting_interval_seconds: float = 300.0
    busy: bool = False
    modes: Sequence[str] | None = None
    fault_every_seconds: float | None = 10 * DAY_SECONDS
    offline_every_seconds: float | None = 3 * DAY_SECONDS


def demo_world_config(seed: int = 7) -> WorldConfig:
    """Two sites, three chargers, twelve hours in three minutes."""
    return WorldConfig(
        seed=seed,
        speed=240.0,
        reporting_interval_seconds=60.0,
        busy=True,
        modes=(MANUAL, MANUAL, GREEN),
        fault_every_seconds=12 * HOUR_SECONDS,
        offline_every_seconds=12 * HOUR_SECONDS,
    )


@dataclass(frozen=True)
class SimSite:
    """A place with mains, a roof and chargers, by serial."""

    site_id: str
    name: str
    region: Region
    sky: Sky
    chargers: dict[str, SimCharger]

    def advance(self, until: float) -> None:
        """Brings every charger here up to `until`."""
        for charger in self.chargers.values():
            charger.advance(until)


class World:
    """Everything there is. `clock` is real time in seconds; simulated time starts where it stands now."""

    def __init__(self, config: WorldConfig, clock: Callable[[], float] = time.time) -> None:
        self.config = config
        self._clock = clock
        self._origin = clock()
        self.start = self._origin if config.start_seconds is None else config.start_seconds
        self.sites: dict[str, SimSite] = {}
        self.chargers: dict[str, SimCharger] = {}
        for index in range(config.sites):
            self._add_site(index)

    def now(self) -> float:
        """Simulated epoch seconds."""
        return self.start + (self._clock() - self._origin) * self.config.speed

    def advance(self) -> None:
        """Brings every charger up to now()."""
        now = self.now()
        for site in self.sites.values():
            site.advance(now)

    def site(self, site_id: str) -> SimSite | None:
        """The site, its chargers up to date; None when there is none of that id."""
        site = self.sites.get(site_id)
        if site is not None:
            site.advance(self.now())
        return site

    def charger(self, serial: str) -> SimCharger:
        """The charger, up to date; KeyError when there is none of that serial."""
        charger = self.chargers[serial]
        charger.advance(self.now())
        return charger

    def _add_site(self, index: int) -> None:
        region = REGIONS[(index + self.config.seed) % len(REGIONS)]
        site_id = str(FIRST_SITE + index)
        title = SITE_TITLES[index % len(SITE_TITLES)]
        site = SimSite(
            site_id,
            title if index < len(SITE_TITLES) else f"{title} {index + 1}",
            region,
            Sky(region, f"{self.config.seed}:{site_id}"),
            {},
        )
        self.sites[site_id] = site
        counts = self.config.chargers
        for _ in range(counts if isinstance(counts, int) else counts[index % len(counts)]):
            self._add_charger(site)

    def _add_charger(self, site: SimSite) -> None:
        index = len(self.chargers)
        serial = str(FIRST_SERIAL + index)
        rng = random.Random(f"{self.config.seed}:{serial}")  # noqa: S311 (a car's habits, not a secret)
        modes = self.config.modes
        drawn = rng.choices((MANUAL, SCHEDULED, GREEN), (6, 2, 2))[0]
        begins_with_car = rng.random() < 0.4
        charger = SimCharger(
            serial,
            f"IQ EV Charger_{serial[-4:]}",
            site_id=site.site_id,
            region=site.region,
            habits=_habits(self.config),
            reporting_interval_seconds=self.config.reporting_interval_seconds,
            mode=modes[index % len(modes)] if modes else drawn,
            car_at_start=index % 2 == 0 if self.config.busy else begins_with_car,
            rng=rng,
            start=self.start,
            now=self.now,
            solar_watts=site.sky.solar_watts,
        )
        site.chargers[serial] = charger
        self.chargers[serial] = charger


def _habits(config: WorldConfig) -> Habits:
    if config.busy:
        return Habits(
            away_seconds=(10 * MINUTE_SECONDS, 40 * MINUTE_SECONDS),
            needs_wh=(6_000, 14_000),
            stay_seconds=(6 * HOUR_SECONDS, 9 * HOUR_SECONDS),
            linger_seconds=(10 * MINUTE_SECONDS, 40 * MINUTE_SECONDS),
            fault_every_seconds=config.fault_every_seconds,
            offline_every_seconds=config.offline_every_seconds,
        )
    return Habits(
        away_seconds=(4 * HOUR_SECONDS, 16 * HOUR_SECONDS),
        needs_wh=(8_000, 45_000),
        stay_seconds=(6 * HOUR_SECONDS, 14 * HOUR_SECONDS),
        linger_seconds=(30 * MINUTE_SECONDS, 4 * HOUR_SECONDS),
        fault_every_seconds=config.fault_every_seconds,
        offline_every_seconds=config.offline_every_seconds,
    )
