"""Estimated power, from the energy that moved between two of the charger's own reports. Pure.

The cloud tells no power. Reckoning by the times of our polls instead of the charger's reports gave spikes of
30 kW, because many polls see one report; so nothing changes while no new report came.
"""

from exporter.model import Power, Reading

# A report may come before the figure moved: less than this is no news about power.
SMALLEST_KWH = 0.0005
_WATT_SECONDS_PER_KWH = 3_600_000.0


def fold_power(
    power: Power, reading: Reading, energy_kwh: float, reported_seconds: float | None, *, began: bool
) -> Power:
    """Take one reading into the estimate.

    `energy_kwh` is any running total of the charger's energy and `reported_seconds` the report it is of;
    `began` says that charging has begun with this reading, so that an older base would tell of a pause.
    """
    if reading.connected is False or reading.charging is None:
        return Power()
    if not reading.charging:
        return Power(watts=0.0)
    if reported_seconds is None:
        return power
    if power.base_seconds is None or power.base_kwh is None or began:
        return Power(None, energy_kwh, reported_seconds)
    elapsed_seconds = reported_seconds - power.base_seconds
    moved_kwh = energy_kwh - power.base_kwh
    if elapsed_seconds < 1.0 or moved_kwh <= SMALLEST_KWH:
        return power
    watts = moved_kwh * _WATT_SECONDS_PER_KWH / elapsed_seconds
    return Power(min(watts, reading.level_kilowatts * 1000), energy_kwh, reported_seconds)
