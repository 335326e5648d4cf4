"""What outlives a restart: the ledgers and the finished charging sessions, in one SQLite file.

One thread owns the database, so that the event loop never waits for a disk. A commit is on the disk when
`save` returns: what is exposed afterwards survives SIGKILL and power loss.
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from exporter import history, state_file
from exporter.errors import StateError
from exporter.history import History
from exporter.model import ChargeMode, FinishedSession, Ledger
from exporter.state_file import MIGRATIONS, NAME, Damaged, Migrations

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(Ledger)
_encoder = msgspec.json.Encoder()

_MODES = frozenset(ChargeMode)
_COLUMNS = tuple(field.name for field in fields(FinishedSession))
_SAVE_LEDGER = (
    "INSERT INTO ledgers (site_id, serial, ledger) VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET ledger = excluded.ledger"  # in place: a replaced row would move, its key too
)
_SAVE_FINISHED = (
    f"INSERT OR REPLACE INTO finished_sessions (start_second, {', '.join(_COLUMNS)}) "  # noqa: S608 our names
    f"VALUES (?{', ?' * len(_COLUMNS)})"
)
_FINISHED = (
    f"SELECT {', '.join(_COLUMNS)} FROM finished_sessions "  # noqa: S608 names of our own columns
    "WHERE start_seconds >= :since AND start_seconds < :until AND (:serial IS NULL OR serial = :serial) "
    "ORDER BY start_seconds, site_id, serial"
)
_NEWEST = (
    f"SELECT {', '.join(_COLUMNS)} FROM finished_sessions "  # noqa: S608 names of our own columns
    "ORDER BY start_seconds DESC, site_id, serial LIMIT ?"
)


class State:
    """The state folder of one running exporter; `open` makes one."""

    def __init__(self, folder: Path, *, migrations: Migrations = MIGRATIONS) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._migrations = migrations
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._lock: int | None = None
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # what is open for writing, None when only for reading
        self._closed = False
        self.set_aside: Path | None = None  # where a damaged file went when this one was opened

    @classmethod
    def open(
        cls, folder: Path, *, wall_clock: Callable[[], float] = time.time, migrations: Migrations = MIGRATIONS
    ) -> "State":
        """Take the folder for this process and read what is there.

        A damaged file is set aside. A file on a disk that takes no writes is read, and `save` fails until the
        disk takes them. Raises StateError, fit to be shown, when another exporter has the folder, a newer one
        wrote it, or nothing can be kept there.
        """
        state = cls(folder, migrations=migrations)
        try:
            state._thread.submit(state._open, wall_clock).result()
        except BaseException:
            state.close_now()
            raise
        return state

    def load_ledgers(self) -> dict[tuple[str, str], Ledger]:
        """Every ledger by site id and serial. Blocks: for the start, not for the event loop."""
        return self._submit(partial(self._read, _ledgers)).result()

    async def save(
        self, ledgers: Sequence[tuple[str, str, Ledger]], finished: Sequence[FinishedSession]
    ) -> None:
        """Write all of it in one transaction; it is on the disk when this returns.

        Raises StateError when nothing was written. Calling again, with what is then newest, is all that is
        needed when the disk is back.
        """
        await self._in_thread(partial(self._write, partial(_save, ledgers=ledgers, finished=finished)))

    async def history(self, recent_sessions: int) -> History:
        """The last day of every charger, and the newest sessions; raises StateError."""
        return await self._in_thread(partial(self._read, partial(_history, recent_sessions=recent_sessions)))

    async def finished_sessions(
        self,
        *,
        since_seconds: float | None = None,
        until_seconds: float | None = None,
        serial: str | None = None,
    ) -> list[FinishedSession]:
        """Sessions that began in [since, until), oldest first."""
        query = partial(_finished, since_seconds=since_seconds, until_seconds=until_seconds, serial=serial)
        return await self._in_thread(partial(self._read, query))

    def read_now(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a query of another module. Blocks; raises StateError."""
        return self._submit(partial(self._read, query)).result()

    async def read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a query of another module; raises StateError."""
        return await self._in_thread(partial(self._read, query))

    async def write(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a change of another module, which makes its own transaction; raises StateError."""
        return await self._in_thread(partial(self._write, change))

    async def close(self) -> None:
        """Finish what was begun, and give the folder back."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """The same for callers without an event loop; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._thread.submit(self._release).result()
            self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.wrap_future(self._submit(work))

    def _submit(self, work: Callable[[], _T]) -> Future[_T]:
        if self._closed:
            raise StateError(f"{self._folder}: the state is closed")
        return self._thread.submit(work)

    # From here on everything runs in the thread.

    def _open(self, wall_clock: Callable[[], float]) -> None:
        try:
            state_file.prepare_folder(self._folder)
            self._lock = state_file.lock(self._folder)
            self._set_aside_if_damaged(wall_clock)
            self._open_database()
        except (sqlite3.Error, OSError) as error:
            raise state_file.unusable(self._folder, error) from error

    def _set_aside_if_damaged(self, wall_clock: Callable[[], float]) -> None:
        try:
            state_file.inspect(self._path, len(self._migrations), _ledgers)
        except Damaged as damage:
            self.set_aside = state_file.move_aside(self._path, wall_clock())
            _log.warning(
                "state file damaged, set aside; counters and sessions start afresh file=%s reason=%s",
                self.set_aside,
                damage,
            )

    def _open_database(self) -> None:
        try:
            self._open_to_write()
        except PermissionError:
            raise
        except (sqlite3.Error, OSError) as error:
            if not self._path.exists() or not self._path.stat().st_size:
                raise
            reason = state_file.cause(error)
            self._database = state_file.connect_to_read(self._path)
            if state_file.user_version(self._database) != len(self._migrations):
                raise StateError(
                    f"{self._folder}: the state has to be brought to this version's schema first: {reason}"
                ) from error
            _log.warning("state can be read but not written folder=%s reason=%s", self._folder, reason)

    def _open_to_write(self) -> sqlite3.Connection:
        self._database = state_file.connect_to_write(self._path, self._migrations)
        self._file = _identity(self._path)
        return self._database

    def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            if self._database is None:
                self._database = state_file.connect_to_read(self._path)
            return query(self._database)
        except (sqlite3.Error, OSError, Damaged) as error:
            self._drop()
            raise StateError(f"{self._folder}: state cannot be read: {state_file.cause(error)}") from error

    def _write(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            return change(self._writable())
        except (sqlite3.Error, OSError, Damaged) as error:
            self._drop()
            raise StateError(f"{self._folder}: state cannot be written: {state_file.cause(error)}") from error

    def _writable(self) -> sqlite3.Connection:
        """The open database, or the file opened again after a failure.

        SQLite would go on writing to a file that was deleted or replaced, where no restart finds it.
        """
        if self._database is not None and self._file == _identity(self._path):
            return self._database
        self._drop()
        _identity(self._path)
        if self._lock is None:
            self._lock = state_file.lock(self._folder)
        with closing(state_file.connect_to_read(self._path)) as database:
            state_file.check_version(database, self._folder, len(self._migrations))
        return self._open_to_write()

    def _drop(self) -> None:
        self._file = None
        if self._database is not None:
            self._database.close()
            self._database = None

    def _release(self) -> None:
        self._drop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def read_sessions(
    folder: Path,
    *,
    since_seconds: float | None = None,
    until_seconds: float | None = None,
    serial: str | None = None,
) -> list[FinishedSession]:
    """The recorded sessions that began in [since, until), oldest first, beside a running exporter or without.

    Raises StateError when there is no state in the folder, or none that can be read.
    """
    path = folder / NAME
    try:
        if not path.is_file() or not path.stat().st_size:
            raise StateError(
                f"{folder}: no exporter has kept its state here; name its folder with --state.path"
            )
        with closing(state_file.connect_to_read(path)) as database:
            state_file.check_version(database, folder, len(MIGRATIONS))
            return _finished(database, since_seconds, until_seconds, serial)
    except PermissionError as error:
        raise StateError(
            f"{folder}: uid {os.geteuid()} may not read it; run as the exporter's user"
        ) from error
    except Damaged as damage:
        raise StateError(f"{path}: {damage}") from damage
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"{folder}: state cannot be read: {state_file.cause(error)}") from error


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _ledgers(database: sqlite3.Connection) -> dict[tuple[str, str], Ledger]:
    rows = database.execute("SELECT site_id, serial, ledger FROM ledgers").fetchall()
    try:
        return {(site_id, serial): _decoder.decode(text) for site_id, serial, text in rows}
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise Damaged(f"a ledger in it is unreadable: {error}") from error


def _text(site_id: str, serial: str, ledger: Ledger) -> str:
    """A ledger as it is stored; one that could not be read back must not take the whole file with it."""
    text = _encoder.encode(ledger).decode()
    try:
        _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise StateError(
            f"the ledger of charger {serial} at site {site_id} cannot be stored: {error}"
        ) from error
    return text


def _save(
    database: sqlite3.Connection,
    ledgers: Sequence[tuple[str, str, Ledger]],
    finished: Sequence[FinishedSession],
) -> None:
    ledger_rows = [(site_id, serial, _text(site_id, serial, ledger)) for site_id, serial, ledger in ledgers]
    finished_rows = [
        (round(one.start_seconds), *(getattr(one, column) for column in _COLUMNS)) for one in finished
    ]
    with state_file.transaction(database):
        database.executemany(_SAVE_LEDGER, ledger_rows)
        database.executemany(_SAVE_FINISHED, finished_rows)
        history.note(database, ledgers)


def _history(database: sqlite3.Connection, recent_sessions: int) -> History:
    rows = database.execute(_NEWEST, (recent_sessions,)).fetchall()
    sessions = [_finished_session(dict(zip(_COLUMNS, row, strict=True))) for row in rows]
    return History(history.read_slots(database), sessions)


def _finished(
    database: sqlite3.Connection,
    since_seconds: float | None,
    until_seconds: float | None,
    serial: str | None,
) -> list[FinishedSession]:
    since = -inf if since_seconds is None else since_seconds
    until = inf if until_seconds is None else until_seconds
    rows = database.execute(_FINISHED, {"since": since, "until": until, "serial": serial})
    return [_finished_session(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def _finished_session(columns: dict[str, Any]) -> FinishedSession:
    mode = columns["mode"]
    if mode is not None:
        columns["mode"] = ChargeMode(mode) if mode in _MODES else ChargeMode.UNKNOWN
    return FinishedSession(**columns)
