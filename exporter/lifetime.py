"""The charger's own lifetime figure, guarded: what dips, vanishes or jumps is held until it is confirmed.

For Prometheus a counter that dips by one sample is a false increase of the whole lifetime. So a figure that
falls, or rises faster than the charger can deliver, is only a candidate; two reports of the charger that
agree and lie apart make it believed. Pure.
"""

from msgspec.structs import replace

from exporter.model import Lifetime
from exporter.session_energy import TOLERANCE_SECONDS, possible_kwh

# Upstream's experience: smaller falls are noise of the figure, not of the charger.
JITTER_KWH = 0.02
# A replaced or reset charger shows a figure that is small, or at most half of the one before.
RESET_FALL_KWH, RESET_MOST_KWH, RESET_MOST_RATIO = 0.5, 5.0, 0.5
RESET_CONFIRMED_SECONDS = 180.0
# Any other odd figure has to stand for a day.
ODD_CONFIRMED_SECONDS = 86_400.0
# The cloud shows 0 for a figure it has lost; a charger that was reset shows more as soon as it charges.
NOTHING_KWH = 0.001


def fold_lifetime(
    lifetime: Lifetime, figure_kwh: float | None, reported_seconds: float, limit_kilowatts: float
) -> tuple[Lifetime, bool]:
    """Take in one figure and the charger's report it is of; also say whether it starts a new account.

    A repeated or older report changes nothing, and 0 is no figure.
    """
    if figure_kwh is None or figure_kwh <= NOTHING_KWH:
        return lifetime, False
    if lifetime.kwh is None or lifetime.reported_seconds is None:
        return Lifetime(figure_kwh, reported_seconds), False
    if reported_seconds <= lifetime.reported_seconds:
        return lifetime, False
    rise_kwh = figure_kwh - lifetime.kwh
    elapsed_seconds = reported_seconds - lifetime.reported_seconds
    if 0 <= rise_kwh <= possible_kwh(limit_kilowatts, elapsed_seconds + TOLERANCE_SECONDS):
        return Lifetime(figure_kwh, reported_seconds), False
    if -JITTER_KWH <= rise_kwh < 0:
        return replace(lifetime, candidate_kwh=None), False
    return _weighed(lifetime, figure_kwh, reported_seconds, limit_kilowatts)


def _weighed(
    lifetime: Lifetime, figure_kwh: float, reported_seconds: float, limit_kilowatts: float
) -> tuple[Lifetime, bool]:
    """Make the figure a candidate, or believe it when it agrees with a candidate old enough."""
    candidate = lifetime.candidate_kwh
    if candidate is not None and reported_seconds <= lifetime.candidate_last_seconds:
        return lifetime, False
    since_last = reported_seconds - lifetime.candidate_last_seconds
    agrees = candidate is not None and (
        -JITTER_KWH <= figure_kwh - candidate <= possible_kwh(limit_kilowatts, since_last + TOLERANCE_SECONDS)
    )
    if not agrees:
        fresh = replace(
            lifetime,
            candidate_kwh=figure_kwh,
            candidate_first_seconds=reported_seconds,
            candidate_last_seconds=reported_seconds,
        )
        return fresh, False
    stood_seconds = reported_seconds - lifetime.candidate_first_seconds
    if stood_seconds >= _confirmed_after_seconds(lifetime, figure_kwh):
        return Lifetime(figure_kwh, reported_seconds), True
    return replace(lifetime, candidate_kwh=figure_kwh, candidate_last_seconds=reported_seconds), False


def _confirmed_after_seconds(lifetime: Lifetime, figure_kwh: float) -> float:
    believed = lifetime.kwh or 0.0
    fall_kwh = believed - figure_kwh
    is_reset = fall_kwh >= RESET_FALL_KWH and (
        figure_kwh <= RESET_MOST_KWH or figure_kwh <= RESET_MOST_RATIO * believed
    )
    return RESET_CONFIRMED_SECONDS if is_reset else ODD_CONFIRMED_SECONDS
