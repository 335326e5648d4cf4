"""State files that are damaged, of another program, of an older or of a newer exporter."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from exporter.errors import StateError
from exporter.state import State, read_sessions
from exporter.state_file import MIGRATIONS
from tests.state_folder import FINISHED, KEY, LEDGER, changed_by_hand, opened, saved


def random_bytes(file: Path) -> None:
    file.write_bytes(Random(1).randbytes(20_000))


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def truncated_in_its_header(file: Path) -> None:
    os.truncate(file, 50)


def garbage_in_a_page(file: Path) -> None:
    with file.open("r+b") as out:
        out.seek(4096 + 4096 // 2)
        out.write(Random(2).randbytes(6000))


def garbage_among_the_sessions(file: Path) -> None:
    with changed_by_hand(file) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'finished_sessions'"
        ).fetchone()
    with file.open("r+b") as out:
        out.seek((page - 1) * 4096)
        out.write(Random(3).randbytes(4096))


def a_folder_in_its_place(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "something").write_text("kept")


def of_another_program(file: Path) -> None:
    file.unlink()
    with changed_by_hand(file) as database:
        database.execute("CREATE TABLE songs (title TEXT)")


def of_another_program_with_versions(file: Path) -> None:
    of_another_program(file)
    with changed_by_hand(file) as database:
        database.execute("PRAGMA user_version = 1")
        database.execute("CREATE TABLE ledgers (site_id, serial, ledger)")


def without_its_tables(file: Path) -> None:
    with changed_by_hand(file) as database:
        database.execute("DROP TABLE ledgers")


def an_unreadable_ledger(file: Path) -> None:
    with changed_by_hand(file) as database:
        database.execute("""UPDATE ledgers SET ledger = '{"energy_kwh": "much"}'""")


def a_ledger_that_is_no_text(file: Path) -> None:
    with changed_by_hand(file) as database:
        database.execute("UPDATE ledgers SET ledger = 5")


def a_log_without_its_file(file: Path) -> None:
    os.truncate(file, 0)
    file.with_name(file.name + "-wal").write_bytes(b"frames")


DAMAGES = (
    random_bytes,
    truncated,
    truncated_in_its_header,
    garbage_in_a_page,
    garbage_among_the_sessions,
    a_folder_in_its_place,
    of_another_program,
    of_another_program_with_versions,
    without_its_tables,
    an_unreadable_ledger,
    a_ledger_that_is_no_text,
    a_log_without_its_file,
)


def contents(path: Path) -> object:
    return sorted(inner.name for inner in path.iterdir()) if path.is_dir() else path.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_damaged_file_is_set_aside_whole_and_the_start_is_cold(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = await saved(tmp_path, LEDGER, FINISHED)
    damage(file)
    damaged = contents(file)
    async with opened(tmp_path) as state:
        aside = state.set_aside
        assert aside == tmp_path / "state.sqlite3.corrupt-20260502T053320Z"
        assert contents(aside) == damaged
        assert state.load_ledgers() == {}
        assert await state.finished_sessions() == []
        await state.save([(*KEY, LEDGER)], [])
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert str(aside) in warning.getMessage()
    async with opened(tmp_path) as state:
        assert state.set_aside is None
        assert state.load_ledgers() == {KEY: LEDGER}


async def test_the_log_of_a_damaged_file_goes_with_it(tmp_path: Path) -> None:
    file = await saved(tmp_path)
    random_bytes(file)
    file.with_name(file.name + "-wal").write_bytes(b"frames")
    async with opened(tmp_path) as state:
        assert state.set_aside
        assert state.set_aside.with_name(state.set_aside.name + "-wal").read_bytes() == b"frames"


async def test_a_file_set_aside_never_overwrites_one(tmp_path: Path) -> None:
    for content in (b"first" * 999, b"second" * 999, b"third" * 999):
        (tmp_path / "state.sqlite3").write_bytes(content)
        async with opened(tmp_path):
            pass
    stem = "state.sqlite3.corrupt-20260502T053320Z"
    texts = [(tmp_path / name).read_bytes()[:5] for name in (stem, f"{stem}.1", f"{stem}.2")]
    assert texts == [b"first", b"secon", b"third"]


@pytest.mark.parametrize("begun", [lambda file: file.touch(), lambda file: begin_only(file)])
async def test_a_file_that_was_only_begun_is_taken_as_new(
    begun: Callable[[Path], None], tmp_path: Path
) -> None:
    begun(tmp_path / "state.sqlite3")
    async with opened(tmp_path) as state:
        assert state.set_aside is None
        await state.save([(*KEY, LEDGER)], [])
        assert state.load_ledgers() == {KEY: LEDGER}


def begin_only(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL").fetchall()


ONE_MORE = (
    *MIGRATIONS,
    ("ALTER TABLE finished_sessions ADD COLUMN place TEXT", "CREATE TABLE places (place TEXT)"),
)


async def test_an_older_file_is_brought_forward_with_what_it_holds(tmp_path: Path) -> None:
    await saved(tmp_path, LEDGER, FINISHED)
    for _ in range(2):
        async with opened(tmp_path, migrations=ONE_MORE) as state:
            assert state.load_ledgers() == {KEY: LEDGER}
            assert await state.finished_sessions() == [FINISHED]
            await state.save([(*KEY, LEDGER)], [FINISHED])
    with changed_by_hand(tmp_path / "state.sqlite3") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(ONE_MORE),)
        assert database.execute("SELECT place FROM finished_sessions").fetchall() == [(None,)]


async def test_a_step_forward_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = await saved(tmp_path, LEDGER, FINISHED)
    broken = (*MIGRATIONS, ("CREATE TABLE places (place TEXT)", "ALTER TABLE nowhere ADD COLUMN place TEXT"))
    async with opened(tmp_path) as state:
        assert state.load_ledgers() == {KEY: LEDGER}
    with pytest.raises(StateError, match="has to be brought to this version's schema first: SQLITE_ERROR"):
        State.open(tmp_path, migrations=broken)
    with changed_by_hand(file) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert not database.execute("SELECT * FROM sqlite_master WHERE name = 'places'").fetchall()


async def test_a_file_of_a_newer_exporter_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path, migrations=ONE_MORE) as state:
        await state.save([(*KEY, LEDGER)], [])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    newer, ours = len(ONE_MORE), len(MIGRATIONS)
    with pytest.raises(
        StateError, match=rf"newer exporter \(schema {newer}, this one reads up to {ours}\); run that version"
    ):
        State.open(tmp_path)
    with pytest.raises(StateError, match="newer exporter"):
        read_sessions(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    async with opened(tmp_path, migrations=ONE_MORE) as state:
        assert state.load_ledgers() == {KEY: LEDGER}


@pytest.mark.parametrize(
    "damage", [random_bytes, of_another_program, without_its_tables], ids=lambda one: one.__name__
)
async def test_reading_sessions_of_a_damaged_file_says_so_and_moves_nothing(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    file = await saved(tmp_path)
    damage(file)
    if damage is without_its_tables:
        with changed_by_hand(file) as database:
            database.execute("DROP TABLE finished_sessions")
    before = file.read_bytes()
    with pytest.raises(StateError):
        read_sessions(tmp_path)
    assert file.read_bytes() == before
