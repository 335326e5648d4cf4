"""Where simulated sites stand: mains, hardware sold there, local time and sun."""

import math
import random
from dataclasses import dataclass

DAY_SECONDS = 86400.0
SUN_SLOT_SECONDS = 900.0
SUNRISE_HOUR = 6.0
SUNSET_HOUR = 20.0


@dataclass(frozen=True, slots=True)
class Region:
    """Mains and charger model of a part of the world; volts are per phase conductor."""

    timezone: str
    utc_offset_hours: float
    volts: float
    phases: int
    wiring: tuple[str, ...]
    grid_type: int
    min_amps: int
    max_amps: int
    model: str
    sku_scope: str
    part_number: str
    solar_peak_watts: float


REGIONS = (
    Region(
        "Europe/London", 0, 230.0, 1, ("L1",), 2, 6, 32, "IQ-EVSE-EU-3032", "GEN2_EU", "865-02030 09", 7500.0
    ),
    Region(
        "Europe/Berlin",
        1,
        230.0,
        3,
        ("L1", "L2", "L3", "N"),
        4,
        6,
        32,
        "IQ-EVSE-EU-3032",
        "GEN2_EU",
        "865-02030 09",
        16000.0,
    ),
    Region(
        "America/Los_Angeles",
        -8,
        240.0,
        1,
        ("L1", "L2"),
        2,
        6,
        48,
        "IQ-EVSE-NA-1060",
        "GEN2_NA",
        "865-02013 05",
        9600.0,
    ),
)


def local_hour(region: Region, at: float) -> float:
    """Hour of the day, 0 to 24, at epoch seconds `at`; no summer time."""
    return (at / 3600.0 + region.utc_offset_hours) % 24.0


class Sky:
    """The sun over one site: a clear-day curve, and clouds that change every quarter of an hour."""

    def __init__(self, region: Region, seed: str) -> None:
        self._region = region
        self._seed = seed
        self._slot = -1
        self._clearness = 1.0

    def solar_watts(self, at: float) -> float:
        """What the roof gives at epoch seconds `at`; a function of seed and time alone."""
        hour = local_hour(self._region, at)
        if not SUNRISE_HOUR < hour < SUNSET_HOUR:
            return 0.0
        slot = int(at // SUN_SLOT_SECONDS)
        if slot != self._slot:
            self._slot = slot
            self._clearness = random.Random(f"{self._seed}:{slot}").uniform(0.25, 1.0)  # noqa: S311 (weather)
        height = math.sin(math.pi * (hour - SUNRISE_HOUR) / (SUNSET_HOUR - SUNRISE_HOUR))
        return self._region.solar_peak_watts * height * self._clearness
