import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from exporter.app import App
from exporter.config import Config, load
from exporter.errors import ConfigError, StateError
from exporter.guard import owner_of
from exporter.kept_logins import write_by_person
from exporter.listening import ListenError
from exporter.model import Login
from exporter.simulator.cloud import RunningCloud, start_cloud
from exporter.simulator.settings import CloudConfig
from exporter.simulator.world import World, WorldConfig
from exporter.state import State


def config_for(url: str, state: Path, **more: str) -> Config:
    environment = {
        "ENPHASE_EV_STATE_PATH": str(state),
        "ENPHASE_EV_EMAIL": CloudConfig.email,
        "ENPHASE_EV_PASSWORD": CloudConfig.password,
        "ENPHASE_EV_CLOUD_BASE_URL": url,
        "ENPHASE_EV_CLOUD_ENTREZ_URL": url,
        "ENPHASE_EV_WEB_LISTEN_ADDRESS": "127.0.0.1:0",
        "ENPHASE_EV_POLL_INTERVAL": "200ms",
        "ENPHASE_EV_POLL_IDLE_INTERVAL": "200ms",
        "ENPHASE_EV_POLL_MAX_REQUESTS_PER_HOUR": "100000",
    }
    config, _ = load(None, environment | more, {})
    return config


@dataclass
class Started:
    app: App
    cloud: RunningCloud
    running: asyncio.Task[None]
    http: aiohttp.ClientSession

    async def metrics(self) -> str:
        async with self.http.get(self.app.urls[0] + "/metrics") as response:
            assert response.status == 200
            return await response.text()

    async def shows(self, line: str) -> None:
        """Scrape until a line is there."""
        async with asyncio.timeout(10):
            while line not in await self.metrics():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def started(
    folder: Path, next_config: list[Config | ConfigError] | None = None
) -> AsyncIterator[Started]:
    cloud = await start_cloud(World(WorldConfig()))
    coming = next_config if next_config is not None else []

    def load_next() -> Config:
        config = coming.pop(0)
        if isinstance(config, ConfigError):
            raise config
        return config

    app = App(config_for(cloud.url, folder), load_config=load_next)
    running = asyncio.create_task(app.run())
    await asyncio.wait_for(app.listening.wait(), 10)
    async with aiohttp.ClientSession() as http:
        try:
            yield Started(app, cloud, running, http)
        finally:
            app.stop()
            await asyncio.wait_for(running, 10)
            await cloud.close()


async def test_a_started_exporter_shows_chargers_and_becomes_ready(tmp_path: Path) -> None:
    async with started(tmp_path) as s:
        await s.shows('enphase_ev_charger_connected{site_id="1234567"')
        async with s.http.get(s.app.urls[0] + "/-/ready") as response:
            assert (response.status, await response.text()) == (200, "ready: yes\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    async with started(tmp_path) as s:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(s.running, 5)


async def test_it_stops_even_while_the_cloud_keeps_it_waiting(tmp_path: Path) -> None:
    async with started(tmp_path) as s:
        await s.shows("enphase_ev_charger_connected")
        s.cloud.cloud.faults.add("slow", seconds=60)
        await asyncio.sleep(0.5)
        s.app.stop()
        await asyncio.wait_for(s.running, 5)


async def test_it_listens_before_the_cloud_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        app = App(config_for(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path))
        running = asyncio.create_task(app.run())
        await asyncio.wait_for(app.listening.wait(), 5)
        async with aiohttp.ClientSession() as http:
            async with http.get(app.urls[0] + "/metrics") as response:
                assert "enphase_ev_exporter_build_info" in await response.text()
            async with http.get(app.urls[0] + "/-/ready") as response:
                assert response.status == 503
            async with http.get(app.urls[0] + "/-/healthy") as response:
                assert response.status == 200
        app.stop()
        await asyncio.wait_for(running, 5)


async def test_a_port_that_is_taken_is_told_with_its_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = config_for("http://127.0.0.1:1", tmp_path, ENPHASE_EV_WEB_LISTEN_ADDRESS=f"127.0.0.1:{port}")
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}.*web.listen_address"):
            await App(config).run()


async def test_sighup_reloads_a_good_config_and_keeps_the_login(tmp_path: Path) -> None:
    coming: list[Config | ConfigError] = []
    async with started(tmp_path, coming) as s:
        await s.shows("enphase_ev_charger_connected")
        coming.append(config_for(s.cloud.url, tmp_path, ENPHASE_EV_POLL_MAX_REQUESTS_PER_HOUR="77777"))
        os.kill(os.getpid(), signal.SIGHUP)
        await s.shows('enphase_ev_api_request_budget_per_hour{account="default"} 77777')
        assert "enphase_ev_config_last_reload_successful 1" in await s.metrics()
        assert "enphase_ev_charger_connected" in await s.metrics()
        assert s.cloud.cloud.journal.count(endpoint="login") == 1


async def test_a_bad_config_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coming: list[Config | ConfigError] = []
    async with started(tmp_path, coming) as s:
        await s.shows("enphase_ev_charger_connected")
        coming.append(ConfigError("config.yml: poll.interval: 1s is below the floor"))
        os.kill(os.getpid(), signal.SIGHUP)
        await s.shows("enphase_ev_config_last_reload_successful 0")
        assert "below the floor" in caplog.text
        polls = s.cloud.cloud.journal.count(endpoint="status")
        async with asyncio.timeout(10):
            while s.cloud.cloud.journal.count(endpoint="status") <= polls + 2:
                await asyncio.sleep(0.05)
        coming.append(config_for(s.cloud.url, tmp_path))
        await s.app.reload()
        await s.shows("enphase_ev_config_last_reload_successful 1")


async def test_another_owner_makes_a_new_login(tmp_path: Path) -> None:
    coming: list[Config | ConfigError] = []
    async with started(tmp_path, coming) as s:
        await s.shows("enphase_ev_charger_connected")
        s.cloud.cloud.config.email = "other@example.com"
        coming.append(config_for(s.cloud.url, tmp_path, ENPHASE_EV_EMAIL="other@example.com"))
        await s.app.reload()
        async with asyncio.timeout(10):
            while s.cloud.cloud.journal.count(endpoint="login") < 2:
                await asyncio.sleep(0.02)
        await s.shows('enphase_ev_auth_up{account="default"} 1')


async def test_an_account_that_went_away_is_polled_no_more(tmp_path: Path) -> None:
    coming: list[Config | ConfigError] = []
    async with started(tmp_path, coming) as s:
        await s.shows('enphase_ev_up{site_id="1234568"} 1')
        coming.append(config_for(s.cloud.url, tmp_path, ENPHASE_EV_SITES="1234567"))
        await s.app.reload()
        assert 'site_id="1234568"' not in await s.metrics()
        await s.shows('enphase_ev_up{site_id="1234567"} 1')


async def test_the_accounts_survive_a_restart(tmp_path: Path) -> None:
    async with started(tmp_path) as s:
        await s.shows("enphase_ev_charger_energy_kwh_total{")
        assert "enphase_ev_state_set_aside 0" in await s.metrics()
        await s.shows("enphase_ev_state_writes_failed_total 0")
    state = State.open(tmp_path)
    assert len(state.load_ledgers()) == 3
    state.close_now()


async def test_a_second_exporter_on_the_same_state_refuses_to_start(tmp_path: Path) -> None:
    async with started(tmp_path) as s:
        with pytest.raises(StateError, match=str(tmp_path)):
            await App(config_for(s.cloud.url, tmp_path)).run()


async def test_a_damaged_state_is_set_aside_and_said_so(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite3").write_bytes(b"not a database" * 1000)
    async with started(tmp_path) as s:
        await s.shows("enphase_ev_state_set_aside 1")
        await s.shows("enphase_ev_charger_connected")
    assert list(tmp_path.glob("state.sqlite3.corrupt-*"))


async def test_a_restart_does_not_log_in_again(tmp_path: Path) -> None:
    cloud = await start_cloud(World(WorldConfig()))
    async with aiohttp.ClientSession() as http:
        for _ in range(3):
            app = App(config_for(cloud.url, tmp_path))
            running = asyncio.create_task(app.run())
            await asyncio.wait_for(app.listening.wait(), 10)
            await Started(app, cloud, running, http).shows('enphase_ev_up{site_id="1234567"} 1')
            app.stop()
            await asyncio.wait_for(running, 10)
    assert cloud.cloud.journal.count(endpoint="login") == 1
    await cloud.close()


async def test_restarts_with_a_refused_password_do_not_try_it_again(tmp_path: Path) -> None:
    cloud = await start_cloud(World(WorldConfig()), CloudConfig(password="another"))
    async with aiohttp.ClientSession() as http:
        for _ in range(5):
            app = App(config_for(cloud.url, tmp_path))
            running = asyncio.create_task(app.run())
            await asyncio.wait_for(app.listening.wait(), 10)
            await Started(app, cloud, running, http).shows(
                'enphase_ev_auth_reauthentication_required{account="default"} 1'
            )
            app.stop()
            await asyncio.wait_for(running, 10)
        assert cloud.cloud.journal.count(endpoint="login") == 1
        app = App(config_for(cloud.url, tmp_path, ENPHASE_EV_PASSWORD="another"))
        running = asyncio.create_task(app.run())
        await asyncio.wait_for(app.listening.wait(), 10)
        await Started(app, cloud, running, http).shows('enphase_ev_auth_up{account="default"} 1')
        app.stop()
        await asyncio.wait_for(running, 10)
    assert cloud.cloud.journal.count(endpoint="login") == 2
    await cloud.close()


async def test_a_login_made_by_a_person_is_picked_up_without_a_restart(tmp_path: Path) -> None:
    cloud = await start_cloud(World(WorldConfig()), CloudConfig(mfa="explicit"))
    app = App(config_for(cloud.url, tmp_path))
    running = asyncio.create_task(app.run())
    await asyncio.wait_for(app.listening.wait(), 10)
    async with aiohttp.ClientSession() as http:
        s = Started(app, cloud, running, http)
        await s.shows('enphase_ev_auth_reauthentication_required{account="default"} 1')
        cloud.cloud.config.captured_tokens.add("made-by-hand")
        login = Login({"_enlighten_4_session": "x"}, "made-by-hand", owner=owner_of(CloudConfig.email))
        write_by_person(tmp_path, "default", login)
        await s.shows('enphase_ev_auth_up{account="default"} 1')
        await s.shows('enphase_ev_auth_reauthentication_required{account="default"} 0')
        await s.shows('enphase_ev_up{site_id="1234567"} 1')
    assert cloud.cloud.journal.count(endpoint="login") == 1
    app.stop()
    await asyncio.wait_for(running, 10)
    await cloud.close()
