"""The state folder: what is kept, for whom, and what happens when disk or neighbour misbehave."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest
from msgspec import structs

from exporter.errors import StateError
from exporter.history import Slot
from exporter.model import ChargeMode, Ledger
from exporter.state import State, read_sessions
from exporter.state_file import MIGRATIONS, connect_to_write
from tests.state_folder import FINISHED, KEY, LEDGER, NOW, changed_by_hand, opened, saved


def child(script: str, folder: Path) -> "subprocess.Popen[str]":
    """Another process that runs `script` with the state opened by its `open_state()`."""
    beginning = (
        "import asyncio, os, resource, sys\n"
        "from pathlib import Path\n"
        "from exporter.errors import StateError\n"
        "from exporter.model import Ledger\n"
        "from exporter.state import State\n"
        "def open_state(): return State.open(Path(sys.argv[1]))\n"
        "def save(state, energy_kwh, chargers=1):\n"
        "    ledger = Ledger(1.0, energy_kwh=energy_kwh)\n"
        "    asyncio.run(state.save([('1', str(n), ledger) for n in range(chargers)], []))\n"
        "def limit_files(to): resource.setrlimit(resource.RLIMIT_FSIZE, (to, resource.RLIM_INFINITY))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", beginning + script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def lines_of(script: str, folder: Path) -> list[str]:
    with child(script, folder) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out.splitlines()


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("careless_umask")
async def test_folder_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "state"
    async with opened(folder) as state:
        await state.save([(*KEY, LEDGER)], [])
        assert [mode_of(path) for path in (folder.parent, folder)] == [0o700, 0o700]
        modes = {path.name: mode_of(path) for path in folder.iterdir()}
    assert modes == dict.fromkeys(
        ("state.lock", "state.sqlite3", "state.sqlite3-shm", "state.sqlite3-wal"), 0o600
    )


async def test_a_file_that_became_readable_for_others_is_closed_again(tmp_path: Path) -> None:
    file = await saved(tmp_path)
    file.chmod(0o644)
    async with opened(tmp_path):
        assert mode_of(file) == 0o600


async def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    other = structs.replace(LEDGER, energy_kwh=9.5, session=None)
    async with opened(tmp_path) as state:
        assert state.load_ledgers() == {}
        await state.save([(*KEY, structs.replace(LEDGER, energy_kwh=0.0)), ("1", "B", other)], [FINISHED])
        await state.save([(*KEY, LEDGER)], [])
    async with opened(tmp_path) as state:
        assert state.load_ledgers() == {KEY: LEDGER, ("1", "B"): other}
        assert await state.finished_sessions() == [FINISHED]
        assert state.set_aside is None


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """With synchronous = NORMAL (1) a write-ahead log may lose its newest commits with the power."""
    with closing(connect_to_write(tmp_path / "state.sqlite3", MIGRATIONS)) as database:
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_session_written_again_replaces_its_row(tmp_path: Path) -> None:
    late = replace(FINISHED, start_seconds=NOW + 0.4, energy_kwh=8.0, mode=None)
    neighbours = [replace(FINISHED, serial="B"), replace(FINISHED, site_id="1")]
    async with opened(tmp_path) as state:
        await state.save([], [FINISHED, *neighbours])
        await state.save([], [late])
        assert await state.finished_sessions() == [neighbours[1], neighbours[0], late]


async def test_sessions_are_found_by_start_and_serial_oldest_first(tmp_path: Path) -> None:
    first, second, third = (replace(FINISHED, start_seconds=NOW + hour * 3600) for hour in range(3))
    other = replace(second, serial="B")
    async with opened(tmp_path) as state:
        await state.save([], [third, other, first, second])
        assert await state.finished_sessions(since_seconds=NOW + 3600) == [second, other, third]
        assert await state.finished_sessions(until_seconds=NOW + 3600) == [first]
        assert await state.finished_sessions(serial="B", since_seconds=NOW, until_seconds=NOW + 7200) == [
            other
        ]


async def test_a_mode_of_a_later_version_is_unknown(tmp_path: Path) -> None:
    file = await saved(tmp_path, LEDGER, FINISHED)
    with changed_by_hand(file) as database:
        database.execute("UPDATE finished_sessions SET mode = 'LUNAR_CHARGING'")
    assert [one.mode for one in read_sessions(tmp_path)] == [ChargeMode.UNKNOWN]


async def test_one_bad_row_leaves_all_of_a_save_out(tmp_path: Path) -> None:
    nowhere = replace(FINISHED, energy_kwh=nan)
    async with opened(tmp_path) as state:
        await state.save([(*KEY, LEDGER)], [])
        with pytest.raises(StateError, match="cannot be written: SQLITE_CONSTRAINT"):
            await state.save([(*KEY, structs.replace(LEDGER, sessions=4))], [nowhere])
        assert state.load_ledgers() == {KEY: LEDGER}
        await state.save([(*KEY, structs.replace(LEDGER, sessions=5))], [FINISHED])
        assert state.load_ledgers()[KEY].sessions == 5


async def test_a_ledger_that_could_not_be_read_back_is_not_stored(tmp_path: Path) -> None:
    async with opened(tmp_path) as state:
        with pytest.raises(StateError, match="charger 482512001234 at site 1234567 cannot be stored"):
            await state.save([(*KEY, structs.replace(LEDGER, energy_kwh=nan))], [])
        assert state.load_ledgers() == {}


async def test_old_sessions_deleted_by_hand_give_their_space_back(tmp_path: Path) -> None:
    """As docs/state.md describes it, with the exporter stopped."""
    many = [replace(FINISHED, start_seconds=NOW + second) for second in range(5000)]
    async with opened(tmp_path) as state:
        await state.save([(*KEY, LEDGER)], many)
    before = size_after_checkpoint(tmp_path)
    with changed_by_hand(tmp_path / "state.sqlite3") as database:
        database.execute("DELETE FROM finished_sessions WHERE start_seconds < ?", (NOW + 4990,))
        database.commit()
        database.executescript("PRAGMA incremental_vacuum")
    assert size_after_checkpoint(tmp_path) < before / 5
    async with opened(tmp_path) as state:
        assert await state.finished_sessions() == many[-10:]
        assert state.load_ledgers() == {KEY: LEDGER}


def size_after_checkpoint(folder: Path) -> int:
    with changed_by_hand(folder / "state.sqlite3") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return (folder / "state.sqlite3").stat().st_size


async def test_a_closed_state_says_so_and_closes_twice(tmp_path: Path) -> None:
    state = State.open(tmp_path)
    state.close_now()
    await state.close()
    with pytest.raises(StateError, match="is closed"):
        await state.save([], [])
    with pytest.raises(StateError, match="is closed"):
        state.load_ledgers()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.lock", "state.sqlite3"]


async def test_a_second_exporter_is_refused_until_the_first_is_gone_even_killed(tmp_path: Path) -> None:
    with child("state = open_state(); print('open', flush=True); sys.stdin.read()", tmp_path) as process:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StateError, match="another exporter keeps its state here; stop it, or") as refused:
            State.open(tmp_path)
        assert str(tmp_path) in str(refused.value)
        process.send_signal(signal.SIGKILL)
    async with opened(tmp_path) as state:
        assert state.load_ledgers() == {}
        with pytest.raises(StateError, match="another exporter"):
            State.open(tmp_path)
        await state.save([(*KEY, LEDGER)], [])


def test_a_disk_that_fills_up_fails_saves_until_there_is_room_again(tmp_path: Path) -> None:
    told = lines_of(
        "state = open_state()\n"
        "save(state, 1.0)\n"
        "limit_files(256 * 1024)\n"
        "try:\n"
        "    for count in range(200):\n"
        "        save(state, count + 1.0, chargers=50)\n"
        "except StateError as error:\n"
        "    print(error)\n"
        "print(count, sorted({ledger.energy_kwh for ledger in state.load_ledgers().values()}))\n"
        "limit_files(0)\n"
        "try:\n"
        "    save(state, 77.0, chargers=50)\n"
        "except StateError as error:\n"
        "    print(error)\n"
        "limit_files(resource.RLIM_INFINITY)\n"
        "save(state, 99.0, chargers=50)\n"
        "state.close_now()\n",
        tmp_path,
    )
    failure = f"{tmp_path}: state cannot be written: the disk refuses (I/O error or quota)"
    count = int(told[1].split()[0])
    assert count > 0
    assert told == [failure, f"{count} [{float(count)}]", failure]
    state = State.open(tmp_path)
    assert [ledger.energy_kwh for ledger in state.load_ledgers().values()] == [99.0] * 50
    state.close_now()


async def test_a_disk_that_takes_no_writes_at_start_is_read_and_written_when_it_does(tmp_path: Path) -> None:
    await saved(tmp_path, LEDGER)
    told = lines_of(
        "limit_files(0)\n"
        "state = open_state()\n"
        "print([ledger.sessions for ledger in state.load_ledgers().values()])\n"
        "try:\n"
        "    save(state, 1.0)\n"
        "except StateError as error:\n"
        "    print(error)\n"
        "print(len(state.load_ledgers()))\n"
        "limit_files(resource.RLIM_INFINITY)\n"
        "save(state, 1.0)\n"
        "print(len(state.load_ledgers()), state.set_aside)\n"
        "state.close_now()\n",
        tmp_path,
    )
    failure = f"{tmp_path}: state cannot be written: the disk refuses (I/O error or quota)"
    assert told == ["[3]", failure, "1", "2 None"]


def test_a_disk_that_takes_no_writes_and_holds_no_state_is_refused(tmp_path: Path) -> None:
    told = lines_of(
        "limit_files(0)\ntry:\n    open_state()\nexcept StateError as error:\n    print(error)\n",
        tmp_path,
    )
    assert told == [
        f"{tmp_path}: no state can be kept here: the disk refuses (I/O error or quota); "
        "name a folder with --state.path"
    ]


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o555, None), (0o777, 0o000), (0o777, 0o444)])
def test_what_belongs_to_another_user_is_refused_with_the_remedy(
    folder_mode: int, file_mode: int | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if file_mode is not None:
            State.open(folder).close_now()
            (folder / "state.sqlite3").chmod(file_mode)
            (folder / "state.lock").unlink()
        folder.chmod(folder_mode)
        script = (
            # pathlib imports it late, when a library in root's home may be out of reach
            "import urllib.parse\n"
            "if os.geteuid() == 0: os.setuid(65534)\n"
            "try:\n"
            "    open_state()\n"
            "except StateError as error:\n"
            "    print(os.geteuid(), error)\n"
        )
        ((uid, message),) = [line.split(" ", 1) for line in lines_of(script, folder)]
        folder.chmod(0o700)
    assert message == (
        f"{name}: the state folder is not writable for uid {uid}, which runs the exporter; "
        f"as root: mkdir -p {name} && chown -R {uid} {name}"
    )


async def test_a_file_that_cannot_be_opened_for_another_reason_is_not_taken_for_damaged(
    tmp_path: Path,
) -> None:
    file = await saved(tmp_path)
    file.with_name(file.name + "-wal").mkdir()
    with pytest.raises(StateError, match="no state can be kept here: the file cannot be opened"):
        State.open(tmp_path)
    assert {"state.sqlite3", "state.sqlite3-wal"} <= {path.name for path in tmp_path.iterdir()}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError, match="no state can be kept here: Not a directory"):
        State.open(tmp_path / "state")


async def test_a_file_deleted_under_a_running_exporter_is_noticed(tmp_path: Path) -> None:
    async with opened(tmp_path) as state:
        await state.save([(*KEY, LEDGER)], [])
        for path in tmp_path.glob("state.sqlite3*"):
            path.unlink()
        for _ in range(2):
            with pytest.raises(StateError, match="the file is gone; restart the exporter"):
                await state.save([(*KEY, LEDGER)], [])


async def test_a_file_restored_under_a_running_exporter_is_written_from_then_on(tmp_path: Path) -> None:
    backup = (await saved(tmp_path / "backup", LEDGER)).read_bytes()
    folder = tmp_path / "state"
    async with opened(folder) as state:
        await state.save([("1", "A", LEDGER)], [])
        for path in folder.glob("state.sqlite3*"):
            path.unlink()
        (folder / "restored").write_bytes(backup)
        (folder / "restored").rename(folder / "state.sqlite3")
        await state.save([("1", "B", LEDGER)], [])
    async with opened(folder) as state:
        assert set(state.load_ledgers()) == {KEY, ("1", "B")}


async def test_sessions_are_read_beside_a_running_exporter(tmp_path: Path) -> None:
    second = replace(FINISHED, start_seconds=NOW + 7200)
    async with opened(tmp_path) as state:
        await state.save([], [FINISHED])
        assert read_sessions(tmp_path) == [FINISHED]
        await state.save([], [second])
        assert read_sessions(tmp_path, since_seconds=NOW + 1) == [second]
        assert read_sessions(tmp_path, until_seconds=NOW + 1, serial=KEY[1]) == [FINISHED]
        assert read_sessions(tmp_path, serial="B") == []


async def test_reading_sessions_of_a_stopped_exporter_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    await saved(tmp_path, LEDGER, FINISHED)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert read_sessions(tmp_path) == [FINISHED]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["nowhere", "empty", "begun"])
def test_reading_sessions_where_there_is_no_state_says_so(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "state.sqlite3").touch()
    with pytest.raises(
        StateError, match=r"no exporter has kept its state here; name its folder with --state\.path"
    ):
        read_sessions(tmp_path / name)


async def test_the_page_reads_the_last_day_and_the_newest_sessions(tmp_path: Path) -> None:
    sessions = [replace(FINISHED, start_seconds=FINISHED.start_seconds + 3600 * n) for n in range(3)]
    async with opened(tmp_path) as state:
        for energy_kwh, at in ((1.0, 900.0), (2.0, 1800.0)):
            ledger = Ledger(0.0, energy_kwh=energy_kwh, at_seconds=at, charging=True)
            await state.save([(*KEY, ledger)], sessions)
        history = await state.history(2)
    assert history.slots == {KEY: [Slot(1, 1.0, True), Slot(2, 2.0, True)]}
    assert history.sessions == [sessions[2], sessions[1]]
