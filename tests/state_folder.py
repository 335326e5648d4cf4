"""State folders for tests, and a ledger and a session to keep in them."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from exporter.model import ChargeMode, ChargingSession, FinishedSession, Ledger, Lifetime, Power
from exporter.state import State
from exporter.state_file import MIGRATIONS

NOW = 1_777_700_000.0
KEY = ("1234567", "482512001234")
LEDGER = Ledger(
    watched_since_seconds=NOW,
    energy_kwh=0.1 + 0.2,
    sessions=3,
    session=ChargingSession(start_seconds=NOW + 1, energy_kwh=1.5, mode=ChargeMode.GREEN_CHARGING),
    lifetime=Lifetime(kwh=1234.567, reported_seconds=NOW),
    reports=((NOW, 1.0), (NOW + 30, 1.1)),
    power=Power(watts=7200.0, base_kwh=1.0, base_seconds=NOW),
    plugged_in=True,
)
FINISHED = FinishedSession(
    site_id=KEY[0],
    serial=KEY[1],
    start_seconds=NOW,
    end_seconds=NOW + 3600,
    plugged_in_seconds=NOW - 60,
    plugged_out_seconds=None,
    energy_kwh=7.25,
    peak_watts=7400.0,
    charging_seconds=3500.0,
    mode=ChargeMode.MANUAL_CHARGING,
    cost=1.75,
)


@asynccontextmanager
async def opened(
    folder: Path, *, migrations: tuple[tuple[str, ...], ...] = tuple(MIGRATIONS)
) -> AsyncIterator[State]:
    state = State.open(folder, wall_clock=lambda: NOW, migrations=migrations)
    try:
        yield state
    finally:
        await state.close()


async def saved(folder: Path, ledger: Ledger = LEDGER, *finished: FinishedSession) -> Path:
    """A folder in which an exporter has stopped cleanly; gives its file."""
    async with opened(folder) as state:
        await state.save([(*KEY, ledger)], finished)
    return folder / "state.sqlite3"


@contextmanager
def changed_by_hand(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file)) as database, database:
        yield database
