"""Follows the charging session that the cloud tells of: what it adds, when it begins and when it is over.

A session is known by its plug-in and start. The cloud's figure for it repeats, falls back for a poll, keeps
the total of the session before until the new one moves energy, and arrives late; none of that may count
energy twice, and none of it may lose any. Pure.

    same start, less energy                     a glitch: nothing
    same start, more energy                     the difference
    the energy of the session before            a glitch, or this one has not moved energy yet: nothing
    earlier start                               an old answer: nothing
    later start, same plug-in, energy goes on   a pause within one session: the difference
    later start, same plug-in, no energy        a glitch or a new session: nothing before the next figure
    later start, less energy                    a new session: all of it
    later plug-in                               a new session: all of it, if it can have flowed since
    more than can have flowed since the start   a start that moved by itself: the difference
"""

from dataclasses import dataclass

from msgspec.structs import replace

from exporter.model import ChargingSession, Reading
from exporter.session_energy import SAME_SECONDS, TOLERANCE_SECONDS, is_same_time, possible_kwh

SAME_KWH = 1e-6
# The same figure in another shape: the flat one rounds to 1 Wh.
ROUNDED_KWH = 0.0006


@dataclass(frozen=True, slots=True)
class Step:
    """What one reading did: the session now, energy that is new, a session begun, and one that is over."""

    session: ChargingSession | None
    added_kwh: float = 0.0
    began: bool = False
    ended: ChargingSession | None = None


def fold_session(session: ChargingSession | None, reading: Reading, watched_since_seconds: float) -> Step:
    """Take one reading into the session known so far."""
    if session is None:
        return _first_seen(reading, watched_since_seconds)
    start, begun = reading.session_start_seconds, session.segment_start_seconds
    if start is None:  # plugged in, perhaps, but not charging yet: the figure is still the old session's
        return Step(session)
    if is_same_time(start, begun):
        return _continued(session, reading)
    if begun is not None and start < begun:
        return Step(session)
    if _is_new_plug(session, reading):
        return _new_plug(session, reading)
    return _new_segment(session, reading)


def shows_all(session: ChargingSession | None, reading: Reading) -> bool:
    """Whether the reading's figure is that of the session as it is known, neither missing nor a glitch."""
    if session is None:  # none was ever told of: nothing is all there is
        return True
    energy, start = reading.session_energy_kwh, reading.session_start_seconds
    if energy is None or start is None or not is_same_time(start, session.segment_start_seconds):
        return False
    if (
        energy <= SAME_KWH and reading.plugged_in is not False
    ):  # true in the report of the start, else perhaps
        return reading.reported_seconds is not None and reading.reported_seconds < start + SAME_SECONDS
    return abs(energy - session.energy_kwh) <= ROUNDED_KWH


def _first_seen(reading: Reading, watched_since_seconds: float) -> Step:
    """A session that began under our eyes counts in full; of an earlier one only what it grows by."""
    start, energy = reading.session_start_seconds, reading.session_energy_kwh
    if start is None:
        return Step(None)
    if start >= watched_since_seconds:
        return _begun(reading, energy or 0.0, None)
    if energy is None:  # what it will grow from is not known yet
        return Step(None)
    return Step(replace(_fresh(reading, energy), finished=reading.plugged_in is not True))


def _begun(
    reading: Reading, energy_kwh: float, ended: ChargingSession | None, stale_kwh: float | None = None
) -> Step:
    if stale_kwh is None and ended is not None:
        stale_kwh = _shown_kwh(ended)
    session = replace(_fresh(reading, energy_kwh), stale_kwh=stale_kwh or None)
    return Step(session, energy_kwh, began=True, ended=ended)


def _fresh(reading: Reading, energy_kwh: float) -> ChargingSession:
    return ChargingSession(
        start_seconds=reading.session_start_seconds,
        segment_start_seconds=reading.session_start_seconds,
        plugged_in_seconds=reading.session_plugged_in_seconds,
        energy_kwh=energy_kwh,
    )


def _shown_kwh(session: ChargingSession) -> float:
    """The total that the cloud may go on showing: of a session without energy, the one before's."""
    return session.energy_kwh if session.energy_kwh > SAME_KWH else session.stale_kwh or 0.0


def _is_stale(session: ChargingSession, energy_kwh: float) -> bool:
    return session.stale_kwh is not None and _is_same_figure(energy_kwh, session.stale_kwh)


def _is_same_figure(one_kwh: float, other_kwh: float) -> bool:
    """Whether two figures are one, told perhaps in two shapes, of which the flat one has whole Wh only."""
    if abs(one_kwh - other_kwh) <= SAME_KWH:
        return one_kwh > SAME_KWH
    is_rounded = any(abs(kwh - round(kwh, 3)) <= SAME_KWH for kwh in (one_kwh, other_kwh))
    return is_rounded and abs(one_kwh - other_kwh) <= ROUNDED_KWH


def _continued(session: ChargingSession, reading: Reading) -> Step:
    """The session that is known: count what its figure grew by."""
    energy = reading.session_energy_kwh
    if energy is None or _is_stale(session, energy):
        return Step(session)
    if energy < session.energy_kwh - SAME_KWH and session.may_reset:
        return _begun(reading, energy, session)
    added = _added_kwh(session, reading, energy)
    if added <= 0:
        return Step(session)
    may_reset = session.may_reset and added <= SAME_KWH
    return Step(replace(session, energy_kwh=max(energy, session.energy_kwh), may_reset=may_reset), added)


def _added_kwh(session: ChargingSession, reading: Reading, energy_kwh: float) -> float:
    """What a figure adds; the first one of a session is held to what can have flowed since its start."""
    if session.energy_kwh > SAME_KWH or session.stale_kwh is None or _can_have_flowed(reading, energy_kwh):
        return max(0.0, energy_kwh - session.energy_kwh)
    return max(0.0, energy_kwh - session.stale_kwh)


def _new_plug(session: ChargingSession, reading: Reading) -> Step:
    energy = reading.session_energy_kwh
    if energy is None:
        return _begun(reading, 0.0, session)
    if _is_same_figure(energy, session.energy_kwh) or _is_stale(session, energy):
        return _begun(reading, 0.0, session, stale_kwh=energy)
    if _can_have_flowed(reading, energy):
        return _begun(reading, energy, session)
    if energy < _shown_kwh(session):
        return _begun(reading, 0.0, session)
    return _new_segment(session, reading)


def _new_segment(session: ChargingSession, reading: Reading) -> Step:
    energy, start = reading.session_energy_kwh, reading.session_start_seconds
    moved = replace(session, segment_start_seconds=start, may_reset=True, finished=False)
    if energy is None or energy <= SAME_KWH or _is_stale(session, energy):
        return Step(moved)
    if energy < session.energy_kwh - SAME_KWH:
        return _begun(reading, energy, session)
    added = max(0.0, energy - session.energy_kwh)
    return Step(replace(moved, energy_kwh=session.energy_kwh + added, may_reset=added <= SAME_KWH), added)


def _can_have_flowed(reading: Reading, energy_kwh: float) -> bool:
    """Whether the charger can have delivered it since the session began, by the latest clock there is."""
    start = reading.session_start_seconds
    if start is None:
        return True
    latest = max(reading.at_seconds, reading.reported_seconds or 0.0)
    return energy_kwh <= possible_kwh(reading.limit_kilowatts, max(0.0, latest - start) + TOLERANCE_SECONDS)


def _is_new_plug(session: ChargingSession, reading: Reading) -> bool:
    told, known = reading.session_plugged_in_seconds, session.plugged_in_seconds
    if told is None or known is None:  # then a car that was seen to leave says it
        return session.finished
    return not is_same_time(told, known) and told > known
