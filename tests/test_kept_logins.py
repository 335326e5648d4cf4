"""Logins and guards on disk: across restarts, beside the `login` command, and after damage."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from exporter.auth import Auth
from exporter.errors import BadCredentials, CloudError, LoginExpired, MfaRequired, StateError, TooManyLogins
from exporter.kept_logins import (
    NOTHING_KEPT,
    STAMP_NAME,
    KeptLogins,
    read_logins,
    ready_to_write,
    write_by_person,
    write_guard,
)
from exporter.login import Surfaces
from exporter.model import Guard, Login
from exporter.simulator.settings import CloudConfig
from exporter.state import State
from tests.wiring import OWNER, Wired, wired

LOGIN = Login(
    cookies={"_enlighten_4_session": "canary-cookie", "locale": "en"},
    token="canary-token",
    token_expiry_seconds=1_800_086_400.0,
    bearer="canary-bearer",
    user_id="7654321",
    obtained_seconds=1_800_000_000.0,
    owner="salt$hash",
)
OTHER = Login(cookies={"a": "b"})
GUARD = Guard("blocked", "the cloud has blocked the account for now", 1, 1.8e9, 1.8e9 + 86_400, "salt$hash")


@contextmanager
def kept_in(folder: Path) -> Iterator[KeptLogins]:
    """The kept logins of an exporter that is running."""
    state = State.open(folder)
    try:
        yield KeptLogins(state, folder)
    finally:
        state.close_now()


async def test_a_login_and_a_guard_are_there_again_whole_after_a_restart(tmp_path: Path) -> None:
    with kept_in(tmp_path) as kept:
        assert kept.of("home") is NOTHING_KEPT
        await kept.store_for("home")(LOGIN, GUARD)
        await kept.store_for("barn")(None, GUARD)
    with kept_in(tmp_path) as kept:
        assert kept.of("home")[:2] == (LOGIN, GUARD)
        assert kept.of("barn")[:2] == (None, GUARD)


async def test_what_is_kept_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with kept_in(folder) as kept:
        await kept.store_for("home")(LOGIN, None)
        write_by_person(folder, "home", OTHER)
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_login_made_by_a_person_is_seen_once(tmp_path: Path) -> None:
    with kept_in(tmp_path) as kept:
        assert await kept.made_by_person() == {}
        write_by_person(tmp_path, "home", LOGIN)
        assert await kept.made_by_person() == {"home": LOGIN}
        assert await kept.made_by_person() == {}
        assert kept.of("home").login == LOGIN
        assert kept.of("home").guard is None


async def test_a_login_that_was_there_before_the_start_is_no_news(tmp_path: Path) -> None:
    write_by_person(tmp_path, "home", LOGIN)
    with kept_in(tmp_path) as kept:
        assert kept.of("home").login == LOGIN
        assert await kept.made_by_person() == {}


async def test_a_login_removed_by_a_person_is_news_as_well(tmp_path: Path) -> None:
    with kept_in(tmp_path) as kept:
        await kept.store_for("home")(LOGIN, GUARD)
        write_by_person(tmp_path, "home", None)
        assert await kept.made_by_person() == {"home": None}
    assert read_logins(tmp_path)["home"][:2] == (None, None)


async def test_the_exporter_does_not_write_over_a_login_it_has_not_seen(tmp_path: Path) -> None:
    with kept_in(tmp_path) as kept:
        store = kept.store_for("home")
        await store(OTHER, GUARD)
        write_by_person(tmp_path, "home", LOGIN)
        await store(OTHER, GUARD)
        assert read_logins(tmp_path)["home"][:2] == (LOGIN, None)
        assert await kept.made_by_person() == {"home": LOGIN}
        await store(OTHER, None)
        assert read_logins(tmp_path)["home"].login == OTHER


async def test_the_exporters_own_writes_are_no_news_to_it(tmp_path: Path) -> None:
    with kept_in(tmp_path) as kept:
        await kept.store_for("home")(LOGIN, None)
        write_by_person(tmp_path, "barn", OTHER)
        assert await kept.made_by_person() == {"barn": OTHER}


async def test_a_guard_met_by_a_command_leaves_the_login(tmp_path: Path) -> None:
    write_by_person(tmp_path, "home", LOGIN)
    write_guard(tmp_path, "home", GUARD)
    assert read_logins(tmp_path)["home"][:2] == (LOGIN, GUARD)
    write_by_person(tmp_path, "home", OTHER)
    assert read_logins(tmp_path)["home"][:2] == (OTHER, None)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"cookies": 7}', "\x00", '{"cookies": {"a": 1}}'])
async def test_a_login_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    write_by_person(tmp_path, "home", LOGIN)
    write_guard(tmp_path, "home", GUARD)
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as database, database:
        database.execute("UPDATE logins SET login = ?", (text,))
    with kept_in(tmp_path) as kept:
        assert kept.of("home")[:2] == (None, GUARD)


async def test_what_a_later_version_adds_does_no_harm(tmp_path: Path) -> None:
    write_by_person(tmp_path, "home", LOGIN)
    with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as database, database:
        database.execute("UPDATE logins SET login = json_set(login, '$.later', 1)")
    with kept_in(tmp_path) as kept:
        assert kept.of("home").login == LOGIN


def test_nothing_is_kept_where_nothing_is(tmp_path: Path) -> None:
    assert read_logins(tmp_path) == {}
    assert read_logins(tmp_path / "not there") == {}
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_login_is_told_beforehand(tmp_path: Path) -> None:
    ready_to_write(tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=str(tmp_path)):
        ready_to_write(tmp_path / "file")


async def test_a_full_disk_costs_no_poll_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with kept_in(tmp_path) as kept:
        store = kept.store_for("home")
        with closing(sqlite3.connect(tmp_path / "state.sqlite3")) as database, database:
            database.execute("DROP TABLE logins")
        await store(LOGIN, None)
        await store(LOGIN, None)
        assert [record.getMessage().count("not stored") for record in caplog.records] == [1]
        os.utime(_touched(tmp_path), (1, 1))
        assert await kept.made_by_person() == {}
    assert "canary" not in caplog.text


def _touched(folder: Path) -> Path:
    stamp = folder / STAMP_NAME
    stamp.touch()
    return stamp


def test_nothing_kept_prints() -> None:
    assert "canary" not in repr(LOGIN)
    assert "salt" not in repr(LOGIN) + repr(GUARD)


@asynccontextmanager
async def restarted(w: Wired, folder: Path) -> AsyncIterator[Auth]:
    """The account as a freshly started exporter has it."""
    with kept_in(folder) as kept:
        found = kept.of("home")
        auth = Auth(
            w.transport,
            OWNER,
            Surfaces(w.url, w.url),
            account="home",
            wall_clock=w.wall,
            store=kept.store_for("home"),
            login=found.login,
            guard=found.guard,
        )
        yield auth
        await auth.close()


@pytest.mark.parametrize(
    ("config", "error", "most"),
    [
        ({"password": "another"}, BadCredentials, 3),
        ({"password": "another", "refusal": "200"}, BadCredentials, 3),
        ({"mfa": "explicit"}, MfaRequired, 1),
        ({"login_outcome": "blocked"}, TooManyLogins, 1),
        ({"max_logins": 0}, TooManyLogins, 1),
    ],
)
async def test_a_day_of_refusals_over_20_restarts_sees_the_documented_attempts(
    tmp_path: Path, config: dict[str, str], error: type[CloudError], most: int
) -> None:
    async with wired(CloudConfig(**config)) as w:  # type: ignore[arg-type]
        for _ in range(20):
            async with restarted(w, tmp_path) as auth:
                for _ in range(72):
                    with pytest.raises(error):
                        await auth.headers("")
                    w.wall.seconds += 59.9
        assert w.logins() == most


async def test_a_crash_loop_in_the_middle_of_logins_tries_once_a_minute_at_most(tmp_path: Path) -> None:
    async with wired() as w:
        w.cloud.faults.add("slow", endpoint="login", seconds=60)
        for _ in range(6):
            async with restarted(w, tmp_path) as auth:
                if auth.guard is None or w.wall.seconds >= (auth.guard.until_seconds or 0):
                    before = w.logins()
                    waiting = asyncio.create_task(auth.headers(""))
                    while w.logins() == before:
                        await asyncio.sleep(0.001)
                    waiting.cancel()
                else:
                    with pytest.raises(LoginExpired, match="cut off"):
                        await auth.headers("")
            w.wall.seconds += 20
        assert w.logins() == 2


async def test_a_login_survives_restarts_with_its_rotated_cookies(tmp_path: Path) -> None:
    async with wired(CloudConfig(rotate_every=1)) as w:
        for _ in range(10):
            async with restarted(w, tmp_path) as auth:
                w.client.auth = auth
                assert (await w.client.fetch_status(w.site_id)).chargers
            w.wall.seconds += 3600
        assert w.logins() == 1
