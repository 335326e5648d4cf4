"""The durable accounts of a charger, as a pure fold: (ledger, reading) → (ledger, finished sessions).

No clock of its own: time is the cloud's, as the readings tell it. Readings that are repeated or come out of
order change nothing, and no account ever goes down.
"""

from msgspec.structs import replace

from exporter.charging import Step, fold_session
from exporter.energy import with_energy
from exporter.model import ChargingSession, FinishedSession, Ledger, Reading
from exporter.power import fold_power

# An older reading changes nothing, until so many in a row show that the cloud's clock was set back.
_BACKWARD_BELIEVED = 3
TIME_WORTH_SECONDS = 300.0


def opened(reading: Reading, watched_since_seconds: float | None = None) -> Ledger:
    """The ledger of a charger seen for the first time; of its site we know since `watched_since_seconds`."""
    since = reading.at_seconds if watched_since_seconds is None else watched_since_seconds
    return Ledger(watched_since_seconds=since)


def fold(
    ledger: Ledger, reading: Reading, *, gap_seconds: float = 300.0
) -> tuple[Ledger, tuple[FinishedSession, ...]]:
    """Take one reading into the accounts; return them and the charging sessions to be recorded.

    `gap_seconds` is the longest time between two readings that counts as time in a state.
    """
    if _is_old(ledger, reading):
        return replace(ledger, backward_readings=ledger.backward_readings + 1), ()
    passed_seconds = min(_since(ledger, reading), gap_seconds)
    step = fold_session(ledger.session, reading, ledger.watched_since_seconds)
    session_kwh = ledger.session_kwh + step.added_kwh
    shown = replace(ledger, session=step.session, session_kwh=session_kwh)
    after = with_energy(shown, reading, step.added_kwh)
    reported, total_kwh = _power_source(after, reading)
    power = fold_power(
        ledger.power, reading, total_kwh, reported, began=step.began or ledger.charging is not True
    )
    charged_seconds = passed_seconds if ledger.charging else 0.0
    session = _with_time(step.session, reading, charged_seconds, power.watts)
    after = replace(
        after,
        sessions=ledger.sessions + step.began,
        faults=ledger.faults + (reading.faulted is True and ledger.faulted is False),
        charging_seconds=ledger.charging_seconds + charged_seconds,
        plugged_in_seconds=ledger.plugged_in_seconds + (passed_seconds if ledger.plugged_in else 0.0),
        session=session,
        power=power,
        at_seconds=reading.at_seconds,
        backward_readings=0,
        plugged_in=reading.plugged_in,
        charging=reading.charging,
        faulted=ledger.faulted if reading.faulted is None else reading.faulted,
    )
    return _with_record(after, reading, step, ledger.session)


def _is_old(ledger: Ledger, reading: Reading) -> bool:
    at = ledger.at_seconds
    return at is not None and reading.at_seconds < at and ledger.backward_readings + 1 < _BACKWARD_BELIEVED


def _since(ledger: Ledger, reading: Reading) -> float:
    return 0.0 if ledger.at_seconds is None else max(0.0, reading.at_seconds - ledger.at_seconds)


def is_worth_saving(before: Ledger, after: Ledger) -> bool:
    """Whether more changed than the clock: an idle charger is not written at every poll.

    Time in a state, which changes at every poll of a car plugged in, waits for `TIME_WORTH_SECONDS` of it or
    for something else to write; energy comes with the charger's reports, some five minutes apart.
    """
    if after.plugged_in_seconds - before.plugged_in_seconds >= TIME_WORTH_SECONDS:
        return True
    if after.charging_seconds - before.charging_seconds >= TIME_WORTH_SECONDS:
        return True
    quiet = replace(
        after,
        at_seconds=before.at_seconds,
        backward_readings=before.backward_readings,
        reports=before.reports,
        lifetime=replace(after.lifetime, reported_seconds=before.lifetime.reported_seconds),
        plugged_in_seconds=before.plugged_in_seconds,
        charging_seconds=before.charging_seconds,
        session=_without_time(after.session, before.session),
    )
    return quiet != before


def _without_time(after: ChargingSession | None, before: ChargingSession | None) -> ChargingSession | None:
    if after is None or before is None:
        return after
    return replace(after, charging_seconds=before.charging_seconds, end_seconds=before.end_seconds)


def _power_source(ledger: Ledger, reading: Reading) -> tuple[float | None, float]:
    """The report and the running total that power is reckoned from: the session's, else the lifetime's."""
    if reading.reported_seconds is not None:
        return reading.reported_seconds, ledger.session_kwh
    return ledger.lifetime.reported_seconds, ledger.lifetime.kwh or 0.0


def _with_time(
    session: ChargingSession | None, reading: Reading, charged_seconds: float, watts: float | None
) -> ChargingSession | None:
    """The session with its time, peak, mode and cost; those of a session that is over stay."""
    if session is None or session.finished:
        return session
    peaks = [peak for peak in (session.peak_watts, watts) if peak]
    return replace(
        session,
        charging_seconds=session.charging_seconds + charged_seconds,
        end_seconds=reading.at_seconds if reading.charging else session.end_seconds,
        peak_watts=max(peaks, default=None),
        mode=reading.running_charge_mode or session.mode,
        cost=session.cost if reading.session_cost is None else reading.session_cost,
        plugged_out_seconds=_plugged_out(session, reading),
    )


def _plugged_out(session: ChargingSession, reading: Reading) -> float | None:
    """The time of unplugging, when it is this session's: the cloud leaves the last one standing."""
    out = reading.session_plugged_out_seconds
    if (
        out is None
        or reading.plugged_in is True
        or session.start_seconds is None
        or out < session.start_seconds
    ):
        return session.plugged_out_seconds
    return out


def _with_record(
    ledger: Ledger, reading: Reading, step: Step, before: ChargingSession | None
) -> tuple[Ledger, tuple[FinishedSession, ...]]:
    """Record a session that another has followed, and one whose car is gone; again when it still grows."""
    records = []
    if step.ended is not None and not step.ended.finished:
        records.append(_record(reading, step.ended))
    session = ledger.session
    if session is None:
        return ledger, tuple(records)
    grown = session.finished and before is not None and session.energy_kwh > before.energy_kwh
    if grown or (reading.plugged_in is False and not session.finished):
        session = replace(session, finished=True)
        records.append(_record(reading, session))
    return replace(ledger, session=session), tuple(records)


def _record(reading: Reading, session: ChargingSession) -> FinishedSession:
    return FinishedSession(
        site_id=reading.site_id,
        serial=reading.serial,
        start_seconds=session.start_seconds or 0.0,
        end_seconds=session.end_seconds,
        plugged_in_seconds=session.plugged_in_seconds,
        plugged_out_seconds=session.plugged_out_seconds,
        energy_kwh=session.energy_kwh,
        peak_watts=session.peak_watts,
        charging_seconds=session.charging_seconds,
        mode=session.mode,
        cost=session.cost,
    )
