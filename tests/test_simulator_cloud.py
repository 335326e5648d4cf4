"""The pretend cloud as a client on a socket sees it: every refusal, every route."""

from collections.abc import AsyncIterator

import pytest

from exporter.simulator.vehicle import GREEN, MANUAL
from exporter.simulator.world import SimCharger
from tests.visitor import (
    CHARGER,
    EVC,
    NOON,
    OWNER,
    PREFERENCE,
    SERIAL,
    SITE,
    STATUS,
    SUMMARY,
    Open,
    Visitor,
    visits,
)


@pytest.fixture
async def visit() -> AsyncIterator[Open]:
    async with visits() as open_cloud:
        yield open_cloud


# refusals


@pytest.mark.parametrize("path", ["/login/login.json", STATUS, "/app-api/search_sites.json"])
async def test_a_user_agent_that_is_no_browser_is_not_acceptable(visit: Open, path: str) -> None:
    visitor = await visit(logged_in=True)
    method = "POST" if "login" in path else "GET"
    answer = await visitor.ask(method, path, headers={"User-Agent": "python/3"}, data=OWNER)
    assert answer.status == 406


@pytest.mark.parametrize(
    ("how", "status", "start"),
    [
        ("json", 401, '{"meta"'),
        ("empty", 401, ""),
        ("login_page", 200, "<!DOCTYPE html>"),
        ("redirect", 200, "<!DOCTYPE html>"),
    ],
)
async def test_an_expired_session_shows_as_configured(visit: Open, how: str, status: int, start: str) -> None:
    visitor = await visit(logged_in=True, expired_as=how)
    visitor.cloud.expire_sessions()
    for path in (STATUS, "/app-api/search_sites.json", "/users/self/token"):
        answer = await visitor.read(path)
        assert answer.status == status
        assert answer.text.startswith(start)
        assert bool(answer.text) is bool(start)
        assert ("/login/login" in answer.text) is start.startswith("<!")


async def test_sessions_and_tokens_expire_by_their_lifetimes(visit: Open) -> None:
    visitor = await visit(logged_in=True, token_lifetime_seconds=60, session_lifetime_seconds=600)
    cookies_only = {"e-auth-token": "null"}
    visitor.clock.seconds += 61
    assert (await visitor.read(STATUS)).status == 401
    assert (await visitor.read(STATUS, headers=cookies_only)).status == 200
    visitor.clock.seconds += 600
    assert (await visitor.read(STATUS, headers=cookies_only)).status == 401


async def test_a_stale_token_beside_good_cookies_is_unauthorized(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    visitor.cloud.expire_tokens()
    assert (await visitor.read(STATUS)).status == 401
    assert (await visitor.read("/app-api/search_sites.json")).status == 200


async def test_a_missing_token_is_an_error_where_it_is_required(visit: Open) -> None:
    visitor = await visit(logged_in=True, require_token=True)
    assert (await visitor.read(STATUS)).status == 200
    answer = await visitor.read(STATUS, headers={"e-auth-token": "null"})
    assert (answer.status, answer.json()["error"]["code"]) == (500, "500")


async def test_charge_mode_needs_a_bearer_token(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    assert (await visitor.read(PREFERENCE)).status == 200
    assert (await visitor.read(PREFERENCE, headers={"Authorization": "Bearer stale"})).status == 401
    del visitor.headers["Authorization"]
    assert (await visitor.read(PREFERENCE)).status == 401


async def test_a_captured_token_and_a_cookie_are_a_session(visit: Open) -> None:
    visitor = await visit(captured_tokens={"captured"})
    captured = {"e-auth-token": "captured", "Authorization": "Bearer captured"}
    assert (await visitor.read(STATUS, headers=captured)).status == 401
    captured["Cookie"] = "anything=1"
    assert (await visitor.read(STATUS, headers=captured)).status == 200
    assert (await visitor.read(PREFERENCE, headers=captured)).status == 200
    visitor.cloud.config.captured_tokens.clear()
    assert (await visitor.read(STATUS, headers=captured)).status == 401


async def test_a_rotated_cookie_replaces_the_old_one_after_a_while(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    old = visitor.login_cookie
    visitor.cloud.config.rotate_every = 1
    await visitor.read(STATUS)
    new = visitor.login_cookie
    assert new != old
    visitor.cloud.config.rotate_every = 0
    visitor.forget_cookies()

    async def status_with(cookie: str) -> int:
        return (await visitor.read(STATUS, headers={"Cookie": f"_enlighten_4_session={cookie}"})).status

    assert (await status_with(old), await status_with(new)) == (200, 200)
    visitor.clock.seconds += 31
    assert (await status_with(old), await status_with(new)) == (401, 200)


async def test_an_unknown_site_is_refused_in_the_envelope(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    answer = await visitor.read(STATUS.replace(SITE, "999"))
    assert (answer.status, answer.json()["data"], answer.json()["error"]["status"]) == (
        403,
        None,
        "FORBIDDEN",
    )
    visitor.cloud.config.unknown_site_status = 400
    assert (await visitor.read(SUMMARY.replace(SITE, "999"))).status == 400


async def test_an_unknown_charger_is_not_found(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    assert (await visitor.read(PREFERENCE.replace(SERIAL, "1"))).status == 404


async def test_an_unknown_route_has_no_static_resource(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    for method, path in (
        ("GET", "/service/nothing"),
        ("POST", f"{EVC}/{SITE}/ev_charger/{SERIAL}/stop_charging"),
    ):
        answer = await visitor.ask(method, path)
        assert answer.status == 404
        assert answer.json()["detail"].startswith("No static resource service/")
    assert (await visitor.ask("PUT", f"{CHARGER}/start_charging")).status == 405


# reads


async def test_site_search_names_every_site(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    found = (await visitor.read("/app-api/search_sites.json?searchText=&favourite=false")).json()["sites"]
    assert [(site["id"], site["title"]) for site in found] == [
        (1234567, "Main Site"),
        (1234568, "Lake House"),
    ]


async def charge_for_an_hour(visitor: Visitor) -> SimCharger:
    charger = visitor.charger
    charger.plug()
    visitor.clock.seconds += 60
    charger.start(16)
    visitor.clock.seconds += 3600
    charger.report()
    return charger


async def test_enveloped_status_tells_the_truth_in_watt_hours(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    charger = await charge_for_an_hour(visitor)
    body = (await visitor.read(STATUS)).json()
    assert body["error"] == {}
    assert body["meta"]["serverTimeStamp"] == (NOON + 3660) * 1000
    assert (body["data"]["site"], body["data"]["tz"]) == (SITE, charger.region.timezone)
    (entry,) = body["data"]["chargers"]
    assert (entry["sn"], entry["name"], entry["mode"]) == (SERIAL, "IQ EV Charger_0017", 0)
    assert (entry["connected"], entry["pluggedIn"], entry["charging"]) == (True, True, True)
    assert entry["lst_rpt_at"] == "2026-05-02T13:01:00.000Z[UTC]"
    assert entry["session_d"]["plg_in_at"] == "2026-05-02T12:00:00.000Z[UTC]"
    assert entry["session_d"]["strt_chrg"] == (NOON + 60) * 1000
    assert entry["session_d"]["plg_out_at"] is None
    assert entry["session_d"]["e_c"] == round(charger.energy_wh, 2) > 3000
    assert entry["session_d"]["charge_level"] == 16
    assert entry["connectors"][0]["connectorStatusType"] == "CHARGING"
    assert "chargingLevel" not in entry


async def test_flat_status_tells_the_same_in_kilowatt_hours(visit: Open) -> None:
    visitor = await visit(logged_in=True, shape="flat")
    charger = await charge_for_an_hour(visitor)
    body = (await visitor.read(STATUS)).json()
    assert body["ts"] == NOON + 3660
    (entry,) = body["evChargerData"]
    assert entry["session_d"]["e_c"] == round(charger.energy_wh / 1000, 3)
    assert entry["session_d"]["start_time"] == NOON + 60
    assert entry["session_d"]["plg_in_at"] == NOON
    assert (entry["connectorStatusType"], entry["chargingLevel"]) == ("CHARGING", 16)
    assert entry["sch_d"] == {"enabled": False, "mode": "IMMEDIATE"}


async def test_keyed_status_is_thin(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    await charge_for_an_hour(visitor)
    body = (await visitor.read(f"{EVC}/api/v2/{SITE}/ev_chargers/status")).json()
    expected = {"connected": True, "pluggedIn": True, "charging": True, "lst_rpt_at": (NOON + 3660) * 1000}
    assert body["data"] == {SERIAL: expected}


async def test_an_offline_charger_is_told_as_last_seen(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    charger = await charge_for_an_hour(visitor)
    before = (await visitor.read(STATUS)).json()["data"]["chargers"][0]
    charger.go_offline()
    visitor.clock.seconds += 3600
    after = (await visitor.read(STATUS)).json()["data"]["chargers"][0]
    assert after == {**before, "connected": False, "offlineAt": "2026-05-02T13:01:00.000Z[UTC]"}


async def test_the_singular_status_path_is_there_only_instead_of_the_plural_one(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    singular = STATUS.replace("ev_chargers", "ev_charger")
    missing = await visitor.read(singular)
    assert (missing.status, "No static resource" in missing.text) == (404, True)
    visitor.cloud.config.singular_status = True
    assert (await visitor.read(STATUS)).status == 404
    assert (await visitor.read(singular)).json()["data"]["chargers"][0]["sn"] == SERIAL


async def test_summary_tells_identity_ratings_and_lifetime_energy(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    charger = await charge_for_an_hour(visitor)
    (entry,) = (await visitor.read(f"{SUMMARY}?filter_retired=true")).json()["data"]
    assert (entry["serialNumber"], entry["siteId"]) == (SERIAL, int(SITE))
    assert entry["lifeTimeConsumption"] == round(charger.lifetime_wh, 2)
    assert entry["chargeLevelDetails"]["max"] == str(charger.region.max_amps)
    assert (entry["operatingVoltage"], entry["phaseCount"]) == ("230", 3)
    assert entry["wiringConfiguration"] == {"L1": "L1", "L2": "L2", "L3": "L3", "N": "N"}
    assert "connectionStatus=1,ipaddr=192.0.2." in entry["networkConfig"]
    alias = (await visitor.read(f"{EVC}/{SITE}/ev_chargers/summary")).json()["data"]
    alone = (await visitor.read(f"{EVC}/api/v2/{SITE}/ev_chargers/{SERIAL}/summary")).json()["data"]
    assert alias == [alone] == [entry]


async def test_a_retired_charger_is_only_in_the_unfiltered_summary(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    visitor.charger.retired = True
    assert (await visitor.read(STATUS)).json()["data"]["chargers"] == []
    assert (await visitor.read(f"{SUMMARY}?filter_retired=true")).json()["data"] == []
    (entry,) = (await visitor.read(SUMMARY)).json()["data"]
    assert entry["isRetired"] is True


async def test_last_reported_maps_serials_to_milliseconds(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    await charge_for_an_hour(visitor)
    body = (await visitor.read(f"{EVC}/api/v2/{SITE}/ev_chargers/last_reported_at")).json()
    assert body["data"] == {SERIAL: (NOON + 3660) * 1000}


async def test_charge_mode_can_be_read_and_set(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    assert await enabled_modes(visitor) == ["MANUAL_CHARGING"]
    assert (await visitor.ask("PUT", PREFERENCE, json={"mode": MANUAL})).status == 400
    assert (await visitor.ask("PUT", PREFERENCE, json={"mode": GREEN})).status == 200
    assert await enabled_modes(visitor) == ["GREEN_CHARGING"]
    entry = (await visitor.read(STATUS)).json()["data"]["chargers"][0]
    assert (entry["mode"], entry["sch_d"]["info"][0]["type"]) == (1, "greencharging")


async def enabled_modes(visitor: Visitor) -> list[str]:
    modes = (await visitor.read(PREFERENCE)).json()["data"]["modes"]
    assert len(modes) == 4
    return [block["chargingMode"] for block in modes.values() if block["enabled"]]


async def test_a_live_stream_starts_and_stops(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    started = (await visitor.read(f"{EVC}/{SITE}/ev_chargers/start_live_stream")).json()["data"]
    topic = f"v1/evse/prod/live-stream/{SERIAL}"
    assert started == {"liveStreamTopicList": [topic], "liveStreamDuration": 900}
    assert visitor.cloud.services.live_streams == {SITE: NOON + 900}
    stopped = (await visitor.read(f"{EVC}/{SITE}/ev_chargers/stop_live_stream")).json()
    assert (stopped["data"], stopped["error"], visitor.cloud.services.live_streams) == (None, {}, {})


async def test_the_health_check_needs_no_login(visit: Open) -> None:
    visitor = await visit()
    answer = await visitor.read("/healthcheck", headers={"User-Agent": "curl/8"})
    assert answer.json()["STATUS"] == "UP"


# commands


async def test_start_and_stop_act_on_the_world(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    start, stop = f"{CHARGER}/start_charging", f"{CHARGER}/stop_charging"
    unplugged = await visitor.ask("POST", start, json={"chargingLevel": 16, "connectorId": 1})
    assert (unplugged.status, unplugged.json()["error"]["errorMessageCode"]) == (400, "iqevc_ms-10008")
    visitor.charger.plug()
    accepted = await visitor.ask("POST", start, json={"chargingLevel": 16, "connectorId": 1})
    assert accepted.json() == {"status": "accepted", "chargingLevel": 16}
    assert (visitor.charger.charging, visitor.charger.amps) == (True, 16)
    again = await visitor.ask("POST", start)
    assert (again.status, again.json()["error"]["errorMessageCode"]) == (400, "iqevc_ms-10012")
    assert (await visitor.ask("POST", start, json={"chargingLevel": 99})).status == 400
    assert (await visitor.ask("PUT", stop)).json() == {"status": "accepted"}
    assert visitor.charger.charging is False


async def test_a_trigger_for_meter_values_makes_the_charger_report(visit: Open) -> None:
    visitor = await visit(logged_in=True)
    visitor.clock.seconds += 17
    path = f"{EVC}/{SITE}/ev_charger/{SERIAL}/trigger_message"
    accepted = await visitor.ask("POST", path, json={"requestedMessage": "MeterValues"})
    assert accepted.json()["data"] == {"status": "accepted"}
    assert visitor.charger.last_reported == NOON + 17
    assert (await visitor.ask("POST", path, json={"requestedMessage": "TransactionEvent"})).status == 400
