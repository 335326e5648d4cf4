import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from yarl import URL

from exporter.command import Action, Command, Outcome, Request, Result
from exporter.control_shapes import KnownCharger, iec_status
from exporter.errors import (
    CommandInvalid,
    CommandPostponed,
    CommandRefused,
    CommandUnconfirmed,
    UnknownCharger,
)
from exporter.metrics import CHARGER, METRICS
from exporter.model import ChargeMode, Charger, Site, Snapshot
from tests.control_visits import (
    CHARGER_PATH,
    SERIAL,
    SITE_ID,
    START,
    STREAM_PATH,
    TOKEN,
    Asked,
    commanded,
    served,
)
from tests.worlds import CARPORT, GARAGE, HOME

# -- what is known -----------------------------------------------------------------------------------------


async def test_all_chargers_are_listed_with_what_is_known_of_them() -> None:
    async with served() as s:
        answer = await s.ask("GET", "/api/v1/chargers")
        assert (answer.status, answer.media_type) == (200, "application/json")
        garage, carport = answer.json()["chargers"]
        assert garage == (await s.ask("GET", CHARGER_PATH)).json()
        assert garage["serial"] == SERIAL
        assert garage["account"] == "home"
        assert garage["connector_status"] == "CHARGING"
        assert (garage["charge_mode"], garage["running_charge_mode"]) == ("GREEN_CHARGING", "MANUAL_CHARGING")
        assert (garage["min_amperes"], garage["max_amperes"]) == (6.0, 40.0)
        assert garage["energy_kwh_total"] == 1234.567891
        assert garage["session_start_timestamp_seconds"] == 1760000000.25
        assert garage["status_age_seconds"] == 30.0
        assert carport["serial"] == CARPORT.serial
        assert s.asked.commands == []


async def test_what_is_not_known_is_null() -> None:
    async with served() as s:
        carport = (await s.ask("GET", f"/api/v1/chargers/{CARPORT.serial}")).json()
        assert carport["plugged_in"] is None
        assert carport["session_energy_kwh"] is None  # not a number
        assert carport["charging_level_amperes"] is None  # infinite
        assert carport["last_command"] is None
        assert set(carport) == set(KnownCharger.__struct_fields__)


async def test_the_step_between_amps_is_told() -> None:
    known = Charger("1", "7", granularity_amperes=2.0)
    async with served(Asked(Snapshot(sites=(Site("1", "home", chargers=(known,)),)))) as s:
        shown = (await s.ask("GET", "/api/v1/chargers/7")).json()
        assert (shown["granularity_amperes"], shown["status_age_seconds"]) == (2.0, None)


async def test_the_last_command_is_shown_with_its_charger() -> None:
    async with served() as s:
        assert (await s.ask("GET", CHARGER_PATH)).json()["last_command"] == {
            "command": "start",
            "amps": 16,
            "mode": None,
            "result": "accepted",
            "confirmed": False,
            "timestamp_seconds": 1760003000.5,
        }


async def test_the_address_of_a_charger_is_not_told() -> None:
    assert GARAGE.network is not None
    async with served() as s:
        for path in ("/api/v1/chargers", CHARGER_PATH):
            assert GARAGE.network.ip_address.encode() not in (await s.ask("GET", path)).body


async def test_the_charge_mode_is_told_as_preferred_and_as_running() -> None:
    async with served() as s:
        assert (await s.ask("GET", f"{CHARGER_PATH}/charge-mode")).json() == {
            "site_id": SITE_ID,
            "serial": SERIAL,
            "charge_mode": "GREEN_CHARGING",
            "running_charge_mode": "MANUAL_CHARGING",
        }


def test_what_is_measured_has_the_name_of_its_metric() -> None:
    metrics = {
        metric.name.removeprefix("enphase_ev_charger_") for metric in METRICS if metric.scope is CHARGER
    }
    labels = {"site_id", "serial", "name", "model", "firmware_version", "processor_board_version"}
    of_site = {"account", "site_name", "up", "status_timestamp_seconds", "status_age_seconds"}
    own = {"iec_status", "last_command", "granularity_amperes"}
    assert set(KnownCharger.__struct_fields__) - labels - of_site - own <= metrics


@pytest.mark.parametrize(
    ("letter", "flags"),
    [
        ("A", {"connected": True, "plugged_in": False, "charging": False}),
        ("B", {"connected": True, "plugged_in": True, "charging": False}),
        ("C", {"connected": True, "plugged_in": True, "charging": True}),
        ("C", {"charging": True}),
        ("F", {"connected": True, "plugged_in": True, "charging": True, "faulted": True}),
        ("F", {"plugged_in": False, "faulted": True}),
        (None, {}),
        (None, {"plugged_in": True}),
        (None, {"connected": False, "plugged_in": True, "charging": True}),
        (None, {"connected": False, "plugged_in": False, "faulted": True}),
    ],
)
def test_the_letter_of_the_iec_follows_from_what_is_known(letter: str | None, flags: dict[str, bool]) -> None:
    assert iec_status(replace(Charger("1", "2"), **flags)) == letter  # type: ignore[arg-type]  # all are flags


# -- commands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "command"),
    [
        ("POST", START, None, commanded(Action.START)),
        ("POST", START, {}, commanded(Action.START)),
        (
            "POST",
            START,
            {"amps": 16, "restart": True, "dry_run": True, "wait_seconds": 2.5},
            commanded(Action.START, amps=16, restart=True, dry_run=True, wait_seconds=2.5),
        ),
        ("POST", f"{CHARGER_PATH}/stop", None, commanded(Action.STOP)),
        (
            "POST",
            f"{CHARGER_PATH}/stop",
            {"dry_run": True, "wait_seconds": 0},
            commanded(Action.STOP, dry_run=True, wait_seconds=0.0),
        ),
        (
            "POST",
            f"{CHARGER_PATH}/trigger",
            {"message": "BootNotification", "sure": True},
            commanded(Action.TRIGGER, message="BootNotification", sure=True),
        ),
        (
            "PUT",
            f"{CHARGER_PATH}/charge-mode",
            {"mode": "GREEN_CHARGING"},
            commanded(Action.CHARGE_MODE, mode=ChargeMode.GREEN_CHARGING),
        ),
        ("POST", STREAM_PATH, None, commanded(Action.LIVE_STREAM_START, serial=None)),
        (
            "DELETE",
            STREAM_PATH,
            {"dry_run": True},
            commanded(Action.LIVE_STREAM_STOP, serial=None, dry_run=True),
        ),
    ],
)
async def test_a_request_becomes_one_command(method: str, path: str, body: Any, command: Command) -> None:
    async with served() as s:
        answer = await s.ask(method, path, json=body)
        assert answer.status == 200, answer.body
        assert repr(s.asked.commands) == repr([command])  # equality would let a text pass for a mode
        assert answer.json()["command"] == command.action
        assert (answer.json()["site_id"], answer.json()["serial"]) == (SITE_ID, command.serial)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome(result=Result.ACCEPTED, detail="", confirmed=True)),
        (200, Outcome(result=Result.ACCEPTED, detail="", duration_seconds=900.0)),
        (202, Outcome(result=Result.ACCEPTED, detail="not seen in status", confirmed=False)),
        (200, Outcome(result=Result.NOOP, detail="no car is plugged in")),
        (202, Outcome(result=Result.NOOP, detail="it charges all the same", confirmed=False)),
    ],
)
async def test_only_what_status_has_not_shown_is_answered_as_accepted(status: int, outcome: Outcome) -> None:
    async with served(Asked(outcome=outcome)) as s:
        answer = await s.post(START)
        assert answer.status == status
        told = answer.json()
        assert (told["result"], told["detail"]) == (outcome.result, outcome.detail)
        assert (told["confirmed"], told["duration_seconds"]) == (outcome.confirmed, outcome.duration_seconds)
        assert told["would_send"] == []


async def test_a_dry_run_tells_what_would_be_sent() -> None:
    planned = (Request(method="POST", path="/a/start_charging", body='{"chargingLevel":16}'),)
    outcome = Outcome(result=Result.NOOP, detail="dry run", would_send=planned)
    async with served(Asked(outcome=outcome)) as s:
        answer = await s.post(START, {"amps": 16, "dry_run": True})
        assert answer.json()["would_send"] == [
            {"method": "POST", "path": "/a/start_charging", "body": '{"chargingLevel":16}'}
        ]


@pytest.mark.parametrize(
    ("status", "error", "more"),
    [
        (400, CommandInvalid("amps: 6 to 40"), {}),
        (404, UnknownCharger("gone"), {}),
        (429, CommandPostponed("10 commands in 10m", retry_after_seconds=12.2), {}),
        (502, CommandRefused("no", status=503, code="iqevc_ms-10007"), {"cloud_code": "iqevc_ms-10007"}),
        (502, CommandRefused("no", status=503), {"cloud_status": 503}),
        (502, CommandRefused("no", status=0), {}),
        (504, CommandUnconfirmed("no answer came"), {}),
    ],
)
async def test_a_command_that_was_not_done_is_a_problem(status: int, error: Exception, more: Any) -> None:
    async with served(Asked(error=error)) as s:
        problem = (await s.post(START)).problem(status)
        assert (problem["result"], problem["detail"]) == ("failed", str(error))
        assert more.items() <= problem.items()
        assert 0 not in problem.values()


@pytest.mark.parametrize(("seconds", "header"), [(12.2, "13"), (0.0, "1"), (600.0, "600")])
async def test_when_to_come_back_is_told_in_whole_seconds(seconds: float, header: str) -> None:
    async with served(Asked(error=CommandPostponed("later", retry_after_seconds=seconds))) as s:
        assert (await s.post(START)).headers["Retry-After"] == header


async def test_a_client_that_hangs_up_does_not_cut_its_command_short() -> None:
    asked = Asked(held=asyncio.Event())
    async with served(asked) as s:
        with pytest.raises(TimeoutError):
            await s.post(START, timeout=aiohttp.ClientTimeout(total=0.1))
        assert len(asked.commands) == 1
        assert not asked.finished.is_set()
        assert asked.held is not None
        asked.held.set()
        await asyncio.wait_for(asked.finished.wait(), 5)


# -- which charger -----------------------------------------------------------------------------------------

OTHER_SITE = Site("9", "work", chargers=(replace(GARAGE, site_id="9"),))
TWICE = Snapshot(sites=(HOME, OTHER_SITE))


async def test_a_serial_at_two_sites_needs_the_site() -> None:
    async with served(Asked(TWICE)) as s:
        for method, path in (("GET", CHARGER_PATH), ("POST", START)):
            assert f"{SITE_ID}, 9" in (await s.ask(method, path)).problem(400)["detail"]
        assert s.asked.commands == []
        assert (await s.ask("GET", f"{CHARGER_PATH}?site_id=9")).json()["account"] == "work"
        await s.post(f"{START}?site_id=9")
        assert [command.site_id for command in s.asked.commands] == ["9"]


async def test_a_charger_that_is_too_old_to_show_can_be_stopped() -> None:
    asked = Asked(not_shown={("", "77"), ("5", "77"), ("5", None)})
    async with served(asked) as s:
        assert (await s.post("/api/v1/chargers/77/stop")).json()["site_id"] is None
        assert (await s.post("/api/v1/chargers/77/stop?site_id=5")).json()["site_id"] == "5"
        assert (await s.ask("DELETE", "/api/v1/sites/5/live-stream")).status == 200
        assert [(command.site_id, command.serial) for command in s.asked.commands] == [
            ("", "77"),
            ("5", "77"),
            ("5", None),
        ]
        (await s.ask("GET", "/api/v1/chargers/77")).problem(404)


@pytest.mark.parametrize("query", ["site_id=1", "site_id=", "site_id=%00"])
async def test_a_charger_is_not_found_at_another_site(query: str) -> None:
    async with served() as s:
        assert (await s.post(f"{START}?{query}")).problem(404)["result"] == "failed"
        assert s.asked.commands == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (START, "dry_run=true"),
        (START, f"site_id={SITE_ID}&site_id={SITE_ID}"),
        (CHARGER_PATH, "siteid=1"),
        (STREAM_PATH, f"site_id={SITE_ID}"),
        ("/api/v1/chargers", "site_id=1"),
        ("/api/v1/openapi.json", "x"),
    ],
)
async def test_a_query_that_is_not_known_is_not_passed_over(path: str, query: str) -> None:
    method = "POST" if path in (START, STREAM_PATH) else "GET"
    async with served() as s:
        assert query.partition("=")[0] in (await s.ask(method, f"{path}?{query}")).problem(400)["detail"]
        assert s.asked.commands == []


LONG = "9" * 4000
SERIALS = [
    "..",
    "%2e%2e",
    ".",
    "%2F",
    f"{SERIAL}%2F",
    f"%2F{SERIAL}",
    f"{SERIAL}%00",
    "%00",
    "%0A",
    f"{SERIAL}%0A",
]
SERIALS += [
    LONG,
    "%ff",
    "%F0%9F%9A%97",
    "%EF%BC%92" + SERIAL[1:],
    f"{SERIAL}%20",
    "0",
    "",
    "%25",
    "*",
    f"{SERIAL};x",
]


@pytest.mark.parametrize("serial", SERIALS, ids=lambda serial: serial[:20])
async def test_a_serial_that_is_not_one_of_ours_reaches_nothing(serial: str) -> None:
    async with served() as s:
        for method, end, body in (
            ("GET", "", ""),
            ("POST", "/start", '{"amps":16}'),
            ("POST", "/stop", ""),
            ("PUT", "/charge-mode", '{"mode":"GREEN_CHARGING"}'),
        ):
            line = (
                f"{method} /api/v1/chargers/{serial}{end} HTTP/1.1\r\nHost: here\r\nX-Control-Token: {TOKEN}"
            )
            kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
            said = await s.raw(f"{line}\r\n{kind}\r\n\r\n{body}".encode())
            assert said.startswith(b"HTTP/1.1 404 "), said
            assert b"application/problem+json" in said
            assert len(said) < 1000
        assert s.asked.commands == []


@pytest.mark.parametrize("serial", ["%32" + SERIAL[1:], SERIAL])
async def test_a_serial_is_found_however_it_is_escaped(serial: str) -> None:
    async with served() as s:
        assert (await s.post(f"/api/v1/chargers/{serial}/stop")).status == 200


@pytest.mark.parametrize(
    ("status", "path"),
    [(405, f"{CHARGER_PATH}%2Fstart"), (404, START.replace("/chargers/", "/chargers%2F"))],
)
async def test_an_escaped_slash_does_not_part_a_path(status: int, path: str) -> None:
    async with served() as s:
        (await s.post(path)).problem(status)
        assert s.asked.commands == []


@pytest.mark.parametrize("site_id", ["0", "..", "%2e%2e", f"{SITE_ID}%2F", f"{SITE_ID}%0A", LONG])
async def test_a_live_stream_is_of_a_site_we_know(site_id: str) -> None:
    async with served() as s:
        url = URL(str(s.url) + f"api/v1/sites/{site_id}/live-stream", encoded=True)
        (await s.ask("POST", url)).problem(404)
        assert s.asked.commands == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1",
        "/api/v1/",
        "/api/v1/chargers/",
        "/api/v1//chargers",
        f"{START}/",
        "/api/v1/x",
        "/api/v1/%0A",
    ],
)
async def test_other_paths_are_not_found(path: str) -> None:
    async with served() as s:
        assert "result" not in (await s.ask("GET", path)).problem(404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/api/v1/chargers", "GET, HEAD"),
        ("DELETE", CHARGER_PATH, "GET, HEAD"),
        ("GET", START, "POST"),
        ("HEAD", START, "POST"),
        ("PUT", STREAM_PATH, "DELETE, POST"),
        ("POST", f"{CHARGER_PATH}/charge-mode", "GET, HEAD, PUT"),
        ("OPTIONS", f"{CHARGER_PATH}/charge-mode", "GET, HEAD, PUT"),
        ("TRACE", "/api/v1/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_there_is_told_which_are(method: str, path: str, allow: str) -> None:
    async with served() as s:
        answer = await s.ask(method, path)
        assert (answer.status, answer.headers["Allow"]) == (405, allow)
        if method != "HEAD":
            answer.problem(405)
        assert s.asked.commands == []


async def test_head_is_answered_like_get_without_a_body() -> None:
    async with served() as s:
        answer = await s.ask("HEAD", CHARGER_PATH)
        assert (answer.status, answer.media_type, answer.body) == (200, "application/json", b"")


async def test_no_page_of_another_site_is_let_in() -> None:
    foreign = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    async with served() as s:
        for token in (TOKEN, None):
            for method in ("OPTIONS", "HEAD", "GET", "POST"):
                answer = await s.ask(method, START, token=token, headers=foreign)
                assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_no_answer_is_kept_or_guessed_at() -> None:
    async with served() as s:
        for answer in (await s.ask("GET", CHARGER_PATH), await s.ask("GET", CHARGER_PATH, token=None)):
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
