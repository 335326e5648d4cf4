"""The last day of each charger, for the page: how its energy account stood, quarter hour by quarter hour.

A row is written with the ledger it is of, in the same transaction, and none while nothing changes. Slots are
of the cloud's time on the status answers: slot n covers the 900 s from n * 900 on.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter

from exporter.model import FinishedSession, Ledger

SLOT_SECONDS = 900.0
SLOTS = 96  # a day
_NOTE = (
    "INSERT INTO history (site_id, serial, slot, energy_kwh, charging) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET energy_kwh = excluded.energy_kwh, charging = excluded.charging"
)
# The newest row before the day that is shown stays: the first slot shown is reckoned from it.
_FORGET = (
    "DELETE FROM history WHERE site_id = :site AND serial = :serial AND slot < ("
    "SELECT max(slot) FROM history WHERE site_id = :site AND serial = :serial AND slot <= :oldest)"
)
_READ = "SELECT site_id, serial, slot, energy_kwh, charging FROM history ORDER BY site_id, serial, slot"


@dataclass(frozen=True, slots=True)
class Slot:
    """How an account stood when it was last written in a slot, and whether power flowed then."""

    number: int
    energy_kwh: float
    charging: bool


@dataclass(frozen=True, slots=True)
class History:
    """What the page shows of the past: slots by site and serial, oldest first; sessions, newest first."""

    slots: Mapping[tuple[str, str], Sequence[Slot]] = field(default_factory=dict)
    sessions: Sequence[FinishedSession] = ()


def note(database: sqlite3.Connection, ledgers: Iterable[tuple[str, str, Ledger]]) -> None:
    """Write how accounts stand, within the caller's transaction; forget what is older than a day."""
    dated = [(site, serial, one, _slot_of(one.at_seconds)) for site, serial, one in ledgers if one.at_seconds]
    rows = [(site, serial, slot, one.energy_kwh, bool(one.charging)) for site, serial, one, slot in dated]
    database.executemany(_NOTE, rows)
    oldest = [{"site": site, "serial": serial, "oldest": slot - SLOTS} for site, serial, _, slot in dated]
    database.executemany(_FORGET, oldest)


def read_slots(database: sqlite3.Connection) -> dict[tuple[str, str], Sequence[Slot]]:
    """Everything kept, oldest first."""
    rows = database.execute(_READ).fetchall()
    return {
        (site, serial): [Slot(number, energy_kwh, bool(charging)) for *_, number, energy_kwh, charging in own]
        for (site, serial), own in groupby(rows, key=itemgetter(0, 1))
    }


def mean_watts(slots: Sequence[Slot], now_seconds: float) -> tuple[float | None, ...]:
    """Mean power of the 96 slots that end with the one of `now_seconds`; None before the first is known.

    Energy that moved while nothing was written is spread over those slots when power flowed at their
    beginning: the cloud was silent. Else the car came within the slot that shows it.
    """
    last = _slot_of(now_seconds)
    watts: dict[int, float] = {}
    for before, after in pairwise(slots):
        begin = before.number + 1 if before.charging else after.number
        width = max(1, after.number - begin + 1)
        moved = max(0.0, after.energy_kwh - before.energy_kwh) * 3_600_000 / SLOT_SECONDS / width
        for number in range(begin, after.number + 1):
            watts[number] = moved
    first = slots[0].number if slots else last + 1
    wanted = range(last - SLOTS + 1, last + 1)
    return tuple(watts.get(number, 0.0) if number > first else None for number in wanted)


def _slot_of(seconds: float | None) -> int:
    return int((seconds or 0.0) // SLOT_SECONDS)
