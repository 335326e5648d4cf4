"""Rows 19 to 21: a fold, a write, and a year of one charger on the disk; alone: python -m bench.state.

Writes go where TMPDIR points: the disk there is the one measured.
"""

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec
from msgspec.structs import replace

from bench.table import Limit, Row, table
from exporter.model import ChargeMode, FinishedSession, Ledger, Reading
from exporter.state import State

FLEETS = {"a": 1, "b": 100, "c": 10_000}
_FOLDS_HERE = {"a": "33 us", "b": "32 us", "c": "66 us"}
_WRITES_HERE = {"a": "1.4x", "b": "0.8x to 1.1x", "c": "2.0x"}
_START_SECONDS = 1_777_700_000.0
_POLL_SECONDS = 30.0
_SESSIONS_A_YEAR = 400
_POLLS_A_YEAR = int(365 * 86_400 / _POLL_SECONDS)
_POLLS_A_SESSION = 20  # of those that are really written, see _year
_KILOWATTS = 7.4

Numbered = tuple[str, str, Ledger]


def reading(serial: str, poll: int, *, charging_polls: int = 1 << 30) -> Reading:
    """A charger on its n-th poll; after `charging_polls` of them the car leaves and the next one comes."""
    number, within = divmod(poll, charging_polls)
    plugged_in = within < charging_polls - 1
    start_seconds = _START_SECONDS + number * charging_polls * _POLL_SECONDS
    at_seconds = start_seconds + within * _POLL_SECONDS
    energy_kwh = _KILOWATTS * min(within, charging_polls - 2) * _POLL_SECONDS / 3600
    return Reading(
        site_id="1234567",
        serial=serial,
        at_seconds=at_seconds,
        limit_kilowatts=_KILOWATTS,
        level_kilowatts=_KILOWATTS,
        connected=True,
        plugged_in=plugged_in,
        charging=plugged_in,
        faulted=False,
        running_charge_mode=ChargeMode.MANUAL_CHARGING,
        reported_seconds=at_seconds,
        session_energy_kwh=energy_kwh,
        session_start_seconds=start_seconds,
        session_plugged_in_seconds=start_seconds - 60,
        session_cost=energy_kwh / 4,
        lifetime_energy_kwh=1000 + _KILOWATTS * poll * _POLL_SECONDS / 3600,
        lifetime_reported_seconds=at_seconds,
    )


def _fleet(chargers: int) -> list[Numbered]:
    """Ledgers as full as they are in the middle of a charging session."""
    from exporter.ledger import fold

    ledgers = []
    for number in range(chargers):
        ledger = Ledger(_START_SECONDS)
        for poll in range(6):
            ledger, _ = fold(ledger, reading(f"4825{number:08}", poll))
        ledgers.append(("1234567", f"4825{number:08}", ledger))
    return ledgers


def _fold_seconds(fleet: Sequence[Numbered], rounds: int) -> float:
    """Of the whole fleet; the readings are made before the clock starts."""
    from exporter.ledger import fold

    readings = [[reading(serial, 6 + poll) for _, serial, _ in fleet] for poll in range(rounds)]
    ledgers = [ledger for _, _, ledger in fleet]
    times = []
    for of_all in readings:
        started = perf_counter()
        ledgers = [fold(ledger, one)[0] for ledger, one in zip(ledgers, of_all, strict=True)]
        times.append(perf_counter() - started)
    return median(times)


def _changed(fleet: Sequence[Numbered], step: int) -> list[Numbered]:
    return [(site_id, serial, replace(ledger, sessions=step)) for site_id, serial, ledger in fleet]


def _bare(folder: Path, synchronous: str) -> sqlite3.Connection:
    database = sqlite3.connect(folder / synchronous, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute(f"PRAGMA synchronous = {synchronous}")
    database.execute(
        "CREATE TABLE ledgers (site_id TEXT, serial TEXT, ledger TEXT, PRIMARY KEY (site_id, serial))"
    )
    return database


def _bare_seconds(database: sqlite3.Connection, rows: Sequence[tuple[str, str, str]]) -> float:
    """sqlite3 alone, in the calling thread, with rows that were encoded beforehand."""
    started = perf_counter()
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT OR REPLACE INTO ledgers VALUES (?, ?, ?)", rows)
    database.execute("COMMIT")
    return perf_counter() - started


async def _write_seconds(folder: Path, fleet: Sequence[Numbered], rounds: int) -> tuple[float, ...]:
    """Ours, bare with synchronous = FULL as ours is, bare with NORMAL; in turns, as disks have moods."""
    state = State.open(folder)
    times = []
    with closing(_bare(folder, "FULL")) as full, closing(_bare(folder, "NORMAL")) as normal:
        for step in range(rounds + 1):
            ledgers = [(site, serial, replace(ledger, sessions=step)) for site, serial, ledger in fleet]
            rows = [(site, serial, msgspec.json.encode(one).decode()) for site, serial, one in ledgers]
            started = perf_counter()
            await state.save(ledgers, [])
            times.append((perf_counter() - started, _bare_seconds(full, rows), _bare_seconds(normal, rows)))
    await state.close()
    return tuple(median(column) for column in zip(*times[1:], strict=True))


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


async def _year(folder: Path, sessions: int) -> tuple[int, int, int]:
    """Peak size of the folder with so many sessions, its size after as many writes again, and writes done.

    A write rewrites one row of `ledgers` and now and then adds one to `finished_sessions`; only the latter
    grows. So each session is written with 20 polls of it instead of some 2,600: far more than fill the
    write-ahead log to the point where it is emptied. The second half, writes without sessions, shows that
    rewriting does not grow the file.
    """
    from exporter.ledger import fold

    state = State.open(folder)
    ledger, peak_bytes, finished_count = Ledger(_START_SECONDS), 0, 0
    writes = sessions * _POLLS_A_SESSION
    for poll in range(2 * writes):
        charging_polls = _POLLS_A_SESSION if poll < writes else 1 << 30
        finished: tuple[FinishedSession, ...] = ()
        if poll < writes:
            ledger, finished = fold(ledger, reading("482500000000", poll, charging_polls=charging_polls))
        else:
            ledger = replace(ledger, at_seconds=_START_SECONDS + poll * _POLL_SECONDS)
        finished_count += len({one.start_seconds for one in finished})
        await state.save([("1234567", "482500000000", ledger)], finished)
        if poll < writes and not poll % _POLLS_A_SESSION:
            peak_bytes = max(peak_bytes, _bytes_in(folder))
    after_bytes = _bytes_in(folder)
    recorded = len(await state.finished_sessions())
    await state.close()
    if recorded < sessions - 1:
        raise RuntimeError(f"{recorded} sessions recorded of {sessions}")
    return peak_bytes, after_bytes, 2 * writes


def _fold_rows(*, quick: bool) -> Iterator[Row]:
    for letter, chargers in FLEETS.items():
        rounds = max(3, (2_000 if quick else 20_000) // chargers)
        seconds = _fold_seconds(_fleet(chargers), min(rounds, 500))
        note = f"{seconds * 1e3:.3g} ms an observation of all"
        yield Row(
            f"19{letter}",
            f"fold of one charger among {chargers:,}",
            _FOLDS_HERE[letter],
            seconds / chargers * 1e6,
            Limit(200, unit=" us"),
            Limit(50, unit=" us"),
            note,
        )


def _write_rows(*, quick: bool) -> Iterator[Row]:
    for letter, chargers in FLEETS.items():
        fleet = _fleet(chargers)
        rounds = max(5, min(200, 20_000 // chargers)) // (4 if quick else 1)
        with tempfile.TemporaryDirectory() as name:
            ours, full, normal = asyncio.run(_write_seconds(Path(name), fleet, rounds))
        note = f"{ours * 1e3:.3g} ms; bare FULL {full * 1e3:.3g}, NORMAL {normal * 1e3:.3g} ms"
        what = f"write of an observation of {chargers:,}, vs bare sqlite3"
        yield Row(f"20{letter}", what, _WRITES_HERE[letter], ours / full, Limit(4), Limit(2), note)


def rows(*, quick: bool) -> Iterator[Row]:
    """Absolute times depend on the disk, so writes are held against sqlite3's own in the same run."""
    yield from _fold_rows(quick=quick)
    yield from _write_rows(quick=quick)
    with tempfile.TemporaryDirectory() as name:
        sessions = _SESSIONS_A_YEAR // 4 if quick else _SESSIONS_A_YEAR
        peak_bytes, after_bytes, writes = asyncio.run(_year(Path(name), sessions))
    note = (
        f"{sessions} sessions; {after_bytes / 1e6:.3g} MB after as many writes again; "
        f"{writes:,} writes of {_POLLS_A_YEAR:,}"
    )
    limits = (Limit(20, unit=" MB"), Limit(6, unit=" MB"))
    yield Row("21", "a year of one charger, log included", "4.2 MB", peak_bytes / 1e6, *limits, note)


if __name__ == "__main__":
    print(table(rows(quick="--quick" in sys.argv)))
