"""The cars, what is drawn for them, and what the cloud sees of a charger: plain values."""

from dataclasses import dataclass

TAPER_SHARE = 0.10  # of the battery: below this much missing, the car asks for less and less
TAPER_FLOOR = 0.2
FINISHING_SHARE = 0.02

MANUAL = "MANUAL_CHARGING"
SCHEDULED = "SCHEDULED_CHARGING"
GREEN = "GREEN_CHARGING"
SMART = "SMART_CHARGING"
MODES = (MANUAL, SCHEDULED, GREEN, SMART)


@dataclass(slots=True)
class Car:
    """What stands at the charger: what it still takes, and how fast it can."""

    needs_wh: float
    capacity_wh: float
    max_amps: float
    phases: int
    leaves_at: float = float("inf")
    linger_seconds: float = float("inf")  # from full to unplugged

    @property
    def is_nearly_full(self) -> bool:
        """The last part of a charge, when little current flows."""
        return self.needs_wh < FINISHING_SHARE * self.capacity_wh

    @property
    def appetite(self) -> float:
        """Share of what the car could draw that it does draw: less and less near full."""
        return min(1.0, max(TAPER_FLOOR, self.needs_wh / (TAPER_SHARE * self.capacity_wh)))


@dataclass(frozen=True, slots=True)
class Habits:
    """Ranges a charger's automatic life is drawn from; None as mean time: never."""

    away_seconds: tuple[float, float]
    needs_wh: tuple[float, float]
    stay_seconds: tuple[float, float]
    linger_seconds: tuple[float, float]
    fault_every_seconds: float | None
    offline_every_seconds: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the cloud knows: flags at once, meter values as of the last report, nothing new while offline."""

    plugged_in: bool
    charging: bool
    faulted: bool
    connector_status: str
    connector_reason: str
    amps: int
    mode: str
    safe_limit: bool
    dlb_active: bool
    schedule_holds: bool
    energy_wh: float
    lifetime_wh: float
    started_at: float | None
    plugged_in_at: float | None
    plugged_out_at: float | None
    last_reported: float
