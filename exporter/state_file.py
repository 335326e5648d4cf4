"""The file behind the state: its place and rights, its lock, its schema, and what is done when it is damaged.

Everything here blocks, and runs in the one thread that owns the database.
"""

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from exporter.errors import StateError

NAME = "state.sqlite3"
LOCK_NAME = "state.lock"
_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside the file
_APPLICATION_ID = 0x45564531  # in the header of the file: whose it is
_BUSY_SECONDS = 5.0
_WAL_BYTES_KEPT = 1 << 20

Migrations = Sequence[tuple[str, ...]]

# The n-th entry makes schema version n out of n - 1. An entry that was released is never changed.
MIGRATIONS: Migrations = (
    (
        f"PRAGMA application_id = {_APPLICATION_ID}",
        """CREATE TABLE ledgers (
            site_id TEXT NOT NULL, serial TEXT NOT NULL, ledger TEXT NOT NULL, PRIMARY KEY (site_id, serial)
        )""",
        """CREATE TABLE finished_sessions (
            site_id TEXT NOT NULL, serial TEXT NOT NULL, start_second INTEGER NOT NULL,
            start_seconds REAL NOT NULL, end_seconds REAL, plugged_in_seconds REAL, plugged_out_seconds REAL,
            energy_kwh REAL NOT NULL, peak_watts REAL, charging_seconds REAL NOT NULL, mode TEXT, cost REAL,
            PRIMARY KEY (site_id, serial, start_second)
        ) WITHOUT ROWID""",
        "CREATE INDEX finished_sessions_by_start ON finished_sessions (start_seconds)",
    ),
    (
        # `mark` counts the writes; `by_person` tells a login that a command wrote from the exporter's own.
        """CREATE TABLE logins (
            account TEXT PRIMARY KEY, login TEXT, guard TEXT,
            mark INTEGER NOT NULL, by_person INTEGER NOT NULL
        ) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE working_variants (
            site_id TEXT NOT NULL, chain TEXT NOT NULL, variant INTEGER NOT NULL, PRIMARY KEY (site_id, chain)
        ) WITHOUT ROWID""",
    ),
    (
        """CREATE TABLE history (
            site_id TEXT NOT NULL, serial TEXT NOT NULL, slot INTEGER NOT NULL, energy_kwh REAL NOT NULL,
            charging INTEGER NOT NULL, PRIMARY KEY (site_id, serial, slot)
        ) WITHOUT ROWID""",
    ),
)

_CAUSES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "the disk is read-only",
    sqlite3.SQLITE_IOERR: "the disk refuses (I/O error or quota)",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_BUSY: "another program has locked it",
    sqlite3.SQLITE_LOCKED: "another program has locked it",
    sqlite3.SQLITE_PERM: "the file's rights forbid it",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; the next start sets it aside",
    sqlite3.SQLITE_NOTADB: "the file is damaged; the next start sets it aside",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Damaged(Exception):
    """The file cannot be what the exporter wrote; setting it aside is the answer."""


def cause(error: Exception) -> str:
    """Why it failed, in a few words without paths."""
    if isinstance(error, Damaged):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "the file is gone; restart the exporter"
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else "I/O error"
    return _CAUSES.get(_code(error), getattr(error, "sqlite_errorname", type(error).__name__))


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def unusable(folder: Path, error: Exception) -> StateError:
    """The error of a folder in which no state can be begun, with the remedy."""
    if isinstance(error, PermissionError):
        return StateError(
            f"{folder}: the state folder is not writable for uid {os.geteuid()}, which runs the exporter; "
            f"as root: mkdir -p {folder} && chown -R {os.geteuid()} {folder}"
        )
    return StateError(f"{folder}: no state can be kept here: {cause(error)}; name a folder with --state.path")


def prepare_folder(folder: Path) -> None:
    """Create the folder and what is missing above it, for its owner only."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make names in a folder survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def lock(folder: Path) -> int | None:
    """Take the folder for this process; the kernel lets go of it however the process ends.

    None on a read-only disk that never had a lock: nobody can write there. Raises StateError when taken.
    """
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        if not path.exists():
            return None
        descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StateError(
            f"{folder}: another exporter keeps its state here; stop it, or give this one a folder of its own "
            "with --state.path"
        ) from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def inspect(path: Path, version: int, read: Callable[[sqlite3.Connection], object]) -> None:
    """See that the file is sound and ours, and that `read` can read it, without changing a byte of it.

    Raises Damaged, StateError when a newer exporter wrote it, and OSError or sqlite3.Error of a bad disk.
    """
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise Damaged("it is not a file")
    path.open("rb").close()  # SQLite would not say that it is the rights
    if not path.stat().st_size:
        if _size(_beside(path, "-wal")):
            raise Damaged("it is empty but for its write-ahead log")
        return
    database = connect_to_read(path)
    try:
        if not _is_new(database):
            check_version(database, path.parent, version)
            _check_pages(database)
            if user_version(database) == version:
                read(database)
    except sqlite3.Error as error:
        if _code(error) in _CAUSES and _code(error) not in _DAMAGED:
            raise
        raise Damaged(str(error)) from error
    finally:
        database.close()


def _check_pages(database: sqlite3.Connection) -> None:
    findings = [str(row[0]) for row in database.execute("PRAGMA quick_check(1)")]
    if findings != ["ok"]:
        raise Damaged(findings[0].replace("\n", " "))


def _is_new(database: sqlite3.Connection) -> bool:
    """A file that a power loss left between its creation and its schema."""
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not tables and user_version(database) == 0


def user_version(database: sqlite3.Connection) -> int:
    """The version of the schema in the file."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def check_version(database: sqlite3.Connection, folder: Path, version: int) -> None:
    """Raise Damaged for a database of another program, StateError for one of a newer exporter."""
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    found = user_version(database)
    if application_id != _APPLICATION_ID or found == 0:
        raise Damaged("it is the database of another program")
    if found > version:
        raise StateError(
            f"{folder}: the state was written by a newer exporter (schema {found}, this one reads up to "
            f"{version}); run that version again, or name another folder with --state.path"
        )


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, whether or not an exporter is running.

    Without a write-ahead log and its index nobody has the file open, and `immutable` keeps SQLite from
    leaving an empty log behind, which might belong to the wrong user. A rollback journal has to be played
    back to be read.
    """
    if _size(_beside(path, "-journal")):
        mode = "mode=rw"
    elif _size(_beside(path, "-wal")) or _size(_beside(path, "-shm")):
        mode = "mode=ro"
    else:
        mode = "mode=ro&immutable=1"
    return _connect(path, mode)


def connect_to_write(path: Path, migrations: Migrations) -> sqlite3.Connection:
    """Open the file for writing, make it if it is missing, and bring its schema up to date.

    Must not be called while this process has the file open: closing the descriptors of `_secure` would
    release SQLite's locks on it, as POSIX has it.
    """
    _secure(path)
    database = _connect(path, "mode=rw")
    try:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect before the first table only
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the newest commits with the power
        database.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
        _migrate(database, migrations)
    except BaseException:
        database.close()
        raise
    return database


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
    )


def _secure(path: Path) -> None:
    """Make the file if it is missing; see that it and its companions can be written, by the owner only."""
    is_new = not path.exists()
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if is_new:
        _sync(path.parent)
    for part in (path, *(_beside(path, suffix) for suffix in _BESIDE)):
        if part.exists():
            os.close(os.open(part, os.O_RDWR))
            with suppress(PermissionError):  # writable, but another's: a volume shared by group
                part.chmod(0o600)


def _migrate(database: sqlite3.Connection, migrations: Migrations) -> None:
    for version in range(user_version(database), len(migrations)):
        with transaction(database):
            for statement in migrations[version]:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {version + 1}")


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; on the disk when this ends."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite has rolled back by itself when the disk failed
            database.execute("ROLLBACK")
        raise


def move_aside(path: Path, now_seconds: float) -> Path:
    """Rename a damaged file and its companions, overwriting nothing; give the new path."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_seconds))
    name = f"{path.name}.corrupt-{stamp}"
    names = (name, *(f"{name}.{number}" for number in range(1, 1000)))
    target = next(target for name in names if not os.path.lexists(target := path.with_name(name)))
    # The file itself comes last: SQLite deletes a log whose database is missing.
    for suffix in (*_BESIDE, ""):
        source = _beside(path, suffix)
        if os.path.lexists(source):
            source.rename(_beside(target, suffix))
    _sync(path.parent)
    return target


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
