"""Every kind of misbehaviour of the pretend cloud, its journal and its admin pages, seen by a real client."""

import json
import re
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from exporter.simulator.bend import BENDERS
from exporter.simulator.cloud import Cloud, CloudConfig, RunningCloud, start_cloud
from exporter.simulator.faults import KINDS
from exporter.simulator.login import OUTCOMES
from exporter.simulator.vehicle import MANUAL
from exporter.simulator.world import World, WorldConfig

NOON = 1777723200.0
SERIAL = "482500000017"
EVC = "/service/evse_controller"
STATUS = f"{EVC}/1234567/ev_chargers/status"
OTHER_STATUS = f"{EVC}/1234568/ev_chargers/status"
SUMMARY = f"{EVC}/api/v2/1234567/ev_chargers/summary"
KEYED = f"{EVC}/api/v2/1234567/ev_chargers/status"
PREFERENCE = f"/service/evse_scheduler/api/v1/iqevc/charging-mode/1234567/{SERIAL}/preference"
TOKEN = "captured-token"


class Reader:
    """A client let in by a captured token, and the cloud it reads."""

    def __init__(self, running: RunningCloud, http: aiohttp.ClientSession) -> None:
        self.cloud: Cloud = running.cloud
        self.charger = running.cloud.world.charger(SERIAL)
        self.url = running.url
        self.http = http

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, str, Any]:
        async with self.http.request(method, self.url + path, **options) as response:
            return response.status, await response.text(), response.headers

    async def read(self, path: str = STATUS) -> tuple[int, str, Any]:
        return await self.ask("GET", path)

    async def body(self, path: str = STATUS) -> Any:
        return json.loads((await self.read(path))[1])

    async def entries(self, path: str = STATUS) -> list[dict[str, Any]]:
        body = await self.body(path)
        found = body["evChargerData"] if "evChargerData" in body else body["data"]
        return list(found.get("chargers", found) if isinstance(found, dict) else found)


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    world = World(WorldConfig(sites=2, chargers=1, modes=(MANUAL,)), lambda: NOON)
    for charger in world.chargers.values():
        charger.manual = True
        charger.unplug()
        charger.plug()
        charger.start(16)
        charger.energy_wh = 9868.0
        charger.report()
    config = CloudConfig(captured_tokens={TOKEN})
    headers = {
        "User-Agent": "Mozilla/5.0",
        "e-auth-token": TOKEN,
        "Authorization": f"Bearer {TOKEN}",
        "Cookie": "a=1",
    }
    running = await start_cloud(world, config, clock=lambda: NOON)
    async with aiohttp.ClientSession(headers=headers) as http:
        yield Reader(running, http)
    await running.close()


# which requests, how often


async def test_a_rule_hits_its_endpoint_and_site_as_often_as_told(reader: Reader) -> None:
    reader.cloud.faults.add("status", endpoint="status", site="1234567", times=2, status=500)
    assert (await reader.read(OTHER_STATUS))[0] == 200
    assert (await reader.read(SUMMARY))[0] == 200
    assert [(await reader.read())[0] for _ in range(3)] == [500, 500, 200]
    assert reader.cloud.faults.rules == []


async def test_a_rule_hits_only_the_verb_path_and_body_it_names(reader: Reader) -> None:
    criteria: dict[str, Any] = {
        "method": "POST",
        "path_contains": "/start_",
        "body_contains": "chargingLevel",
    }
    rule = reader.cloud.faults.add("status", status=503, **criteria)
    start = f"{EVC}/1234567/ev_chargers/{SERIAL}/start_charging"
    statuses = [
        (await reader.ask(method, path, json=body))[0]
        for method, path, body in (
            ("POST", start, {"chargingLevel": 16, "connectorId": 1}),
            ("PUT", start, {"chargingLevel": 16, "connectorId": 1}),
            ("POST", start, {"connectorId": 1}),
            ("POST", STATUS, {"chargingLevel": 16, "connectorId": 1}),
        )
    ]
    assert statuses == [503, 405, 400, 405]
    assert rule.public().items() >= criteria.items()


async def test_replacing_rules_play_one_after_another_and_others_add_up(reader: Reader) -> None:
    reader.cloud.faults.add("status", times=1, status=429)
    reader.cloud.faults.add("html_outage", times=1)
    reader.cloud.faults.add("flat_shape", times=3)
    reader.cloud.faults.add("unknown_enum", times=3)
    assert [(await reader.read())[0] for _ in range(2)] == [429, 503]
    (entry,) = (await reader.body())["evChargerData"]
    assert entry["connectorStatusType"] == "WARMING_UP"
    assert (await reader.entries())[0]["connectors"][0]["connectorStatusType"] == "CHARGING"


async def test_a_rule_without_a_number_lasts_until_cleared(reader: Reader) -> None:
    reader.cloud.faults.add("status", status=502)
    assert [(await reader.read(path))[0] for path in (STATUS, SUMMARY, "/healthcheck", STATUS)] == [502] * 4
    reader.cloud.faults.clear()
    assert (await reader.read())[0] == 200


def test_there_is_no_fault_of_an_unknown_kind() -> None:
    cloud = Cloud(World(WorldConfig()))
    with pytest.raises(ValueError, match="no fault kind 'gremlins'"):
        cloud.faults.add("gremlins")


# the whole answer replaced


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 406, 409, 422, 429, 466, 500, 502, 503, 504, 550, 552]
)
async def test_any_status_comes_with_a_filled_error(reader: Reader, status: int) -> None:
    reader.cloud.faults.add("status", status=status, code="iqevc_ms-10007", message="No.")
    seen, text, headers = await reader.read()
    error = json.loads(text)["error"]
    assert (seen, error["code"], error["displayMessage"]) == (status, str(status), "No.")
    assert error["errorMessageCode"] == "iqevc_ms-10007"
    assert "Retry-After" not in headers


async def test_retry_after_comes_as_seconds_or_as_a_date(reader: Reader) -> None:
    reader.cloud.faults.add("status", times=1, status=429, retry_after=30)
    reader.cloud.faults.add("status", times=1, status=429, retry_after_date=90)
    assert (await reader.read())[2]["Retry-After"] == "30"
    date = parsedate_to_datetime((await reader.read())[2]["Retry-After"])
    assert date.timestamp() == NOON + 90


@pytest.mark.parametrize("status", [200, 503])
async def test_an_outage_page_has_no_sign_of_a_login(reader: Reader, status: int) -> None:
    reader.cloud.faults.add("html_outage", status=status)
    seen, text, headers = await reader.read()
    assert (seen, headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    signs = ("optanonwrapper", "otlang", "x-ua-compatible", "enphaseenergy.com", "/login/login", "one trust")
    assert not [sign for sign in signs if sign in text.lower()]


async def test_a_login_page_comes_with_200(reader: Reader) -> None:
    reader.cloud.faults.add("login_page")
    seen, text, _ = await reader.read()
    assert (seen, "/login/login" in text, 'type="password"' in text) == (200, True, True)


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("empty_body", {}, ""),
        ("not_json", {}, '{"data": {"chargers": ['),
        ("not_json", {"text": "oops"}, "oops"),
        ("not_object", {}, "[1,2,3]"),
        ("not_object", {"value": 17}, "17"),
        ("not_object", {"value": "text"}, '"text"'),
        ("not_object", {"value": None}, "null"),
    ],
)
async def test_a_body_that_is_no_json_object(
    reader: Reader, kind: str, params: dict[str, Any], expected: str
) -> None:
    reader.cloud.faults.add(kind, **params)
    assert (await reader.read())[:2] == (200, expected)


async def test_null_data_with_no_error(reader: Reader) -> None:
    reader.cloud.faults.add("data_null")
    body = await reader.body()
    assert (body["data"], body["error"]) == (None, {})


async def test_a_route_can_be_missing(reader: Reader) -> None:
    reader.cloud.faults.add("no_route", path_contains="/status")
    status, text, headers = await reader.read()
    assert (status, headers["Content-Type"]) == (404, "application/problem+json; charset=utf-8")
    assert json.loads(text)["detail"] == f"No static resource {STATUS[1:]}."
    assert (await reader.read(SUMMARY))[0] == 200


async def test_an_error_with_200(reader: Reader) -> None:
    reader.cloud.faults.add("error_with_200")
    status, text, _ = await reader.read()
    assert (status, json.loads(text)["error"]["errorMessageCode"]) == (200, "iqevc_ms-10007")


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_oversized_body(reader: Reader, chunked: bool) -> None:
    reader.cloud.faults.add("oversized", mebibytes=3, chunked=chunked)
    _, text, headers = await reader.read()
    assert len(text) > 3 * 1024 * 1024
    assert ("Content-Length" in headers) is not chunked


# the way it travels


async def test_a_slow_answer_is_late_for_an_impatient_client(reader: Reader) -> None:
    reader.cloud.faults.add("slow", times=1, seconds=30)
    with pytest.raises(TimeoutError):
        await reader.ask("GET", STATUS, timeout=aiohttp.ClientTimeout(total=0.05))
    assert (await reader.read())[0] == 200


async def test_latency_delays_every_answer(reader: Reader) -> None:
    reader.cloud.config.latency_seconds = 30
    with pytest.raises(TimeoutError):
        await reader.ask("GET", "/healthcheck", timeout=aiohttp.ClientTimeout(total=0.05))


async def test_a_reset_connection_gives_no_answer(reader: Reader) -> None:
    reader.cloud.faults.add("reset")
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await reader.read()
    assert {entry.status for entry in reader.cloud.journal} == {0}


async def test_a_cut_body_is_shorter_than_promised(reader: Reader) -> None:
    whole = len((await reader.read())[1])
    reader.cloud.faults.add("cut", times=1)
    async with reader.http.get(reader.url + STATUS) as response:
        assert int(response.headers["Content-Length"]) == whole
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert (await reader.read())[0] == 200


async def test_a_chunked_body_has_no_length(reader: Reader) -> None:
    reader.cloud.faults.add("chunked")
    status, text, headers = await reader.read()
    assert (status, headers["Transfer-Encoding"]) == (200, "chunked")
    assert json.loads(text)["error"] == {}


# the payload bent


async def test_the_shape_changes_on_command(reader: Reader) -> None:
    reader.cloud.faults.add("flat_shape", times=1)
    assert [entry["sn"] for entry in (await reader.body())["evChargerData"]] == [SERIAL]
    reader.cloud.faults.add("keyed_shape", times=1)
    assert list((await reader.body())["data"]) == [SERIAL]
    reader.cloud.config.shape = "flat"
    reader.cloud.faults.add("enveloped_shape", times=1)
    assert (await reader.body())["data"]["chargers"][0]["sn"] == SERIAL
    assert "evChargerData" in await reader.body()


async def test_wrong_types_keep_the_meaning(reader: Reader) -> None:
    reader.cloud.faults.add("wrong_types")
    (entry,) = await reader.entries()
    assert (entry["sn"], entry["charging"], entry["mode"]) == (SERIAL, "true", "0")
    assert entry["session_d"]["e_c"] == "9868.0"
    (summary,) = await reader.entries(SUMMARY)
    assert (summary["operatingVoltage"], summary["chargeLevelDetails"]["min"]) == (230, 6)
    assert summary["serialNumber"] == SERIAL
    assert (await reader.body(KEYED))["data"][SERIAL]["charging"] == "true"


async def test_garbage_is_everywhere_but_in_the_serial(reader: Reader) -> None:
    reader.cloud.faults.add("garbage_values")
    (entry,) = await reader.entries()
    assert (entry["sn"], entry["charging"], entry["mode"]) == (SERIAL, "maybe", "abc")
    assert entry["session_d"]["plg_out_at"] == [-1]


async def test_missing_keys(reader: Reader) -> None:
    reader.cloud.faults.add("missing_keys", times=1, keys=["pluggedIn", "sn"])
    (entry,) = await reader.entries()
    assert not {"pluggedIn", "sn"} & (entry.keys() | entry["connectors"][0].keys())
    reader.cloud.faults.add("missing_keys", times=1)
    (entry,) = await reader.entries()
    assert not {"connectors", "session_d", "charging"} & entry.keys()


async def test_null_fields(reader: Reader) -> None:
    reader.cloud.faults.add("null_fields", times=1, keys=["connectors"])
    (entry,) = await reader.entries()
    assert (entry["connectors"], entry["charging"]) == (None, True)
    reader.cloud.faults.add("null_fields", times=1)
    (entry,) = await reader.entries()
    assert {name for name, value in entry.items() if value is not None} == {"sn"}


@pytest.mark.parametrize("path", [STATUS, SUMMARY, KEYED])
async def test_an_empty_charger_list_once(reader: Reader, path: str) -> None:
    reader.cloud.faults.add("empty_chargers", times=1)
    assert await reader.entries(path) == []
    assert len(await reader.entries(path)) == 1


@pytest.mark.parametrize(("path", "serial_key"), [(STATUS, "sn"), (SUMMARY, "serialNumber")])
async def test_duplicate_and_retired_chargers(reader: Reader, path: str, serial_key: str) -> None:
    reader.cloud.faults.add("duplicate_charger", times=1, changes={"name": "Twin"})
    first, second = await reader.entries(path)
    assert (first[serial_key], second[serial_key], second["name"]) == (SERIAL, SERIAL, "Twin")
    reader.cloud.faults.add("retired_charger", times=1)
    first, second = await reader.entries(path)
    assert (second[serial_key], second["isRetired"]) == ("482500009999", True)
    assert not first.get("isRetired")


async def test_unknown_words(reader: Reader) -> None:
    reader.cloud.faults.add("unknown_enum", word="TURBO")
    (entry,) = await reader.entries()
    assert (entry["connectors"][0]["connectorStatusType"], entry["mode"]) == ("TURBO", 7)
    modes = (await reader.body(PREFERENCE))["data"]["modes"]
    assert {block["chargingMode"] for block in modes.values()} == {"TURBO"}


@pytest.mark.parametrize(
    ("shape", "kind", "energy"),
    [
        ("flat", "energy_in_wh", 9868.0),
        ("flat", "energy_in_kwh", 9.868),
        ("enveloped", "energy_in_wh", 9868.0),
        ("enveloped", "energy_in_kwh", 9.868),
    ],
)
async def test_session_energy_in_either_unit(reader: Reader, shape: Any, kind: str, energy: float) -> None:
    reader.cloud.config.shape = shape
    reader.cloud.faults.add(kind)
    (entry,) = await reader.entries()
    assert entry["session_d"]["e_c"] == energy


async def test_any_field_can_be_set(reader: Reader) -> None:
    values = {
        "connected": 1,
        "session_d.e_c": "7",
        "connectors.connectorStatusType": "RESERVED",
        "no.such": 1,
    }
    reader.cloud.faults.add("fields", values=values)
    (entry,) = await reader.entries()
    assert (entry["connected"], entry["session_d"]["e_c"]) == (1, "7")
    assert entry["connectors"][0]["connectorStatusType"] == "RESERVED"
    assert "no" not in entry


async def test_a_skewed_clock_shows_in_body_and_date(reader: Reader) -> None:
    async def told() -> tuple[float, float]:
        _, text, headers = await reader.read()
        body = json.loads(text)
        stamp = body["ts"] if "ts" in body else body["meta"]["serverTimeStamp"] / 1000
        return stamp, parsedate_to_datetime(headers["Date"]).timestamp()

    assert await told() == (NOON, NOON)
    reader.cloud.faults.add("clock_skew", seconds=-600)
    assert await told() == (NOON - 600, NOON - 600)
    reader.cloud.config.shape = "flat"
    assert await told() == (NOON - 600, NOON - 600)
    reader.cloud.faults.clear()
    reader.cloud.config.clock_skew_seconds = 60
    assert await told() == (NOON, NOON + 60)


@pytest.mark.parametrize("kind", sorted(BENDERS))
@pytest.mark.parametrize(
    "path", [STATUS, SUMMARY, KEYED, PREFERENCE, "/healthcheck", "/app-api/search_sites.json"]
)
async def test_no_oddity_breaks_the_simulator_on_any_payload(reader: Reader, kind: str, path: str) -> None:
    reader.cloud.faults.add(kind)
    assert (await reader.read(path))[0] == 200
    reader.cloud.faults.add("not_object", value=3, times=1)
    assert (await reader.read(path))[:2] == (200, "3")


# journal and admin pages


async def test_the_journal_tells_who_asked_what(reader: Reader) -> None:
    await reader.read()
    await reader.read(OTHER_STATUS)
    await reader.ask("POST", f"{EVC}/1234567/ev_chargers/{SERIAL}/start_charging", json={"chargingLevel": 99})
    journal = reader.cloud.journal
    assert [(e.method, e.endpoint, e.site_id, e.status) for e in journal] == [
        ("GET", "status", "1234567", 200),
        ("GET", "status", "1234568", 200),
        ("POST", "start_charging", "1234567", 400),
    ]
    assert journal.count(endpoint="status") == 2
    assert journal.count(endpoint="status", site_id="1234568") == journal.count(path=OTHER_STATUS) == 1
    assert (journal.count(status=400), journal.count(method="GET"), len(journal)) == (1, 2, 3)
    assert journal[-1].json() == {"chargingLevel": 99}
    assert {"user-agent", "e-auth-token", "cookie"} <= set(journal[0].header_names)
    assert journal[0].monotonic_seconds <= journal[1].monotonic_seconds
    journal.clear()
    assert (len(journal), journal.totals) == (0, {})


async def test_faults_come_and_go_by_the_admin_pages(reader: Reader) -> None:
    rule = {"kind": "status", "endpoint": "status", "times": 2, "status": 429, "retry_after": 5}
    status, text, _ = await reader.ask("POST", "/_sim/faults", json=rule)
    assert (status, json.loads(text)) == (201, {**rule, "site": None})
    assert [(await reader.read())[0] for _ in range(1)] == [429]
    assert await reader.body("/_sim/faults") == [{**rule, "site": None, "times": 1}]
    await reader.ask("DELETE", "/_sim/faults")
    assert (await reader.read())[0] == 200


@pytest.mark.parametrize("rule", [{"kind": "gremlins"}, {}, [1], "text"])
async def test_a_bad_fault_rule_is_refused(reader: Reader, rule: Any) -> None:
    assert (await reader.ask("POST", "/_sim/faults", json=rule))[0] == 400


async def test_an_unknown_login_outcome_is_refused(reader: Reader) -> None:
    rule = {"kind": "login_outcome", "endpoint": "login", "outcome": "champagne"}
    assert (await reader.ask("POST", "/_sim/faults", json=rule))[0] == 400


async def test_the_truth_is_on_the_world_page(reader: Reader) -> None:
    body = await reader.body("/_sim/world")
    truth = {charger["serial"]: charger for charger in body["chargers"]}[SERIAL]
    assert (body["now_seconds"], len(body["sites"])) == (NOON, 2)
    assert truth["energy_wh"] == truth["seen"]["energy_wh"] == 9868.0
    assert (truth["connector_status"], truth["amps"], truth["volts"]) == ("CHARGING", 16, 230.0)


async def test_a_charger_can_be_driven_by_the_admin_pages(reader: Reader) -> None:
    reader.charger.manual = False
    assert (await reader.ask("POST", f"/_sim/chargers/{SERIAL}/unplug"))[0] == 200
    assert (reader.charger.plugged_in, reader.charger.manual) == (False, True)
    assert (await reader.ask("POST", f"/_sim/chargers/{SERIAL}/explode"))[0] == 404
    assert (await reader.ask("POST", "/_sim/chargers/1/unplug"))[0] == 404


@pytest.mark.parametrize(
    ("what", "login_works", "token_works"),
    [("sessions", False, True), ("tokens", True, False), ("both", False, False)],
)
async def test_sessions_and_tokens_expire_by_the_admin_pages(
    reader: Reader, what: str, login_works: bool, token_works: bool
) -> None:
    login = reader.cloud.logins.open()
    token, _ = reader.cloud.logins.new_token(login)
    assert (await reader.ask("POST", "/_sim/expire", json={"what": what}))[0] == 200
    assert (reader.cloud.logins.by_id(login.login_id) is login) is login_works
    assert reader.cloud.logins.accepts(token) is token_works
    assert (await reader.ask("POST", "/_sim/expire", json={"what": "everything"}))[0] == 400


async def test_the_admin_journal_holds_no_secrets_and_no_admin_requests(reader: Reader) -> None:
    await reader.read()
    body = await reader.body("/_sim/journal")
    assert body["totals"] == {"status": 1}
    assert TOKEN not in json.dumps(body)
    await reader.ask("DELETE", "/_sim/journal")
    assert (await reader.body("/_sim/journal"))["entries"] == []


async def test_the_index_names_the_admin_pages(reader: Reader) -> None:
    _, text, _ = await reader.read("/")
    assert "/_sim/world" in text


async def test_the_index_names_every_kind_of_fault_and_every_login_outcome(reader: Reader) -> None:
    _, text, _ = await reader.read("/")
    assert (KINDS | OUTCOMES) - set(re.findall(r"\w+", text)) == set()


async def test_the_index_shows_how_to_rehearse_a_login_with_a_one_time_code(reader: Reader) -> None:
    _, text, _ = await reader.read("/")
    ((code, rule),) = re.findall(
        r"one-time code.* (\d+)\.\nPOST +/_sim/faults +(\{.*\})$", text, re.MULTILINE
    )
    assert code == CloudConfig.mfa_code
    assert (await reader.ask("POST", "/_sim/faults", json=json.loads(rule)))[0] == 201
    login = {"user[email]": CloudConfig.email, "user[password]": CloudConfig.password}
    asked = [await reader.ask("POST", "/login/login.json", data=login) for _ in range(2)]
    assert ["requires_mfa" in answer for _, answer, _ in asked] == [True, False]


def test_every_kind_of_fault_is_tried_in_this_file_or_with_the_logins() -> None:
    tried = {*BENDERS, "login_outcome"}
    tried |= {"status", "html_outage", "login_page", "empty_body", "data_null", "error_with_200", "not_json"}
    tried |= {"not_object", "oversized", "slow", "reset", "cut", "chunked", "no_route"}
    tried |= {"flat_shape", "keyed_shape", "enveloped_shape"}
    assert tried == KINDS
