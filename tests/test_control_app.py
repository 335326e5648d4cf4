"""The control API of a whole exporter, against a real simulated cloud."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest

from exporter.errors import CommandRefused
from exporter.simulator.cloud import RunningCloud
from tests.commands import Exporter, cloud_with, command, environment_for, exporting

TOKEN = "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ON = {"ENPHASE_EV_CONTROL_ENABLED": "true", "ENPHASE_EV_CONTROL_TOKEN": TOKEN}


def waiting_car(cloud: RunningCloud) -> str:
    """The serial of a charger with a car that waits to be told."""
    charger = next(iter(cloud.cloud.world.chargers.values()))
    charger.manual = True
    charger.mode = "MANUAL_CHARGING"
    charger.unplug()
    charger.plug()
    return charger.serial


async def told(exporter: Exporter, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    url = exporter.app.urls[0] + path
    method = "GET" if body is None else "POST"
    more = {} if body is None else {"json": body}
    async with exporter.http.request(method, url, headers=headers or BEARER, **more) as response:
        return response.status, await response.json(content_type=None)


async def test_while_control_is_off_its_paths_are_not_there(tmp_path: Path) -> None:
    async with cloud_with() as cloud, exporting(environment_for(cloud.url, tmp_path)) as exporter:
        await exporter.shows('enphase_ev_up{site_id="1234567"} 1')
        for path in ("/api/v1", "/api/v1/chargers", "/api/v1/openapi.json"):
            async with exporter.http.get(exporter.app.urls[0] + path, headers=BEARER) as response:
                assert response.status == 404
        page = await exporter.page()
        assert "control_commands" not in page
        assert "start_charging" not in page


async def test_a_command_reaches_the_charger_and_is_counted(tmp_path: Path) -> None:
    async with cloud_with() as cloud, exporting(environment_for(cloud.url, tmp_path, **ON)) as exporter:
        serial = waiting_car(cloud)
        await exporter.shows(f'charger_plugged_in{{site_id="1234567",serial="{serial}"}} 1')
        status, answer = await told(exporter, f"/api/v1/chargers/{serial}/start", {"amps": 10})
        assert (status, answer["result"], answer["confirmed"]) == (200, "accepted", True)
        assert cloud.cloud.world.charger(serial).charging
        assert [entry.json() for entry in cloud.cloud.journal.select(endpoint="start_charging")] == [
            {"chargingLevel": 10, "connectorId": 1}
        ]
        page = await exporter.shows('control_commands_total{command="start",result="accepted"} 1.0')
        assert 'api_requests_total{account="default",endpoint="start_charging",code="200"} 1' in page
        assert 'errors_total{account="default",endpoint="stop_charging",kind="timeout"} 0' in page
        _, known = await told(exporter, f"/api/v1/chargers/{serial}")
        assert known["last_command"]["amps"] == 10


async def test_a_reload_keeps_control_and_what_it_has_sent(tmp_path: Path) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, **ON)
        async with exporting(settings | {"ENPHASE_EV_CONTROL_COMMAND_LIMIT": "2"}) as exporter:
            serial = waiting_car(cloud)
            await exporter.shows(f'charger_plugged_in{{site_id="1234567",serial="{serial}"}} 1')
            path = f"/api/v1/chargers/{serial}/trigger"
            assert (await told(exporter, path, {"message": "Heartbeat"}))[0] == 200
            await exporter.app.reload()
            await exporter.shows("enphase_ev_config_last_reload_successful 1")
            await exporter.shows(f'charger_plugged_in{{site_id="1234567",serial="{serial}"}} 1')
            assert (await told(exporter, path, {"message": "Heartbeat"}))[0] == 200
            assert (await told(exporter, path, {"message": "Heartbeat"}))[0] == 429
        assert cloud.cloud.journal.count(endpoint="trigger_message") == 2


async def charging_car(exporter: Exporter, cloud: RunningCloud) -> str:
    """The serial of a charger that was told to start, and charges."""
    serial = waiting_car(cloud)
    await exporter.shows(f'charger_plugged_in{{site_id="1234567",serial="{serial}"}} 1')
    assert (await told(exporter, f"/api/v1/chargers/{serial}/start", {"amps": 10}))[0] == 200
    return serial


async def test_a_stop_works_after_a_reload_while_discovery_is_down(tmp_path: Path) -> None:
    async with cloud_with() as cloud, exporting(environment_for(cloud.url, tmp_path, **ON)) as exporter:
        serial = await charging_car(exporter, cloud)
        cloud.cloud.faults.add("status", endpoint="sites", status=503)
        await exporter.app.reload()
        status, answer = await told(exporter, f"/api/v1/chargers/{serial}/stop", {})
        assert (status, answer["result"], answer["confirmed"]) == (200, "accepted", True)
        assert not cloud.cloud.world.charger(serial).charging
        assert 'enphase_ev_up{site_id="1234567"} 1' in await exporter.page()


@pytest.mark.parametrize("endpoint", ["status", "sites"])
async def test_a_stop_works_after_a_restart_into_an_outage(tmp_path: Path, endpoint: str) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, **ON)
        async with exporting(settings) as exporter:
            serial = await charging_car(exporter, cloud)
        cloud.cloud.faults.add("status", endpoint=endpoint, status=503)
        async with exporting(settings) as exporter:
            status, answer = await told(exporter, f"/api/v1/chargers/{serial}/stop", {"wait_seconds": 0})
            assert (status, answer["result"], answer["confirmed"]) == (202, "accepted", False)
            assert not cloud.cloud.world.charger(serial).charging


async def test_a_reload_that_turns_control_off_lets_nobody_in_and_one_that_turns_it_on_does(
    tmp_path: Path,
) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path, **ON)
        async with exporting(settings) as exporter:
            assert (await told(exporter, "/api/v1/chargers"))[0] == 200
            settings["ENPHASE_EV_CONTROL_ENABLED"] = "false"
            await exporter.app.reload()
            for path in ("/api/v1", "/api/v1/chargers", "/api/v1/openapi.json"):
                assert (await told(exporter, path))[0] == 404
            settings["ENPHASE_EV_CONTROL_ENABLED"] = "true"
            settings["ENPHASE_EV_CONTROL_TOKEN"] = "another-token-of-it"
            await exporter.app.reload()
            assert (await told(exporter, "/api/v1/chargers"))[0] == 401
            fresh = {"Authorization": "Bearer another-token-of-it"}
            assert (await told(exporter, "/api/v1/chargers", **fresh))[0] == 200


async def test_turning_control_on_needs_a_restart_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloud_with() as cloud:
        settings = environment_for(cloud.url, tmp_path)
        async with exporting(settings) as exporter:
            settings |= ON
            await exporter.app.reload()
            assert "turning control on needs a restart" in caplog.text


async def test_who_waits_for_a_command_is_told_when_the_exporter_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with cloud_with() as cloud, exporting(environment_for(cloud.url, tmp_path, **ON)) as exporter:
        serial = await charging_car(exporter, cloud)
        cloud.cloud.config.command_lag_seconds = 1000
        waiting = asyncio.create_task(told(exporter, f"/api/v1/chargers/{serial}/stop", {}))
        async with asyncio.timeout(5):
            while not cloud.cloud.journal.count(endpoint="stop_charging"):
                await asyncio.sleep(0.01)
        exporter.app.stop()
        status, answer = await asyncio.wait_for(waiting, 5)
        assert (status, answer["result"]) == (504, "failed")
        assert "the exporter stops" in answer["detail"]
    commands = [record.__dict__ for record in caplog.records if record.message == "command"]
    assert [(one["command"], one["result"]) for one in commands[1:]] == [("stop", "unconfirmed")]


async def test_a_command_for_a_site_that_a_reload_took_away_is_refused_unsent(tmp_path: Path) -> None:
    async with cloud_with() as cloud, exporting(environment_for(cloud.url, tmp_path, **ON)) as exporter:
        await exporter.shows('enphase_ev_up{site_id="1234567"} 1')
        assert exporter.app._control is not None
        writes = exporter.app._control._writes
        assert writes("1234567").planned_stop("1234567", "A")
        with pytest.raises(CommandRefused, match="nothing was sent"):
            writes("99")


async def test_a_password_alone_opens_no_control_and_a_token_alone_nothing_else(tmp_path: Path) -> None:
    users = tmp_path / "web.yml"
    users.write_text(
        f'basic_auth_users: {{owner: "{bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()}"}}'
    )
    users.chmod(0o600)
    more = ON | {"ENPHASE_EV_WEB_CONFIG_FILE": str(users)}
    basic = aiohttp.encode_basic_auth("owner", "correct horse")
    state = tmp_path / "state"
    async with cloud_with() as cloud, exporting(environment_for(cloud.url, state, **more)) as exporter:
        path = "/api/v1/chargers"
        assert (await told(exporter, path, Authorization=basic))[0] == 401
        assert (await told(exporter, path, **BEARER))[0] == 200
        both = {"Authorization": basic, "X-Control-Token": TOKEN}
        assert (await told(exporter, path, **both))[0] == 200
        wrong = {"Authorization": basic, "X-Control-Token": TOKEN[:-1]}
        assert (await told(exporter, path, **wrong))[0] == 401
        for headers in ({}, BEARER, {"X-Control-Token": TOKEN}):
            async with exporter.http.get(exporter.app.urls[0] + "/metrics", headers=headers) as response:
                assert response.status == 401
        async with exporter.http.get(
            exporter.app.urls[0] + "/metrics", headers={"Authorization": basic}
        ) as response:
            assert response.status == 200


async def test_control_without_a_token_or_with_a_short_one_is_refused_with_a_sentence(tmp_path: Path) -> None:
    settings = environment_for("http://127.0.0.1:1", tmp_path, ENPHASE_EV_CONTROL_ENABLED="true")
    without = await command(settings, "run")
    assert without.code == 2
    assert "control is on without a token, expected control.token_file" in without.err
    short = await command(settings | {"ENPHASE_EV_CONTROL_TOKEN": "0123456789abcde"}, "run")
    assert short.code == 2
    assert "ENPHASE_EV_CONTROL_TOKEN: expected at least 16 characters" in short.err
    assert "0123456789abcde" not in short.err
