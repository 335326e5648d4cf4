"""Logins and guards on disk, written by the exporter and by the `login` command beside it.

A login made by a person wins: the exporter writes only over what it has read or written itself, and looks
for a stamp file, which costs less than asking the database every few seconds.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from exporter import state_file
from exporter.errors import StateError
from exporter.model import Guard, Login
from exporter.state import State

log = logging.getLogger(__name__)
_T = TypeVar("_T")

STAMP_NAME = "login.stamp"

_READ = "SELECT account, login, guard, mark, by_person FROM logins"
_WRITE = """
    INSERT INTO logins (account, login, guard, mark, by_person) VALUES (:account, :login, :guard, 1, 0)
    ON CONFLICT (account) DO UPDATE SET login = :login, guard = :guard, mark = mark + 1, by_person = 0
    WHERE by_person = 0 OR mark = :mark
"""
_WRITE_BY_PERSON = """
    INSERT INTO logins (account, login, guard, mark, by_person) VALUES (:account, :login, NULL, 1, 1)
    ON CONFLICT (account) DO UPDATE SET login = :login, guard = NULL, mark = mark + 1, by_person = 1
"""
_WRITE_GUARD = """
    INSERT INTO logins (account, login, guard, mark, by_person) VALUES (:account, NULL, :guard, 1, 0)
    ON CONFLICT (account) DO UPDATE SET guard = :guard
"""
_MARK = "SELECT mark FROM logins WHERE account = :account"


class KeptLogin(NamedTuple):
    """What is kept for one account; `mark` counts its writes."""

    login: Login | None = None
    guard: Guard | None = None
    mark: int = 0
    by_person: bool = False


NOTHING_KEPT = KeptLogin()


class KeptLogins:
    """The logins of the state of a running exporter."""

    def __init__(self, state: State, folder: Path) -> None:
        self._state = state
        self._stamp = folder / STAMP_NAME
        self._stamped = self._stamp_time()
        self._known = state.read_now(_all)
        self._fails = False

    def of(self, account: str) -> KeptLogin:
        """What was kept for an account when last looked at."""
        return self._known.get(account, NOTHING_KEPT)

    def store_for(self, account: str) -> Callable[[Login | None, Guard | None], Awaitable[None]]:
        """The writer of one account's login and guard."""

        async def store(login: Login | None, guard: Guard | None) -> None:
            await self._write(account, login, guard)

        return store

    async def made_by_person(self) -> dict[str, Login | None]:
        """Logins that the command has made, or removed (None), since they were last looked at."""
        stamped = self._stamp_time()
        if stamped == self._stamped:
            return {}
        try:
            found = await self._state.read(_all)
        except StateError as error:
            log.warning("stored logins cannot be read: %s", error)
            return {}
        self._stamped = stamped
        news = {
            account: kept.login
            for account, kept in found.items()
            if kept.by_person and kept.mark != self.of(account).mark
        }
        self._known |= {account: found[account] for account in news}
        return news

    async def _write(self, account: str, login: Login | None, guard: Guard | None) -> None:
        mark = self.of(account).mark
        try:
            written = await self._state.write(partial(_write, account, login, guard, mark))
        except StateError as error:
            if not self._fails:
                log.error("the login is not stored, so a restart will log in again: %s", error)
            self._fails = True
            return
        self._fails = False
        if written is not None:  # else a person was faster, which the next look will find
            self._known[account] = KeptLogin(login, guard, written)

    def _stamp_time(self) -> int:
        try:
            return self._stamp.stat().st_mtime_ns
        except OSError:
            return 0


def read_logins(folder: Path) -> dict[str, KeptLogin]:
    """What is kept, read beside a running exporter; nothing where there is no state. Raises StateError."""
    path = folder / state_file.NAME
    if not path.exists():
        return {}
    try:
        with closing(state_file.connect_to_read(path)) as database:
            if state_file.user_version(database) < len(state_file.MIGRATIONS):
                return {}
            state_file.check_version(database, folder, len(state_file.MIGRATIONS))
            return _all(database)
    except (sqlite3.Error, OSError, state_file.Damaged) as error:
        raise StateError(f"{folder}: stored logins cannot be read: {state_file.cause(error)}") from error


def ready_to_write(folder: Path) -> None:
    """Make sure that a login could be kept. Raises StateError."""
    _write_beside(folder, _MARK, {"account": ""})


def write_by_person(folder: Path, account: str, login: Login | None) -> None:
    """Keep the login a person has made, or forget the kept one; lifts the guard. Raises StateError."""
    _write_beside(folder, _WRITE_BY_PERSON, {"account": account, "login": _text(login)})
    (folder / STAMP_NAME).touch(mode=0o600)


def write_guard(folder: Path, account: str, guard: Guard) -> None:
    """Keep the refusal that a command has met, so that the exporter does not repeat it. Raises StateError."""
    _write_beside(folder, _WRITE_GUARD, {"account": account, "guard": _text(guard)})


def _write_beside(folder: Path, statement: str, row: dict[str, str | None]) -> None:
    """Write from another process than the exporter's, whether or not one is running."""
    try:
        state_file.prepare_folder(folder)
        path = folder / state_file.NAME
        with closing(state_file.connect_to_write(path, state_file.MIGRATIONS)) as database:
            state_file.check_version(database, folder, len(state_file.MIGRATIONS))
            with state_file.transaction(database):
                database.execute(statement, row)
    except (sqlite3.Error, OSError, state_file.Damaged) as error:
        raise state_file.unusable(folder, error) from error


def _all(database: sqlite3.Connection) -> dict[str, KeptLogin]:
    return {
        account: KeptLogin(_read(login, Login), _read(guard, Guard), mark, bool(by_person))
        for account, login, guard, mark, by_person in database.execute(_READ)
    }


def _read(text: str | None, kind: type[_T]) -> _T | None:
    """A stored value; one that cannot be read is as good as none, for a login can be made again."""
    with suppress(msgspec.MsgspecError):
        return None if text is None else msgspec.json.decode(text, type=kind)
    log.warning("a stored %s is unreadable and left aside", kind.__name__.lower())
    return None


def _write(
    account: str, login: Login | None, guard: Guard | None, mark: int, database: sqlite3.Connection
) -> int | None:
    """Write unless a person has written since `mark`; the new mark, or None."""
    row = {"account": account, "login": _text(login), "guard": _text(guard), "mark": mark}
    with state_file.transaction(database):
        if database.execute(_WRITE, row).rowcount != 1:
            return None
        return int(database.execute(_MARK, {"account": account}).fetchone()[0])


def _text(value: Login | Guard | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
