"""The energy account: what sessions show and what the lifetime figure says, tied into one sum. Pure.

The session's figure is fresh, but it ends with the session, and a session that begins and ends between two
polls is never seen. The lifetime figure misses nothing, but comes minutes later and vanishes for hours. So
the account follows the lifetime figure and adds what sessions have shown since the report behind it:

    energy = anchor_energy + (lifetime - anchor_lifetime) + (session energy shown since that report)

Where the sum is less than what was counted already, the account stands still until the sum has caught up:
energy that arrives late is counted, and none twice. While there is no anchor, sessions alone count.

The sum is only as good as the report that ties the two figures together: it has to be certain what sessions
had shown by it. A reading whose session figure is missing, or plainly not the session's, ties nothing.
"""

from msgspec.structs import replace

from exporter.charging import shows_all
from exporter.lifetime import fold_lifetime
from exporter.model import Ledger, Reading
from exporter.session_energy import TOLERANCE_SECONDS, is_same_time, possible_kwh

# So many reports are remembered to find the one that a lifetime figure is of.
_REPORTS_KEPT = 6
# A report made so long after power stopped is one of all the energy before.
_SETTLED_SECONDS = 600.0


def with_energy(ledger: Ledger, reading: Reading, added_kwh: float) -> Ledger:
    """Bring the account up to a reading of which `session` and `session_kwh` hold the `added_kwh` already."""
    if reading.reported_seconds is None:
        ledger = _with_quiet(ledger, reading)
    else:
        ledger = _with_report(ledger, reading, added_kwh)
    ledger = _with_lifetime(ledger, reading)
    ledger = _with_shown(ledger, reading, added_kwh)
    if ledger.anchor_lifetime_kwh is None or ledger.lifetime.kwh is None:
        return _anchored(replace(ledger, energy_kwh=ledger.energy_kwh + added_kwh), reading)
    fresh_kwh = min(_fresh_kwh(ledger), _most_fresh_kwh(ledger, reading))
    sum_kwh = ledger.anchor_energy_kwh + ledger.lifetime.kwh - ledger.anchor_lifetime_kwh + fresh_kwh
    return replace(ledger, energy_kwh=max(ledger.energy_kwh, sum_kwh))


def _fresh_kwh(ledger: Ledger) -> float:
    """What sessions have shown since the report behind the lifetime figure."""
    if ledger.lifetime_awaits_seconds is not None:
        return 0.0
    return max(0.0, ledger.session_kwh - ledger.lifetime_session_kwh)


def _most_fresh_kwh(ledger: Ledger, reading: Reading) -> float:
    """What can have flowed since the report behind the lifetime figure: a glitch shows more."""
    now_seconds = reading.at_seconds if reading.reported_seconds is None else reading.reported_seconds
    elapsed_seconds = now_seconds - (ledger.lifetime.reported_seconds or 0.0)
    return possible_kwh(reading.limit_kilowatts, elapsed_seconds)


def _anchored(ledger: Ledger, reading: Reading) -> Ledger:
    """Tie the lifetime figure to the account, once it is certain what sessions had shown by its report.

    An anchor that is off is off for ever, so a figure that falls between two reports has to wait, and one
    that comes without the time of its report ties nothing.
    """
    told = reading.lifetime_reported_seconds
    if ledger.lifetime.kwh is None or ledger.lifetime_awaits_seconds is not None or told is None:
        return ledger
    reported = ledger.lifetime.reported_seconds or 0.0
    if reading.reported_seconds is None:
        certain = bool(ledger.reports) and reported >= ledger.reports[-1][0] + _SETTLED_SECONDS
    else:
        certain = any(is_same_time(at, reported) for at, _ in ledger.reports)
    if not certain:
        return ledger
    return replace(
        ledger,
        anchor_lifetime_kwh=ledger.lifetime.kwh,
        anchor_energy_kwh=ledger.energy_kwh - _fresh_kwh(ledger),
    )


def _with_report(ledger: Ledger, reading: Reading, added_kwh: float) -> Ledger:
    """Remember what sessions had shown by each report of the charger.

    A figure that leapt while nobody looked has to be told twice, and not by the same answer arriving again:
    one that falls short of the truth would go unnoticed.
    """
    if reading.at_seconds == ledger.at_seconds:
        return ledger
    reported = reading.reported_seconds or 0.0
    leapt = added_kwh > 0 and bool(ledger.reports) and reported - ledger.reports[-1][0] > TOLERANCE_SECONDS
    if leapt:
        return replace(ledger, reports=())
    if not shows_all(ledger.session, reading):
        return ledger
    # An entry that is later than this report is of a clock that was set back since.
    kept = tuple(entry for entry in ledger.reports if entry[0] < reported)
    return replace(ledger, reports=(*kept, (reported, ledger.session_kwh))[-_REPORTS_KEPT:])


def _with_quiet(ledger: Ledger, reading: Reading) -> Ledger:
    """Without report times, remember since when no power flows: all reports from then on say the same."""
    if reading.charging is not False or ledger.charging is not False:
        return replace(ledger, reports=())
    if not shows_all(ledger.session, reading):
        return ledger
    # The cloud's clock may be off; that the car has left is a time of its own.
    began, out = reading.session_start_seconds or 0.0, reading.session_plugged_out_seconds or 0.0
    if ledger.reports and ledger.reports[-1][1] == ledger.session_kwh and ledger.reports[-1][0] >= began:
        return ledger
    return replace(ledger, reports=((max(reading.at_seconds, began, out), ledger.session_kwh),))


def _with_lifetime(ledger: Ledger, reading: Reading) -> Ledger:
    reported = reading.lifetime_reported_seconds
    if reported is None:
        if reading.lifetime_energy_kwh == ledger.lifetime.kwh:  # told again, perhaps of long ago
            return ledger
        reported = reading.at_seconds
    lifetime, is_new_account = fold_lifetime(
        ledger.lifetime, reading.lifetime_energy_kwh, reported, reading.limit_kilowatts
    )
    is_believed = lifetime.reported_seconds != ledger.lifetime.reported_seconds
    ledger = replace(ledger, lifetime=lifetime)
    if is_new_account:
        ledger = replace(ledger, anchor_lifetime_kwh=None)
    if not is_believed:
        return ledger
    return replace(ledger, lifetime_session_kwh=ledger.session_kwh, lifetime_awaits_seconds=reported)


def _with_shown(ledger: Ledger, reading: Reading, added_kwh: float) -> Ledger:
    """Note what sessions had shown by the report of the lifetime figure, as soon as status has reached it."""
    reported, awaited = ledger.lifetime.reported_seconds, ledger.lifetime_awaits_seconds
    if reported is None:
        return ledger
    if reading.reported_seconds is None:  # then status has reached it when its figure moves, or need not
        is_quiet = bool(ledger.reports) and shows_all(ledger.session, reading)
        is_reached = awaited is not None and (added_kwh > 0 or is_quiet)
        return _shown(ledger, ledger.session_kwh) if is_reached else ledger
    by_then = [session_kwh for at, session_kwh in ledger.reports if at >= reported]
    if by_then and (awaited is not None or ledger.reports[0][0] <= reported):
        return _shown(ledger, by_then[0])
    return ledger


def _shown(ledger: Ledger, session_kwh: float) -> Ledger:
    return replace(ledger, lifetime_session_kwh=session_kwh, lifetime_awaits_seconds=None)
