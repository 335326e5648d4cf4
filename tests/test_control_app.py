"""The control API of a whole exporter, against a real simulated cloud."""

from pathlib import Path
from typing import Any

import aiohttp
import bcrypt

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
