import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from exporter.kept_variants import KeptVariants
from exporter.state import State
from exporter.state_file import MIGRATIONS
from tests.state_folder import opened, saved


async def test_what_worked_is_known_after_a_restart_by_site_and_chain(tmp_path: Path) -> None:
    async with opened(tmp_path) as state:
        kept = KeptVariants(state)
        assert kept.of("1", "stop") is None
        await kept.remember("1", "stop", 1)
        await kept.remember("1", "start-with-level", 3)
        await kept.remember("2", "stop", 2)
        assert kept.of("1", "stop") == 1
    async with opened(tmp_path) as state:
        kept = KeptVariants(state)
        chains = [("1", "stop"), ("1", "start-with-level"), ("2", "stop"), ("2", "start-with-level")]
        assert [kept.of(*chain) for chain in chains] == [1, 3, 2, None]


async def test_what_worked_last_takes_the_place_of_what_worked_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as state:
        kept = KeptVariants(state)
        await kept.remember("1", "stop", 1)
        await kept.remember("1", "stop", 0)
        assert kept.of("1", "stop") == 0
    async with opened(tmp_path) as state:
        assert KeptVariants(state).of("1", "stop") == 0


async def test_what_is_known_already_is_not_written_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as state:
        kept = KeptVariants(state)
        await kept.remember("1", "stop", 1)
        await state.write(lambda database: database.execute("DELETE FROM working_variants"))
        await kept.remember("1", "stop", 1)
        assert await state.read(rows) == []


def rows(database: sqlite3.Connection) -> list[tuple[str, str, int]]:
    return database.execute("SELECT site_id, chain, variant FROM working_variants").fetchall()


async def test_a_disk_that_refuses_is_said_once_and_forgets_nothing_until_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = State.open(tmp_path)
    kept = KeptVariants(state)
    state.close_now()
    await kept.remember("1", "stop", 1)
    await kept.remember("1", "start-with-level", 3)
    assert (kept.of("1", "stop"), kept.of("1", "start-with-level")) == (1, 3)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_state_of_the_version_before_is_brought_forward_with_what_it_holds(tmp_path: Path) -> None:
    before = tuple(
        MIGRATIONS[: next(i for i, step in enumerate(MIGRATIONS) if "working_variants" in step[0])]
    )
    async with opened(tmp_path, migrations=before) as state:
        await state.write(
            lambda database: database.execute("INSERT INTO logins VALUES ('home', NULL, NULL, 7, 0)")
        )
    async with opened(tmp_path) as state:
        kept = KeptVariants(state)
        await kept.remember("1", "stop", 2)
        assert await state.read(rows) == [("1", "stop", 2)]
        assert await state.read(marks) == [(7,)]


def marks(database: sqlite3.Connection) -> list[tuple[int]]:
    return database.execute("SELECT mark FROM logins").fetchall()


async def test_the_table_is_in_the_file(tmp_path: Path) -> None:
    file = await saved(tmp_path)
    with closing(sqlite3.connect(file)) as database:
        assert rows(database) == []
