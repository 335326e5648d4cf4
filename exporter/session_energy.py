"""What session energy a status answer tells, in kWh: its unit settled, and checked against physics.

The flat shape gives a figure without a unit; the parser hands over both readings, the likelier first. The
first figure of a plug-in is taken as the parser likes it best, each further one in the unit taken before, so
that 150, 180, 210 Wh never jump by a thousand. Where physics refutes a reading, or it leaves the course of
the session, and the other unit fits, that unit holds from there on: a charger that changes units is followed.
"""

import math
from typing import NamedTuple

from exporter.model import ChargerStatus, ChargerSummary

# The bound tells Wh from kWh, a factor of a thousand, so it can afford to be generous: no true reading may
# break it. The minutes cover two reporting intervals of 300 s and clocks that differ; a documented sample has
# 3.52 kWh in a session that began 123 s before.
TOLERANCE_RATIO, TOLERANCE_KWH, TOLERANCE_SECONDS = 1.10, 0.1, 600.0
AMPERES_MAX, VOLTS_MAX, KILOWATTS_MAX = 80.0, 250.0, 25.0  # above what any IQ EV Charger can do

FALL_RATIO = 0.5  # energy does not fall in a session: less than half of it is another unit, or a glitch
SAME_SECONDS = 2.0  # the flat shape cuts a start to whole seconds


class UnitReading(NamedTuple):
    """A figure read in one unit."""

    energy_kwh: float
    in_watt_hours: bool


class EnergyReading(NamedTuple):
    """What one charger's figure was taken for, kept to judge its next one."""

    energy_kwh: float | None = None  # None: not given, or implausible
    implausible: bool = False
    plug_seconds: float | None = None
    start_seconds: float | None = None
    in_watt_hours: bool | None = None  # the unit in this plug-in; None until a figure above zero told
    last_kwh: float | None = None  # the course: the last figure above zero since charging began, and its time
    last_seconds: float | None = None


def read_energy(
    before: EnergyReading | None,
    status: ChargerStatus,
    summary: ChargerSummary | None,
    now_seconds: float | None,
) -> EnergyReading:
    """Judge the energy of a status answer after the reading before it; `now_seconds` is the cloud's time."""
    known = before or EnergyReading()
    if status.session_energy_kwh is None:
        return known._replace(energy_kwh=None, implausible=False)
    readings = unit_readings(status.session_energy_kwh, status.session_energy_other_kwh)
    last = (known.last_kwh, known.in_watt_hours)
    if last in readings and not is_same_time(plug_time(status), known.plug_seconds):
        # Until a new session moves energy the cloud may go on telling the total of the one before.
        readings = [reading for reading in readings if reading == last]
    else:
        known = of_this_session(known, status)
    kilowatts = power_limit_kilowatts(summary)
    limit_kwh = session_limit_kwh(status, kilowatts, now_seconds)
    readings = [reading for reading in readings if reading.energy_kwh <= limit_kwh]
    if not readings:
        return known._replace(energy_kwh=None, implausible=True)
    energy_kwh, in_watt_hours = settled(readings, known, kilowatts, now_seconds)
    return EnergyReading(
        energy_kwh=energy_kwh,
        plug_seconds=known.plug_seconds,
        start_seconds=known.start_seconds,
        in_watt_hours=in_watt_hours if energy_kwh > 0 else known.in_watt_hours,
        last_kwh=energy_kwh or None,
        last_seconds=now_seconds,
    )


def unit_readings(energy_kwh: float, other_kwh: float | None) -> list[UnitReading]:
    """The figure in each unit it can be in, the likelier first; without another it is Wh."""
    if other_kwh is None:
        return [UnitReading(energy_kwh, True)]
    in_watt_hours = energy_kwh < other_kwh
    return [UnitReading(energy_kwh, in_watt_hours), UnitReading(other_kwh, not in_watt_hours)]


def of_this_session(known: EnergyReading, status: ChargerStatus) -> EnergyReading:
    """What still holds: the unit as long as the car is plugged in, the course while one charge goes on."""
    plug, start = plug_time(status), status.session_start_seconds
    if not is_same_time(plug, known.plug_seconds):
        return EnergyReading(plug_seconds=plug, start_seconds=start)
    if not is_same_time(start, known.start_seconds):
        return EnergyReading(plug_seconds=plug, start_seconds=start, in_watt_hours=known.in_watt_hours)
    return known


def settled(
    readings: list[UnitReading], known: EnergyReading, kilowatts: float, now_seconds: float | None
) -> UnitReading:
    """The reading to believe: the unit taken before, unless only the other keeps the course."""
    if len(readings) == 1:
        return readings[0]
    first, second = readings
    if known.in_watt_hours is not None and first.in_watt_hours is not known.in_watt_hours:
        first, second = second, first
    if known.last_kwh is None or known.last_seconds is None or now_seconds is None:
        return first
    elapsed_seconds = now_seconds - known.last_seconds
    floor_kwh = known.last_kwh * FALL_RATIO
    late_kwh = known.last_kwh + possible_kwh(kilowatts, elapsed_seconds + TOLERANCE_SECONDS)
    prompt_kwh = known.last_kwh + possible_kwh(kilowatts, elapsed_seconds)
    is_first_on_course = floor_kwh <= first.energy_kwh <= late_kwh
    is_second_on_course = floor_kwh <= second.energy_kwh <= prompt_kwh
    return second if is_second_on_course and not is_first_on_course else first


def session_limit_kwh(status: ChargerStatus, kilowatts: float, now_seconds: float | None) -> float:
    """What the session can hold at most; infinite when its length is not known.

    Charging may pause and begin again while the car stays plugged in, and whether the energy then goes on is
    not known: the earlier of plug-in and start counts.
    """
    begins = (status.session_start_seconds, status.session_plugged_in_seconds)
    begin = min((time for time in begins if time is not None), default=None)
    end, out = now_seconds, status.session_plugged_out_seconds
    if begin is None:
        return math.inf
    if out is not None and out > begin and status.plugged_in is not True:
        end = out
    return math.inf if end is None else possible_kwh(kilowatts, end - begin + TOLERANCE_SECONDS)


def possible_kwh(kilowatts: float, duration_seconds: float) -> float:
    """The energy that can flow in a time, with the tolerance."""
    return kilowatts * max(0.0, duration_seconds) / 3600 * TOLERANCE_RATIO + TOLERANCE_KWH


def power_limit_kilowatts(summary: ChargerSummary | None) -> float:
    """The charger's greatest power, with the greatest possible for what is not known of it."""
    if summary is None:
        return KILOWATTS_MAX
    amperes = max(summary.rated_amperes or 0.0, summary.max_amperes or 0.0) or AMPERES_MAX
    return min(KILOWATTS_MAX, kilowatts_at(summary, amperes))


def level_kilowatts(
    summary: ChargerSummary | None, level_amperes: float | None, limit_kilowatts: float
) -> float:
    """The power at the level that is set, where it is known; never above the limit."""
    if summary is None or level_amperes is None:
        return limit_kilowatts
    return min(limit_kilowatts, kilowatts_at(summary, level_amperes))


def kilowatts_at(summary: ChargerSummary, amperes: float) -> float:
    """The power at a current; three phases with neutral count as three times one phase."""
    volts = summary.operating_voltage_volts or VOLTS_MAX
    phases = float(summary.phases or 3)
    if phases == 3 and summary.has_neutral is False:
        phases = math.sqrt(3)  # the voltage is then that between lines
    return amperes * volts * phases / 1000


def plug_time(status: ChargerStatus) -> float | None:
    """When the car was plugged in, or, where that is not told, when charging began."""
    if status.session_plugged_in_seconds is None:
        return status.session_start_seconds
    return status.session_plugged_in_seconds


def is_same_time(one: float | None, other: float | None) -> bool:
    """Whether two times name the same moment; two unknown ones do."""
    if one is None or other is None:
        return one is other
    return abs(one - other) < SAME_SECONDS
