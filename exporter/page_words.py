"""What a person would say of chargers, times and amounts: plain text, pure.

Nothing here is HTML, and nothing is guessed: a value the cloud did not give is "not known".
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum

from exporter.model import ChargeMode, Charger, ConnectorStatus, Site

NOT_KNOWN = "not known"

_STATES = {
    ConnectorStatus.AVAILABLE: "available",
    ConnectorStatus.PREPARING: "preparing",
    ConnectorStatus.CHARGING: "charging",
    ConnectorStatus.FINISHING: "finishing",
    ConnectorStatus.SUSPENDED: "paused",
    ConnectorStatus.SUSPENDED_EV: "paused by the car",
    ConnectorStatus.SUSPENDED_EVSE: "held back by the charger",
    ConnectorStatus.RESERVED: "reserved",
    ConnectorStatus.UNAVAILABLE: "unavailable",
    ConnectorStatus.FAULTED: "faulted",
    ConnectorStatus.UNKNOWN: "unknown",
}
_SPEAK_OF_A_CAR = (
    ConnectorStatus.SUSPENDED,
    ConnectorStatus.SUSPENDED_EV,
    ConnectorStatus.SUSPENDED_EVSE,
)
_REASONS = {"INSUFFICIENT_SOLAR": "not enough sun"}
_MODES = {
    ChargeMode.MANUAL_CHARGING: "manual",
    ChargeMode.SCHEDULED_CHARGING: "by schedule",
    ChargeMode.GREEN_CHARGING: "green (own solar power)",
    ChargeMode.SMART_CHARGING: "smart",
    ChargeMode.UNKNOWN: "one the exporter does not know",
}


class Tone(StrEnum):
    """What a state means to its owner, most pressing first: the order of cards, the colour beside them."""

    FAULT = "fault"
    CHARGING = "charging"
    WAITING = "waiting"
    FREE = "free"
    OFFLINE = "offline"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Moment:
    """When a page is made: the snapshot's monotonic clock, epoch seconds, and the zone of times in words.

    A `zone` of None is the local zone of the machine.
    """

    monotonic: float
    wall: float
    zone: tzinfo | None = None

    def clock_time(self, seconds: float, form: str = "%H:%M %Z") -> str:
        """`14:05 CEST` on the page's own day; `Fri 1 May 14:05 CEST` on another."""
        then, here = (
            datetime.fromtimestamp(moment, UTC).astimezone(self.zone) for moment in (seconds, self.wall)
        )
        day = "" if then.date() == here.date() else f"{then:%a} {then.day} {then:%b} "
        year = "" if abs(seconds - self.wall) < 300 * 86400 else f"{then.year} "
        return f"{day}{year}{then:{form}}"

    def status_age_seconds(self, site: Site) -> float | None:
        """How long ago the newest good status of a site came."""
        received = site.status_received_monotonic
        return None if received is None else max(0.0, self.monotonic - received)

    def cloud_seconds(self, site: Site) -> float:
        """What the cloud's own clock says now, so that a wrong clock on either side does not show."""
        age_seconds = self.status_age_seconds(site)
        if site.status_timestamp_seconds is None or age_seconds is None:
            return self.wall
        return site.status_timestamp_seconds + age_seconds


def tone(charger: Charger) -> Tone:
    """What the charger's state means to its owner."""
    status = charger.connector_status
    if charger.connected is False:
        return Tone.OFFLINE
    if charger.faulted or status is ConnectorStatus.FAULTED:
        return Tone.FAULT
    if charger.charging:
        return Tone.CHARGING
    if charger.plugged_in or status in (ConnectorStatus.RESERVED, ConnectorStatus.UNAVAILABLE):
        return Tone.WAITING
    return Tone.FREE if status is ConnectorStatus.AVAILABLE else Tone.UNKNOWN


def most_pressing_first(chargers: Iterable[Charger]) -> list[Charger]:
    """Faulted and charging first; by name and serial within."""
    order = {tone: place for place, tone in enumerate(Tone)}
    return sorted(chargers, key=lambda one: (order[tone(one)], _in_order(one.name or ""), one.serial))


def _in_order(name: str) -> list[tuple[int, str]]:
    """A key by which Bay 2 comes before Bay 10."""
    parts = re.findall(r"([0-9]{1,18})|([^0-9]+)", name.casefold())
    return [(int(number), "") if number else (0, letters) for number, letters in parts]


def state_in_words(charger: Charger) -> str:
    """What a person would say of the charger; the raw text of a state the exporter does not know."""
    if charger.connected is False:
        return "offline"
    status = charger.connector_status or ConnectorStatus.UNKNOWN
    words = [charger.connector_status_raw or _STATES[status]]
    if charger.connector_status_reason:
        words.append(_REASONS.get(charger.connector_status_reason, charger.connector_status_reason))
    if charger.faulted and status is not ConnectorStatus.FAULTED:
        words.append("faulted")
    if charger.plugged_in and not charger.charging and status not in _SPEAK_OF_A_CAR:
        words.append("plugged in")
    return ", ".join(words)


def mode_in_words(charger: Charger) -> str:
    """The mode the owner prefers, and the one that runs where it is another."""
    preferred, running = charger.charge_mode, charger.running_charge_mode
    if preferred is None or running is None:
        known = preferred or running
        return NOT_KNOWN if known is None else _MODES[known]
    if preferred is running:
        return _MODES[preferred]
    return f"{_MODES[preferred]}; running now: {_MODES[running]}"


def one_mode_in_words(mode: ChargeMode | None) -> str:
    """A mode by itself."""
    return NOT_KNOWN if mode is None else _MODES[mode]


def power_in_words(watts: float | None) -> str:
    """`about 7.2 kW (estimated)`; `none` when no power flows."""
    if watts is None:
        return NOT_KNOWN
    return "none" if watts <= 0 else f"about {kilowatts(watts)} (estimated)"


def kilowatts(watts: float) -> str:
    """`7.2 kW`, `850 W`."""
    return f"{watts:.0f} W" if watts < 995 else f"{watts / 1000:.1f} kW"


def energy_in_words(energy_kwh: float | None) -> str:
    """`3.07 kWh`, `1,234.6 kWh`."""
    if energy_kwh is None:
        return NOT_KNOWN
    return f"{energy_kwh:.2f} kWh" if energy_kwh < 100 else f"{energy_kwh:,.1f} kWh"


def amperes_in_words(amperes: float | None) -> str:
    """`16 A`."""
    return NOT_KNOWN if amperes is None else f"{amperes:g} A"


def limits_in_words(charger: Charger) -> str:
    """`6 to 32 A of 40 A` with what the circuit is rated for; the voltage where it is known."""
    low, high, rated = charger.min_amperes, charger.max_amperes, charger.rated_amperes
    if low is None and high is None:
        words = NOT_KNOWN if rated is None else f"rated {rated:g} A"
    elif low is None or high is None:
        words = f"from {low:g} A" if high is None else f"up to {high:g} A"
    else:
        words = f"{low:g} to {high:g} A"
    if rated is not None and high is not None and rated != high:
        words += f", rated {rated:g} A"
    volts = charger.operating_voltage_volts
    return words if volts is None else f"{words}, {volts:g} V"


def sum_in_words(amounts: Sequence[float | None], word: str) -> str:
    """A sum in the words of `word` ("power" or "energy"); says for how many it stands when not for all."""
    known = [amount for amount in amounts if amount is not None]
    if not known:
        return NOT_KNOWN
    words = power_in_words(sum(known)) if word == "power" else energy_in_words(sum(known))
    missing = len(amounts) - len(known)
    return words if not missing else f"{words}; {missing} of {len(amounts)} not known"


def count_in_words(count: int, one: str, many: str | None = None) -> str:
    """`1 charger`, `3 chargers`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """`40 s`, `3 min`, `2 h 5 min`, `4 days`."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def sentence(words: str) -> str:
    """With a capital letter."""
    return words[:1].upper() + words[1:]


def ago(seconds: float) -> str:
    """`just now`, `3 min ago`."""
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"
